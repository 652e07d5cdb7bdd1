//! The fds that this process has open, and may open: for a test that is alone in it.

use std::{collections::BTreeMap, fs};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The fds of this process, and what they are; without the one that the listing itself opens.
pub(crate) fn open_fds() -> BTreeMap<i32, String> {
    let entries = fs::read_dir("/proc/self/fd").unwrap();
    let fds = entries.filter_map(|entry| {
        let entry = entry.unwrap();
        let target = fs::read_link(entry.path()).ok()?;
        let number = entry.file_name().to_str()?.parse().ok()?;
        Some((number, target.to_string_lossy().into_owned()))
    });
    fds.filter(|(_, target)| !target.ends_with("/fd")).collect()
}

/// Runs `attempt` while no more than `free` further fds can be opened.
pub(crate) fn with_free_fds<T>(free: usize, attempt: impl FnOnce() -> T) -> T {
    let open = open_fds();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let first_forbidden = (0..).filter(|number| !open.contains_key(number)).nth(free).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, first_forbidden.try_into().unwrap(), hard).unwrap();
    let result = attempt();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    result
}
