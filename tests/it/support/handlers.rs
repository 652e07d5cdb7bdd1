//! Handlers that keep what they are sent, lists of what ran, removals at home and elsewhere, and values that tell where
//! they are dropped.

use std::{
    cell::RefCell,
    mem,
    rc::Rc,
    sync::{Arc, Mutex, mpsc},
    thread::{self, ThreadId},
};

use alooper::{Handler, Looper, LooperHandle, MessageCounts, Posted, Token, WeakHandler};

use crate::support::HOUR;

/// What `ask` gives on another thread.
pub(crate) fn elsewhere<T: Send>(ask: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(ask).join().unwrap())
}

/// What was handled, in its order.
pub(crate) struct Kept<M>(Rc<RefCell<Vec<M>>>);

impl<M> Kept<M> {
    /// What was handled since the last call.
    pub(crate) fn take(&self) -> Vec<M> {
        mem::take(&mut self.0.borrow_mut())
    }
}

/// Makes a handler that keeps what it handles.
pub(crate) fn keeper<M: 'static>(looper: &Looper) -> (Handler<M>, Kept<M>) {
    let kept = Kept(Rc::default());
    let list = kept.0.clone();
    (Handler::new(looper, move |_, message| list.borrow_mut().push(message)), kept)
}

/// Says which of several handlers and closures ran, in their order.
#[derive(Clone, Default)]
pub(crate) struct Said(Arc<Mutex<Vec<usize>>>);

impl Said {
    pub(crate) fn say(&self, number: usize) {
        self.0.lock().unwrap().push(number);
    }

    pub(crate) fn closure(&self, number: usize) -> impl FnOnce(&Looper) + Send + 'static {
        let said = self.clone();
        move |_| said.say(number)
    }

    pub(crate) fn take(&self) -> Vec<usize> {
        mem::take(&mut self.0.lock().unwrap())
    }
}

/// Where a removal is asked for: at home, and on another thread.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Where {
    Home,
    Elsewhere,
}

pub(crate) const WHERES: [Where; 2] = [Where::Home, Where::Elsewhere];

impl Where {
    pub(crate) fn ask<T: Send>(self, ask: impl FnOnce() -> T + Send) -> T {
        match self {
            Where::Home => ask(),
            Where::Elsewhere => elsewhere(ask),
        }
    }
}

/// Sends `messages` to run now.
pub(crate) fn send_each<M: 'static>(handler: &Handler<M>, messages: impl IntoIterator<Item = M>) {
    for message in messages {
        handler.send(message).unwrap();
    }
}

/// Tells on which thread it is dropped.
pub(crate) struct Told(pub(crate) mpsc::Sender<ThreadId>);

impl Told {
    /// Keeps it for as long as the closure that calls this.
    pub(crate) fn hold(&self) {}
}

impl Drop for Told {
    fn drop(&mut self) {
        // The test may have ended.
        let _ = self.0.send(thread::current().id());
    }
}

pub(crate) fn told() -> (Told, mpsc::Receiver<ThreadId>) {
    let (sender, receiver) = mpsc::channel();
    (Told(sender), receiver)
}

/// So many values that tell the same receiver.
pub(crate) fn told_many(count: usize) -> (Vec<Told>, mpsc::Receiver<ThreadId>) {
    let (sender, receiver) = mpsc::channel();
    ((0..count).map(|_| Told(sender.clone())).collect(), receiver)
}

/// What is sent where values use the looper when they are dropped; `None` does nothing.
pub(crate) type Parcel = Option<Meddler>;

/// A value that does everything with its looper and its handler when it is dropped, and tells where that is.
pub(crate) struct Meddler {
    handler: WeakHandler<Parcel>,
    handle: LooperHandle,
    /// Another message, which it cancels.
    victim: Option<Posted<Parcel>>,
    _told: Told,
}

impl Meddler {
    pub(crate) fn new(handler: &Handler<Parcel>) -> (Meddler, mpsc::Receiver<ThreadId>) {
        let (told, dropped) = told();
        let victim = handler.send_delayed(HOUR, None).ok();
        (Meddler { handler: handler.downgrade(), handle: handler.looper(), victim, _told: told }, dropped)
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        if let Some(handler) = self.handler.upgrade() {
            meddle(&handler);
        }
        if let Ok(handler) = self.handle.handler(|_, _: Parcel| ()) {
            meddle(&handler);
        }
        let _ = self.handle.post(|_| ()).map(|posted| (posted.is_pending(), posted.cancel()));
        let _ = (self.handle.len(), self.handle.message_counts(), self.handle.wake());
        if let Some(victim) = &self.victim {
            victim.cancel();
        }
    }
}

/// Does with a handler everything that leaves its messages as they are.
pub(crate) fn meddle(handler: &Handler<Parcel>) {
    const WHAT: i32 = 0x3edd1e;
    let token = Token::new();
    let _ = handler.send(None).map(|posted| (posted.is_pending(), posted.cancel()));
    let _ = handler.send_at(handler.looper().now(), None).map(Posted::guard);
    let _ = handler.asynchronous().send_at_front(None).map(Posted::guard);
    let _ = handler.message(None).what(WHAT).token(token).send_delayed(HOUR);
    let _ = (handler.len(), handler.is_empty(), handler.has(token), handler.has((WHAT, token)));
    let _ = (handler.has_if(|parcel| parcel.is_some()), handler.remove_if(|_| false));
    let _ = (handler.remove(token), handler.remove((WHAT, token)), handler.remove(WHAT));
    let _ = handler.downgrade().upgrade();
}

#[track_caller]
pub(crate) fn assert_report(report: MessageCounts, posted: u64, run: u64, removed: u64, dropped: u64) {
    assert_eq!((report.posted, report.run, report.removed, report.dropped), (posted, run, removed, dropped));
}
