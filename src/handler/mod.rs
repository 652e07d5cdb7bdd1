//! `Handler`: typed messages to a closure on the looper's thread.
//!
//! Here handlers live and are dropped; `send.rs` and `builder.rs` make them and send, and `remove.rs` finds messages again.

// Their order is that of the methods on the page of `Handler`: the order of use.
mod send;
pub(crate) mod builder;
mod keyed;
pub(crate) mod remove;
pub(crate) mod bounded;
pub(crate) mod disconnect;
pub(crate) mod message;
pub(crate) mod recipient;

use std::{
    any,
    cell::Cell,
    fmt::{self, Debug, Formatter},
    mem,
    panic::Location,
    rc::Rc,
    sync::{Arc, Weak},
};

use crate::{
    core::{
        item::{Arrival, Body, HandlerFn, HandlerRc},
        local,
        refused::{Refused, Rejected},
    },
    error::RejectReason,
    handler::recipient::Recipient,
    looper::{Looper, handle::LooperHandle},
    mem::{drop::drop_each, erased::TypeToken},
};

/// Sends messages of type `M` to a closure on a looper's thread.
///
/// The closure and its state need not be `Send`. Clones send to the same closure. If `M` is `Send`, so is the handler, and
/// any thread may send, remove and ask. Messages and posted closures have one common order.
///
/// Each message may carry two labels: a number, `what`, and a [`Token`](crate::Token). You can later remove messages by
/// label, ask for them or replace them. No number, zero included, finds a message without `what`. A handler never sees
/// another's messages, nor closures that were posted to the looper.
///
/// ```
/// use alooper::{Handler, Looper};
/// use std::thread;
///
/// enum Progress {
///     Percent(u32),
///     Done,
/// }
///
/// # fn main() -> std::io::Result<()> {
/// let looper = Looper::new()?;
/// let mut shown = Vec::new();
/// let ui = Handler::new(&looper, move |looper, progress| match progress {
///     Progress::Percent(percent) => shown.push(percent),
///     Progress::Done => {
///         assert_eq!(shown, [10, 90]);
///         looper.quit();
///     }
/// });
/// let worker = thread::spawn({
///     let ui = ui.clone();
///     move || {
///         ui.send(Progress::Percent(10)).is_ok()
///             && ui.send(Progress::Percent(90)).is_ok()
///             && ui.send(Progress::Done).is_ok()
///     }
/// });
///
/// looper.run()?;
/// assert!(worker.join().unwrap());
/// # Ok(())
/// # }
/// ```
///
/// # Thread safety
/// `Send` and `Sync` if `M` is `Send`.
///
/// # Guarantees
/// The closure lives until the last clone is dropped and the last message has run; it ends with the looper at the latest.
/// It is dropped on the looper's thread. A closure that holds a clone of its own handler keeps itself alive until the
/// looper ends: give it a [`WeakHandler`].
///
/// # Android
/// `android.os.Handler`, whose `handleMessage` is the closure. Closures are posted to the looper itself: see
/// [`Handler::looper`].
#[doc(alias = "sendMessage")]
pub struct Handler<M> {
    front: Arc<Front<M>>,
    /// Whether its messages pass barriers.
    asynchronous: bool,
}

/// What the clones of a handler share. With the last one, the handler is abandoned.
pub(crate) struct Front<M> {
    recipient: Arc<Recipient<M>>,
}

impl<M> Drop for Front<M> {
    fn drop(&mut self) {
        let shared = &self.recipient.shared;
        if shared.with_queue(|queue| queue.handlers.abandon(self.recipient.target)) {
            local::drop_ended_targets(shared);
        }
    }
}

/// A handler on the looper's thread.
struct Callee<M, F: 'static> {
    of: TypeToken<M>,
    /// Taken out while it runs. Dropped perhaps while a message's panic unwinds.
    callback: Cell<Option<Box<F>>>,
}

impl<M, F: 'static> Drop for Callee<M, F> {
    fn drop(&mut self) {
        drop_each(self.callback.take());
    }
}

impl<M: 'static, F: 'static> Callee<M, F> {
    /// Runs `call` with the callback, unless that runs already.
    #[inline]
    fn call(&self, call: impl FnOnce(&mut F)) {
        let mut run = Run { place: &self.callback, callback: self.callback.take() };
        if let Some(callback) = &mut run.callback {
            call(callback);
        }
    }
}

impl<M: 'static, F: FnMut(&Looper, M) + 'static> Callee<M, F> {
    fn new_rc(of: TypeToken<M>, callback: Box<F>) -> HandlerRc {
        Rc::new(Box::new(Callee { of, callback: Cell::new(Some(callback)) }))
    }

    /// Lets the looper keep the closure of a handler, unless nobody would drop it later: that is as for a looper that
    /// has quit.
    fn keep(looper: &Looper, recipient: &Recipient<M>, callback: Box<F>) {
        if let Some(RejectReason::Dropped | RejectReason::Forked) = looper.shared().closed() {
            return;
        }
        let target = Callee::new_rc(recipient.of, callback);
        drop_each(looper.local_state().keep_target(recipient.target, target));
    }
}

