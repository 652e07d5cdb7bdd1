//! Telling a handler that nobody can send it anything any more.

use std::{marker::PhantomData, panic::Location};

use crate::{
    core::{
        item::{Body, Stamp, When},
        local,
        shared::{LooperId, Post},
    },
    looper::Looper,
};

/// A message, or the news that no sender is left. See [`Looper::with_disconnect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandlerEvent<M> {
    /// A message.
    Message(M),
    /// The last front was dropped, and all messages have been handled: nothing more comes.
    Disconnected,
}

/// A handler's closure, which is called for the last time when this is dropped.
struct Disconnect<M: 'static, F>
where
    F: FnMut(&Looper, HandlerEvent<M>) + 'static,
{
    looper: LooperId,
    /// `None` once it was dropped.
    callback: Option<F>,
    origin: &'static Location<'static>,
    of: PhantomData<fn(M)>,
}

impl<M: 'static, F: FnMut(&Looper, HandlerEvent<M>) + 'static> Disconnect<M, F> {
    fn call(&mut self, looper: &Looper, event: HandlerEvent<M>) {
        if let Some(callback) = &mut self.callback {
            callback(looper, event);
        }
    }
}

impl<M: 'static, F: FnMut(&Looper, HandlerEvent<M>) + 'static> Drop for Disconnect<M, F> {
    /// By a message, since a drop has no looper to lend; on the looper's thread, where handlers are dropped. A looper
    /// that has quit takes none.
    fn drop(&mut self) {
        let Some(mut callback) = self.callback.take() else {
            return;
        };
        let stamp = Stamp { when: When::Now, asynchronous: false, origin: self.origin };
        let last = move |looper: &Looper| callback(looper, HandlerEvent::Disconnected);
        let left = local::with_looper(self.looper, |shared| {
            let here = shared.owner().here()?;
            let fill = |body: &mut Body, last, _| body.fill_local(last, here);
            let left = shared.leave_here(here, Post::closure(stamp), last, fill);
            Some(left.map(|(_, signal)| shared.signal_if(signal)))
        });
        // What was refused is dropped here.
        drop(left);
    }
}

impl Looper {
    /// Makes a handler's closure that is also told when the last clone of the handler has been dropped.
    ///
    /// `callback` gets each message, and after the last one [`HandlerEvent::Disconnected`], once, as a message of its own.
    /// It does not if the looper quits before. Pass what this gives to [`Looper::handler`],
    /// [`Looper::bounded_handler`] or [`Handler::new`](crate::Handler::new).
    ///
    /// # Examples
    /// ```
    /// # use alooper::{HandlerEvent, Looper};
    /// # use std::thread;
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::new()?;
    /// let mut sum = 0;
    /// let adder = looper.handler(looper.with_disconnect(move |looper, event| match event {
    ///     HandlerEvent::Message(number) => sum += number,
    ///     HandlerEvent::Disconnected => {
    ///         assert_eq!(sum, 6);
    ///         looper.quit();
    ///     }
    /// }));
    /// thread::spawn(move || (1..=3).for_each(|number| _ = adder.send(number)));
    ///
    /// looper.run()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Android
    /// There is none.
    #[track_caller]
    pub fn with_disconnect<M, F>(&self, callback: F) -> impl FnMut(&Looper, M) + use<M, F> + 'static
    where
        M: 'static,
        F: FnMut(&Looper, HandlerEvent<M>) + 'static,
    {
        let looper = self.shared().id;
        let mut disconnect =
            Disconnect { looper, callback: Some(callback), origin: Location::caller(), of: PhantomData };
        move |looper: &Looper, message: M| disconnect.call(looper, HandlerEvent::Message(message))
    }
}
