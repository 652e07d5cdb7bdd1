//! How much memory this process has.

use std::fs;

/// The memory of this process that is in RAM, without what is read from files, as its code is.
pub(crate) fn resident_bytes() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: Vec<usize> = pages.split(' ').map_while(|count| count.parse().ok()).collect();
    let [_size, resident, of_files, ..] = pages[..] else { panic!("{pages:?}") };
    (resident - of_files) * 4096
}
