//! The looper of a thread, and of the process: prepare, current, main.

use std::{
    cell::RefCell,
    io,
    rc::Rc,
    sync::{Mutex, OnceLock, PoisonError},
};

use crate::{
    error::Misuse,
    looper::{Looper, builder::LooperBuilder, handle::LooperHandle},
    mem::{drop::caught, log},
    sys::fork::PerProcess,
};

thread_local! {
    /// This thread's looper. Its destructor runs when the thread ends: from then on there is none, even before it is
    /// dropped.
    static CURRENT: Own = const { Own(RefCell::new(None)) };
}

/// The looper that a thread keeps until it ends.
struct Own(RefCell<Option<Rc<Looper>>>);

impl Drop for Own {
    /// Ends the looper. A panic must not leave a thread's last destructors, where it would abort the process (X3).
    fn drop(&mut self) {
        if !end_quietly(self.0.take()) {
            log::error!("something that a looper held panicked when it was dropped at the end of its thread");
        }
    }
}

/// Ends what was a thread's own looper, whoever still has an `Rc` of it. Whether nothing that it held panicked.
fn end_quietly(own: Option<Rc<Looper>>) -> bool {
    let end = || {
        let own = own;
        own.iter().for_each(|looper| looper.end());
    };
    caught(end).is_some()
}

/// The process's main looper. A forked child does not have its parent's.
static MAIN: PerProcess<Main> = PerProcess::new();

#[derive(Default)]
struct Main {
    handle: OnceLock<LooperHandle>,
    /// Held while a thread makes its looper the main one, so that a second thread does not prepare one in vain.
    preparing: Mutex<()>,
}

/// **A thread's looper, and the main one.**
impl Looper {
    /// Gives the calling thread's looper, and makes it the first time.
    ///
    /// The thread keeps it until the thread ends, even if the looper quits. When the thread ends, [`Looper::current`]
    /// becomes `None` first. Then the looper ends as if it were dropped, even if an `Rc` of it is left somewhere: all
    /// that it holds is dropped, on this thread, so that a callback with an `Rc` of its own looper keeps neither alive.
    /// An `Rc` that is left refers to a looper that has quit.
    ///
    /// A forked child does not have its parent's looper: it is given one of its own here, and the other ends.
    ///
    /// # Errors
    /// As [`Looper::new`]; of kind `Unsupported` if the thread is ending.
    ///
    /// # Android
    /// `ALooper_prepare`, and `Looper.prepare`, which throws the second time.
    #[doc(alias = "ALooper_prepare")]
    pub fn prepare() -> io::Result<Rc<Looper>> {
        end_inherited();
        match Looper::current() {
            Some(looper) => Ok(looper),
            None => Looper::builder().prepare(),
        }
    }

    /// Gives the calling thread's looper, if one was prepared. A forked child has to prepare its own.
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
        // Before anything is locked, since it drops what is a user's.
        end_inherited();
        let main = MAIN.get();
        let _preparing = main.preparing.lock().unwrap_or_else(PoisonError::into_inner);
        if Looper::main_handle().is_some() {
            return Err(Misuse::SecondMain.into());
        }
        let looper = Looper::prepare()?;
        main.handle.set(looper.handle()).map_err(|_| Misuse::SecondMain)?;
        Ok(looper)
    }

    /// Gives a handle to the main looper of the process, once there is one. A forked child has to prepare its own.
    ///
    /// # Android
    /// `Looper.getMainLooper`.
    #[doc(alias = "getMainLooper")]
    #[must_use]
    pub fn main_handle() -> Option<LooperHandle> {
        MAIN.get().handle.get().cloned()
    }
}

/// In a forked child, ends what was the calling thread's own looper in the parent process. That drops what is a user's,
/// which may prepare another one.
fn end_inherited() {
    let is_inherited = |own: &mut Rc<Looper>| own.shared().is_inherited();
    let inherited = CURRENT.try_with(|current| current.0.borrow_mut().take_if(is_inherited));
    if !end_quietly(inherited.ok().flatten()) {
        log::error!("something that the parent process's looper held panicked when a forked child dropped it");
    }
}

/// Makes `looper` the calling thread's own, which has none.
fn install(looper: &Rc<Looper>) -> io::Result<()> {
    CURRENT.try_with(|current| current.0.replace(Some(looper.clone()))).map_err(|_| Misuse::ThreadEnding)?;
    Ok(())
}

/// Makes `looper` the calling thread's own until it is taken back.
#[cfg(feature = "testing")]
pub(crate) fn lend(looper: &Rc<Looper>) -> io::Result<()> {
    end_inherited();
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

impl LooperBuilder {
    /// Makes the looper and makes it the calling thread's own, as [`Looper::prepare`] does.
    ///
    /// # Errors
    /// As [`Looper::prepare`], and one of kind `AlreadyExists` if the thread has a looper, whose properties are set
    /// already.
    pub fn prepare(self) -> io::Result<Rc<Looper>> {
        end_inherited();
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
