//! All memory of the process, counted.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::atomic::{AtomicI64, AtomicUsize, Ordering},
};

use nix::libc;

/// Threads that count in places of their own do not wait for each other.
const PLACES: usize = 64;

/// As wide as what a CPU fetches at once.
#[repr(align(128))]
struct Place(AtomicI64);

static LIVE: [Place; PLACES] = [const { Place(AtomicI64::new(0)) }; PLACES];
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Plain data without a destructor, so that it can be used also where the thread ends.
    static HERE: Cell<usize> = const { Cell::new(usize::MAX) };
}

fn count(bytes: i64) {
    let here = HERE.with(|here| {
        if here.get() == usize::MAX {
            here.set(THREADS.fetch_add(1, Ordering::Relaxed) % PLACES);
        }
        here.get()
    });
    LIVE[here].0.fetch_add(bytes, Ordering::Relaxed);
}

/// How many bytes are allocated: exact while no thread allocates.
pub fn allocated() -> i64 {
    LIVE.iter().map(|place| place.0.load(Ordering::Relaxed)).sum()
}

/// Gives back to the system what is free: glibc keeps it for later allocations, more or less of it by chance.
#[allow(unsafe_code, reason = "only the C library can do that")]
pub fn give_back() {
    // SAFETY: it may be called at any time.
    unsafe { libc::malloc_trim(0) };
}

struct Counting;

#[allow(unsafe_code, reason = "an allocator is unsafe to be one")]
// SAFETY: it is the system's allocator, but for the counting.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: as the caller says.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: as the caller says.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: as the caller says.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        // SAFETY: as the caller says.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
