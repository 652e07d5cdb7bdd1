//! The allocator of this program, which counts the bytes that are in use when asked to.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Only set by workloads that measure memory: in all others an allocation costs one more branch, in all contenders.
static IS_COUNTING: AtomicBool = AtomicBool::new(false);
static BYTES: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: everything is passed to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(layout.size().wrapping_neg());
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.wrapping_sub(layout.size()));
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[inline]
fn count(bytes: usize) {
    if IS_COUNTING.load(Relaxed) {
        BYTES.fetch_add(bytes, Relaxed);
    }
}

/// How many bytes more are in use after `work` than before.
pub fn growth(work: &mut dyn FnMut()) -> f64 {
    IS_COUNTING.store(true, Relaxed);
    let before = BYTES.load(Relaxed);
    work();
    let after = BYTES.load(Relaxed);
    IS_COUNTING.store(false, Relaxed);
    after.wrapping_sub(before) as isize as f64
}

/// By how many bytes the memory of this process that is resident has grown by `work`.
pub fn resident_growth(work: &mut dyn FnMut()) -> f64 {
    let before = resident();
    work();
    resident() - before
}

fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/statm").expect("procfs is mounted");
    let pages: f64 = status.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("statm has a second field");
    pages * 4096.0
}