impl<M: 'static, F: FnMut(&Looper, M) + 'static> HandlerFn for Callee<M, F> {
    fn run(&self, looper: &Looper, body: &mut Body) {
        if const { Body::has_room_for::<M>() } {
            if let Some(message) = body.open(self.of) {
                self.call(|callback| callback(looper, message));
            }
        } else if let Some(message) = body.open_boxed(self.of) {
            self.call(|callback| callback(looper, *message));
        }
    }

    fn name(&self) -> &'static str {
        any::type_name::<M>()
    }
}

/// A callback that runs, and is put back after that, also if it panics.
struct Run<'a, F> {
    place: &'a Cell<Option<Box<F>>>,
    callback: Option<Box<F>>,
}

impl<F> Drop for Run<'_, F> {
    fn drop(&mut self) {
        // There is nothing to drop: the place was emptied for this, or by one further out.
        mem::forget(self.place.replace(self.callback.take()));
    }
}

impl Looper {
    /// Makes a handler: [`Handler::new`] of this looper. `callback` and its state need not be `Send`.
    ///
    /// # Examples
    /// ```
    /// # use alooper::Looper;
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::new()?;
    /// let printer = looper.handler(|_, text: &str| println!("{text}"));
    ///
    /// printer.send("hello")?;
    /// # looper.poll_once(None)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Android
    /// `new Handler(looper, callback)`.
    pub fn handler<M, F>(&self, callback: F) -> Handler<M>
    where
        M: 'static,
        F: FnMut(&Looper, M) + 'static,
    {
        Handler::new(self, callback)
    }
}

impl LooperHandle {
    /// Makes a handler whose closure runs on the looper's thread, from any thread.
    ///
    /// The closure is moved to the looper's thread and dropped there. For state that is not `Send`, make the handler on
    /// the looper's thread with [`Handler::new`].
    ///
    /// # Errors
    /// Gives the closure back if the looper has quit or was dropped.
    ///
    /// # Examples
    /// ```
    /// # use alooper::Looper;
    /// # use std::thread;
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::new()?;
    /// let handle = looper.handle();
    /// let other = thread::spawn(move || {
    ///     let stop = handle.handler(|looper, after: u32| {
    ///         assert_eq!(after, 3);
    ///         looper.quit();
    ///     })?;
    ///     stop.send(3)?;
    ///     std::io::Result::Ok(())
    /// });
    ///
    /// looper.run()?;
    /// other.join().unwrap()
    /// # }
    /// ```
    ///
    /// # Android
    /// `new Handler(looper)` for the looper of another thread.
    #[track_caller]
    pub fn handler<M, F>(&self, callback: F) -> Result<Handler<M>, Rejected<F>>
    where
        M: Send + 'static,
        F: FnMut(&Looper, M) + Send + 'static,
    {
        self.handler_of(callback, |callback| callback)
    }

    /// Makes a handler whose closure is what `wrap` makes of `callback`, which is given back if the looper has quit.
    #[track_caller]
    pub(crate) fn handler_of<M, F, W>(
        &self,
        callback: F,
        wrap: impl FnOnce(Box<F>) -> Box<W> + Send + 'static,
    ) -> Result<Handler<M>, Rejected<F>>
    where
        M: Send + 'static,
        F: Send + 'static,
        W: FnMut(&Looper, M) + 'static,
    {
        let callback = Box::new(callback);
        if let Some(reason) = self.shared.closed() {
            return Err(Refused { value: callback, reason }.unboxed_send_error(Location::caller()));
        }
        let recipient = Handler::announce(&self.shared);
        let Recipient { target, of, .. } = *recipient;
        let handler = Handler { front: Arc::new(Front { recipient }), asynchronous: self.asynchronous };
        let arrival = |callback: Box<F>| Arrival::Target(target, Box::new(move || Callee::new_rc(of, wrap(callback))));
        match self.shared.admit(callback, arrival) {
            Ok(()) => Ok(handler),
            Err(refused) => Err(refused.unboxed_send_error(Location::caller())),
        }
    }
}

impl<M> Clone for Handler<M> {
    fn clone(&self) -> Self {
        Handler { front: self.front.clone(), asynchronous: self.asynchronous }
    }
}

impl<M> Debug for Handler<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler").field("of", &any::type_name::<M>()).finish_non_exhaustive()
    }
}

/// A reference to a handler that does not keep it alive. See [`Handler::downgrade`].
///
/// # Android
/// A `WeakReference<Handler>`.
pub struct WeakHandler<M> {
    front: Weak<Front<M>>,
    asynchronous: bool,
}

impl<M> WeakHandler<M> {
    /// Gives the handler, unless its last clone is gone.
    #[must_use]
    pub fn upgrade(&self) -> Option<Handler<M>> {
        let front = self.front.upgrade()?;
        Some(Handler { front, asynchronous: self.asynchronous })
    }
}

impl<M> Clone for WeakHandler<M> {
    fn clone(&self) -> Self {
        WeakHandler { front: self.front.clone(), asynchronous: self.asynchronous }
    }
}

impl<M> Debug for WeakHandler<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakHandler").field("of", &any::type_name::<M>()).finish_non_exhaustive()
    }
}
