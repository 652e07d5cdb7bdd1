//! What this process has: memory, fds, limits.

use std::{env, fs, io, os::unix::process::CommandExt, process::Command, sync::Mutex};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// glibc keeps a heap for each few threads, whose end it does not give back, and the stacks of threads that have ended
/// for the next ones. So what is in RAM depends on how many threads there ever were at a time. With these, it has one
/// heap, and no stacks of nobody.
const TUNABLES: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.arena_max=1:glibc.pthread.stack_cache_size=0");

/// Starts this program again with tunables, unless it has been started with some.
pub fn tune() -> io::Result<()> {
    let (name, value) = TUNABLES;
    if env::var_os(name).is_some() {
        return Ok(());
    }
    Err(Command::new(env::current_exe()?).args(env::args_os().skip(1)).env(name, value).exec())
}

/// Locked to read about memory or to count fds, so that the file that one thread reads is no fd that another counts.
static ASKING: Mutex<()> = Mutex::new(());

/// The memory that is in RAM: by the pages, since what is in `statm` may lag behind.
pub fn resident_kib() -> u64 {
    let _asking = ASKING.lock().unwrap();
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:")?.strip_suffix("kB"));
    line.unwrap().trim().parse().unwrap()
}

pub fn open_fds() -> usize {
    let _asking = ASKING.lock().unwrap();
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Lets this process open as many files as it may, and says how many.
pub fn raise_fd_limit() -> io::Result<u64> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    Ok(most)
}

/// How often the thread `id` of this process has gone to sleep by itself.
pub fn sleeps_of(id: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/self/task/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}
