//! What this process has: memory, fds, limits.

use std::{env, fs, io, os::unix::process::CommandExt, process::Command};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// glibc keeps what a thread has freed for that thread's next needs, and stacks for the next threads, so that what is
/// in RAM grows with how many threads there ever were at a time. With these, it has one heap and gives back what is
/// free.
const SPARING: [(&str, &str); 4] = [
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_TRIM_THRESHOLD_", "65536"),
    ("MALLOC_MMAP_THRESHOLD_", "65536"),
    ("GLIBC_TUNABLES", "glibc.pthread.stack_cache_size=0"),
];

/// Starts this program again with an allocator that keeps little, unless it has one.
pub fn spare_memory() -> io::Result<()> {
    if SPARING.iter().all(|(name, _)| env::var_os(name).is_some()) {
        return Ok(());
    }
    Err(Command::new(env::current_exe()?).args(env::args_os().skip(1)).envs(SPARING).exec())
}

/// The memory that is in RAM.
pub fn resident_kib() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4
}

pub fn open_fds() -> usize {
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
