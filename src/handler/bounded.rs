//! Handlers that take so many messages and no more, until they have handled some.

use std::{
    any,
    fmt::{self, Debug, Formatter},
    panic::Location,
    sync::Arc,
};

use crate::{
    core::{
        item::{Body, Stamp, When},
        predicate,
        refused::{Refused, Rejected},
        semaphore::{Bounded, Permit, Semaphore},
        shared::Shared,
    },
    error::RejectReason,
    handler::{Handler, builder::send_erased},
    looper::{Looper, handle::LooperHandle, posted::Posted},
    mem::{erased::ANYWHERE, slots::Key},
};

/// A [`Handler`] with a limit of pending messages: a sender waits for room, or gets the message back.
///
/// Clones send to the same handler. A message takes a place from when it is sent until it begins, or is removed or
/// dropped: the one that runs takes none. Those who wait get places in the order in which they came.
///
/// # Examples
/// A producer that is not faster than its consumer:
///
/// ```
/// # use alooper::{BoundedHandler, Looper};
/// # use std::thread;
/// # fn main() -> std::io::Result<()> {
/// let looper = Looper::new()?;
/// let sum = looper.bounded_handler(8, |looper, number: u32| {
///     if number == 1000 {
///         looper.quit();
///     }
/// })?;
/// let producer = thread::spawn(move || (1..=1000).try_for_each(|number| sum.send(number).map(drop)));
///
/// assert_eq!(looper.run()?.run, 1000);
/// producer.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
///
/// # Thread safety
/// `Send` and `Sync` if `M` is `Send`.
///
/// # Guarantees
/// The bound is exact, however many threads send. A quit and the end of the looper release all who wait.
///
/// # Android
/// There is none: a `MessageQueue` grows without end.
pub struct BoundedHandler<M> {
    handler: Handler<Bounded<M>>,
    noted: Arc<NotedSemaphore>,
}

/// The semaphore, known to the looper until the last front is dropped.
struct NotedSemaphore {
    shared: Arc<Shared>,
    semaphore: Arc<Semaphore>,
    capacity: usize,
    /// `None` if the looper had quit.
    key: Option<Key>,
}

impl Drop for NotedSemaphore {
    fn drop(&mut self) {
        if let Some(key) = self.key.filter(|_| !self.shared.is_inherited()) {
            self.shared.senders.forget(key);
        }
    }
}

impl NotedSemaphore {
    fn new(shared: &Arc<Shared>, capacity: usize) -> Arc<NotedSemaphore> {
        let (semaphore, key) = Semaphore::new(shared, capacity);
        Arc::new(NotedSemaphore { shared: shared.clone(), semaphore, capacity, key })
    }
}

/// What a bounded handler's closure is to the handler that it is made of.
fn unbounded<M: 'static, F: FnMut(&Looper, M) + 'static>(
    mut callback: Box<F>,
) -> Box<impl FnMut(&Looper, Bounded<M>) + 'static> {
    Box::new(move |looper: &Looper, Bounded { message, permit }: Bounded<M>| {
        // It begins: somebody else may send.
        drop(permit);
        callback(looper, message);
    })
}

