//! The looper of a thread, and of the process: prepare, current, main.

use std::{
    cell::RefCell,
    io,
    rc::Rc,
    sync::{Mutex, OnceLock, PoisonError},
};

use crate::{
    builder::Builder, drops::drop_quietly, error::Misuse, looper::Looper, remote::LooperHandle, sys::fork::PerProcess,
};

thread_local! {
    /// This thread's looper. Its destructor runs when the thread ends: from then on there is none, even before it is dropped.
    static CURRENT: Own = const { Own(RefCell::new(None)) };
}

/// The looper that a thread keeps until it ends.
struct Own(RefCell<Option<Rc<Looper>>>);

impl Drop for Own {
    /// Drops the looper. A panic must not leave a thread's last destructors, where it would abort the process (X3).
    fn drop(&mut self) {
        let looper = self.0.take();
        if drop_quietly(looper) {
            log::error!("something that a looper held panicked when it was dropped at the end of its thread");
        }
    }
}

/// The process's main looper. A forked child does not have its parent's.
static MAIN: PerProcess<Main> = PerProcess::new();

#[derive(Default)]
struct Main {
    handle: OnceLock<LooperHandle>,
    /// Held while a thread makes its looper the main one, so that a second thread does not prepare one in vain.
    preparing: Mutex<()>,
}

impl Looper {
    /// Gives the calling thread's looper, and makes it the first time.
    ///
    /// The thread keeps it until it ends, also after it has quit. When the thread ends, [`Looper::current`] becomes
    /// `None` first, and then the looper is dropped.
    ///
    /// A forked child does not have its parent's looper: it is given one of its own here, and lets go of the other.
    ///
    /// # Errors
    /// As [`Looper::new`]; of kind `Unsupported` if the thread is ending.
    ///
    /// # Android
    /// `ALooper_prepare`, and `Looper.prepare`, which throws the second time.
    #[doc(alias = "ALooper_prepare")]
    pub fn prepare() -> io::Result<Rc<Looper>> {
        match Looper::current() {
            Some(looper) => Ok(looper),
            None => Looper::builder().prepare(),
        }
    }

    /// The calling thread's looper, if it was prepared; in a forked child, if it was prepared there.
    ///
    /// # Android
    /// `ALooper_forThread`, `Looper.myLooper`.
    #[doc(alias = "ALooper_forThread")]
    #[doc(alias = "myLooper")]
    #[must_use]
    pub fn current() -> Option<Rc<Looper>> {
        let current = CURRENT.try_with(|current| current.0.borrow().clone()).ok().flatten();
        current.filter(|looper| !looper.shared().is_inherited())
    }

    /// Prepares the calling thread's looper as the main looper of the process, which any thread reaches by
    /// [`Looper::main_handle`].
    ///
    /// # Errors
    /// As [`Looper::prepare`]; of kind `AlreadyExists` if there is a main looper already, even if that has quit.
    ///
    /// # Android
    /// `Looper.prepareMainLooper`.
    #[doc(alias = "prepareMainLooper")]
    pub fn prepare_main() -> io::Result<Rc<Looper>> {
        let main = MAIN.get();
        let _preparing = main.preparing.lock().unwrap_or_else(PoisonError::into_inner);
        if Looper::main_handle().is_some() {
            return Err(Misuse::SecondMain.into());
        }
        let looper = Looper::prepare()?;
        main.handle.set(looper.handle()).map_err(|_| Misuse::SecondMain)?;
        Ok(looper)
    }

    /// A handle to the main looper of the process, once there is one. A forked child has none until it prepares one.
    ///
    /// # Android
    /// `Looper.getMainLooper`.
    #[doc(alias = "getMainLooper")]
    #[must_use]
    pub fn main_handle() -> Option<LooperHandle> {
        MAIN.get().handle.get().cloned()
    }
}

/// Makes `looper` the calling thread's own, which has none but perhaps, in a forked child, its parent's.
fn install(looper: &Rc<Looper>) -> io::Result<()> {
    let install = |current: &Own| current.0.replace(Some(looper.clone()));
    let inherited = CURRENT.try_with(install).map_err(|_| Misuse::ThreadEnding)?;
    if drop_quietly(inherited) {
        log::error!("something that the parent process's looper held panicked when a forked child dropped it");
    }
    Ok(())
}

/// Makes `looper` the calling thread's own until it is taken back.
#[cfg(feature = "testing")]
pub(crate) fn lend(looper: &Rc<Looper>) -> io::Result<()> {
    if Looper::current().is_some() {
        return Err(Misuse::SecondPrepare.into());
    }
    install(looper)
}

/// Takes back a looper that was lent as the calling thread's own.
#[cfg(feature = "testing")]
pub(crate) fn take_back(looper: &Rc<Looper>) {
    let taken = CURRENT.try_with(|current| {
        let mut own = current.0.borrow_mut();
        own.take_if(|own| Rc::ptr_eq(own, looper))
    });
    drop(taken);
}

impl Builder {
    /// Makes the looper and makes it the calling thread's own, as [`Looper::prepare`] does.
    ///
    /// # Errors
    /// As [`Looper::prepare`], and one of kind `AlreadyExists` if the thread has a looper, whose properties are set
    /// already.
    pub fn prepare(self) -> io::Result<Rc<Looper>> {
        if Looper::current().is_some() {
            return Err(Misuse::SecondPrepare.into());
        }
        if CURRENT.try_with(|_| ()).is_err() {
            return Err(Misuse::ThreadEnding.into());
        }
        let looper = Rc::new(self.build()?);
        install(&looper)?;
        Ok(looper)
    }
}
