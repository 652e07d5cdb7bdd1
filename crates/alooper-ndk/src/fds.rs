//! The fds that C has added, by their numbers.
//!
//! The library watches each as an fd without a callback, also those that have one: `ALooper_pollOnce` calls back itself,
//! after the library's turn. So a C++ exception passes through no frame that catches panics, which would end the process.

use std::{
    collections::HashMap,
    ffi::{c_int, c_void},
    io,
    os::fd::{AsFd, BorrowedFd, RawFd},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use alooper::{FdHandle, Interest, LooperHandle};

/// What is called when an fd is ready: with the fd, what it is ready for, and the pointer that it was added with. It
/// returns 1 to be called again, and 0 to be removed.
#[allow(non_camel_case_types, reason = "the name in C")]
pub type ALooper_callbackFunc = unsafe extern "C-unwind" fn(fd: c_int, events: c_int, data: *mut c_void) -> c_int;

/// An fd that C has added, and what it has said about it.
pub(crate) struct Watched {
    pub(crate) fd: RawFd,
    pub(crate) ident: c_int,
    pub(crate) callback: Option<ALooper_callbackFunc>,
    pub(crate) data: *mut c_void,
    /// What the library calls it: no two of a looper have the same.
    name: u32,
    /// Its registration. Set before the table is unlocked for the first time.
    registration: OnceLock<FdHandle>,
}

// SAFETY: C promises that `callback` may be called with `data` on the looper's thread, whichever thread has added them.
// No other thread looks at either.
unsafe impl Send for Watched {}
// SAFETY: as above.
unsafe impl Sync for Watched {}

impl Watched {
    pub(crate) fn new(fd: RawFd, ident: c_int, callback: Option<ALooper_callbackFunc>, data: *mut c_void) -> Watched {
        Watched { fd, ident, callback, data, name: 0, registration: OnceLock::new() }
    }

    /// Lets it be reported anew, if it is still watched and ready.
    pub(crate) fn look_anew(&self) {
        // What fails is a registration that has ended.
        let _ = self.registration.get().map(FdHandle::repoll);
    }
}

/// The fds of a looper, for any thread.
#[derive(Default)]
pub(crate) struct Fds(Mutex<Table>);

#[derive(Default)]
struct Table {
    by_fd: HashMap<RawFd, Arc<Watched>>,
    by_name: HashMap<u32, Arc<Watched>>,
    last_name: u32,
}

impl Fds {
    /// Watches an fd, in the place of what was known of the same number.
    pub(crate) fn add(&self, looper: &LooperHandle, mut new: Watched, interest: Interest) -> io::Result<()> {
        let mut table = self.lock();
        new.name = table.free_name();
        let registration = looper.replace_ident(Borrowed(new.fd), interest, new.name)?;
        let new = Arc::new(new);
        let _ = new.registration.set(registration);
        table.by_name.insert(new.name, new.clone());
        if let Some(old) = table.by_fd.insert(new.fd, new) {
            table.by_name.remove(&old.name);
        }
        Ok(())
    }

    /// Removes an fd; whether it was watched.
    pub(crate) fn remove(&self, fd: RawFd) -> bool {
        self.lock().remove(fd)
    }

    /// Removes `watched`, unless that has happened: its number may be another's by now.
    pub(crate) fn remove_this(&self, watched: &Arc<Watched>) {
        let mut table = self.lock();
        if table.is_current(watched) {
            table.remove(watched.fd);
        }
    }

    /// Whether `watched` has been neither removed nor replaced.
    pub(crate) fn has(&self, watched: &Arc<Watched>) -> bool {
        self.lock().is_current(watched) && watched.registration.get().is_some_and(FdHandle::is_registered)
    }

    pub(crate) fn named(&self, name: u32) -> Option<Arc<Watched>> {
        self.lock().by_name.get(&name).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn is_current(&self, watched: &Arc<Watched>) -> bool {
        self.by_fd.get(&watched.fd).is_some_and(|current| Arc::ptr_eq(current, watched))
    }

    fn remove(&mut self, fd: RawFd) -> bool {
        let Some(old) = self.by_fd.remove(&fd) else { return false };
        self.by_name.remove(&old.name);
        old.registration.get().is_some_and(FdHandle::remove)
    }

    fn free_name(&mut self) -> u32 {
        loop {
            self.last_name = self.last_name.wrapping_add(1);
            if !self.by_name.contains_key(&self.last_name) {
                return self.last_name;
            }
        }
    }
}

/// An fd that belongs to C, which closes it.
struct Borrowed(RawFd);

impl AsFd for Borrowed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: it is not negative (`ALooper_addFd` has looked), and C promises to keep it open while it is watched. If
        // it does not, the looper asks the kernel about a number that is closed or another file's: it does not read,
        // write or close it.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}