impl<M: 'static> BoundedHandler<M> {
    /// Sends `message` if fewer than [`capacity`](BoundedHandler::capacity) are pending.
    ///
    /// # Errors
    /// Gives the message back: with [`RejectReason::Full`] if there is no room, or because the looper has quit or was
    /// dropped.
    ///
    /// # Thread safety
    /// Callable from any thread if `M` is `Send`; holds short locks and does not wait.
    #[track_caller]
    pub fn try_send(&self, message: M) -> Result<Posted<M>, Rejected<M>> {
        let place = Location::caller();
        match self.noted.semaphore.try_acquire() {
            Some(permit) => self.deliver(permit, message, place),
            None => Err(self.refuse(message, RejectReason::Full).local_error(place)),
        }
    }

    /// Sends `message`, and waits for room if there is none, which blocks the thread.
    ///
    /// # Errors
    /// Gives the message back if the looper has quit or was dropped, also while this waits. With
    /// [`RejectReason::OwnThread`] if it would wait on the looper's own thread, and with [`RejectReason::InPredicate`] in
    /// a predicate.
    ///
    /// # Thread safety
    /// Callable from any thread if `M` is `Send`.
    #[track_caller]
    pub fn send(&self, message: M) -> Result<Posted<M>, Rejected<M>> {
        let place = Location::caller();
        let semaphore = &self.noted.semaphore;
        let permit = match semaphore.try_acquire() {
            Some(permit) => Some(permit),
            None if self.noted.shared.is_current() => {
                return Err(self.refuse(message, RejectReason::OwnThread).local_error(place));
            }
            None if predicate::in_predicate() => {
                return Err(self.refuse(message, RejectReason::InPredicate).local_error(place));
            }
            None => semaphore.acquire(),
        };
        match permit {
            Some(permit) => self.deliver(permit, message, place),
            None => Err(self.refuse(message, RejectReason::Quit).local_error(place)),
        }
    }

    /// Sends what has a place.
    pub(crate) fn deliver(
        &self,
        permit: Permit,
        message: M,
        origin: &'static Location<'static>,
    ) -> Result<Posted<M>, Rejected<M>> {
        let Handler { asynchronous, .. } = self.handler;
        let recipient = self.handler.recipient();
        let stamp = Stamp { when: When::Now, asynchronous, origin };
        let mut body = Body::default();
        body.fill_message(Bounded { message, permit }, ANYWHERE);
        match send_erased(recipient, stamp, body) {
            Ok(id) => Ok(Posted::bounded(recipient.shared.id, id, recipient.of)),
            Err(Refused { value, reason }) => {
                let Bounded { message, permit } = *value;
                drop(permit);
                Err(Refused { value: message, reason }.local_error(origin))
            }
        }
    }

    /// Gives `message` back, for `reason` unless the looper has a better one.
    pub(crate) fn refuse(&self, message: M, reason: RejectReason) -> Refused<M> {
        Refused { value: message, reason: self.noted.shared.closed().unwrap_or(reason) }
    }

    #[cfg(feature = "async")]
    pub(crate) fn semaphore(&self) -> &Arc<Semaphore> {
        &self.noted.semaphore
    }

    /// How many messages may be pending.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.noted.capacity
    }

    /// How many messages are pending: exact at the moment of the call. The one that is being handled is not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.handler.len()
    }

    /// Whether no message is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.handler.is_empty()
    }

    /// Removes all messages, which makes room; gives how many they were.
    pub fn clear(&self) -> usize {
        self.handler.clear()
    }

    /// Removes the messages for which `predicate` is true, as [`Handler::remove_if`]; gives how many they were.
    ///
    /// # Panics
    /// As [`Handler::remove_if`].
    pub fn remove_if(&self, mut predicate: impl FnMut(&M) -> bool) -> usize {
        self.handler.remove_if(|bounded| predicate(&bounded.message))
    }

    /// The same handler, all of whose messages are asynchronous: no barrier holds them up. They share the bound.
    #[must_use]
    pub fn asynchronous(&self) -> BoundedHandler<M> {
        BoundedHandler { handler: self.handler.asynchronous(), noted: self.noted.clone() }
    }

    /// A handle to the looper whose thread handles the messages.
    #[must_use]
    pub fn looper(&self) -> LooperHandle {
        self.handler.looper()
    }
}

impl Looper {
    /// Makes a handler with at most `capacity` messages pending. `callback` and its state need not be `Send`.
    ///
    /// # Errors
    /// Gives the closure back with [`RejectReason::ZeroCapacity`] if `capacity` is zero.
    #[track_caller]
    pub fn bounded_handler<M, F>(&self, capacity: usize, callback: F) -> Result<BoundedHandler<M>, Rejected<F>>
    where
        M: 'static,
        F: FnMut(&Looper, M) + 'static,
    {
        if capacity == 0 {
            return Err(Refused { value: callback, reason: RejectReason::ZeroCapacity }.local_error(Location::caller()));
        }
        let noted = NotedSemaphore::new(self.shared(), capacity);
        Ok(BoundedHandler { handler: self.handler(*unbounded(Box::new(callback))), noted })
    }
}

impl LooperHandle {
    /// Makes a handler with at most `capacity` messages pending, from any thread: as [`LooperHandle::handler`].
    ///
    /// # Errors
    /// Gives the closure back with [`RejectReason::ZeroCapacity`] if `capacity` is zero, or if the looper has quit or was
    /// dropped.
    #[track_caller]
    pub fn bounded_handler<M, F>(&self, capacity: usize, callback: F) -> Result<BoundedHandler<M>, Rejected<F>>
    where
        M: Send + 'static,
        F: FnMut(&Looper, M) + Send + 'static,
    {
        if capacity == 0 {
            return Err(Refused { value: callback, reason: RejectReason::ZeroCapacity }.send_error(Location::caller()));
        }
        let noted = NotedSemaphore::new(&self.shared, capacity);
        let handler = self.handler_of(callback, unbounded)?;
        Ok(BoundedHandler { handler, noted })
    }
}

impl<M> Clone for BoundedHandler<M> {
    fn clone(&self) -> Self {
        BoundedHandler { handler: self.handler.clone(), noted: self.noted.clone() }
    }
}

impl<M> Debug for BoundedHandler<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedHandler")
            .field("of", &any::type_name::<M>())
            .field("capacity", &self.noted.capacity)
            .finish_non_exhaustive()
    }
}
