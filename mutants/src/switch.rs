//! Which mutant is on. This file becomes a module of the library's copy, in which all mutants are.

use std::{
    env, fs,
    os::fd::AsRawFd,
    ptr,
    sync::atomic::{
        AtomicPtr, AtomicU8, AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use nix::libc;

const NOT_READ: u32 = u32::MAX;
const RECORDS: u32 = u32::MAX - 1;

/// The mutant that is on, 0 for none; or that it has not been read yet, or that what is asked for is recorded.
static CHOSEN: AtomicU32 = AtomicU32::new(NOT_READ);

/// A byte for each mutant, which is 1 if it was asked for, in a file that forked children write as well.
static REACHED: AtomicPtr<AtomicU8> = AtomicPtr::new(ptr::null_mut());

#[inline]
pub(crate) fn is(number: u32) -> bool {
    let chosen = CHOSEN.load(Acquire);
    chosen == number || chosen >= RECORDS && is_at_first(number)
}

#[cold]
fn is_at_first(number: u32) -> bool {
    if CHOSEN.load(Acquire) == NOT_READ {
        CHOSEN.store(read(), Release);
    }
    let chosen = CHOSEN.load(Acquire);
    if chosen == RECORDS {
        // SAFETY: the file has a byte for each number, and stays mapped.
        unsafe { (*REACHED.load(Acquire).add(number as usize)).store(1, Relaxed) };
    }
    chosen == number
}

fn read() -> u32 {
    let Some(path) = env::var_os("ALOOPER_MUTANTS_REACHED") else {
        return env::var("ALOOPER_MUTANT").map_or(0, |number| number.parse().unwrap());
    };
    // A test may have used up all fds: nothing is recorded while there are none.
    let Ok(file) = fs::File::options().read(true).write(true).open(path) else { return NOT_READ };
    let length = file.metadata().unwrap().len() as usize;
    // SAFETY: a new mapping.
    let bytes = unsafe {
        libc::mmap(ptr::null_mut(), length, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, file.as_raw_fd(), 0)
    };
    assert!(bytes != libc::MAP_FAILED);
    REACHED.store(bytes.cast(), Release);
    RECORDS
}
