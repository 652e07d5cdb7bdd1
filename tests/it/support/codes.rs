//! Handlers that log what they handle: the codes of Android's plain messages, or words.

use std::{cell::RefCell, rc::Rc};

use alooper::{Handler, Looper, Message};

pub(crate) type Log<T> = Rc<RefCell<Vec<T>>>;

/// A handler of messages, and the codes of those that it has handled.
pub(crate) fn logging(looper: &Looper) -> (Handler<Message>, Log<i32>) {
    let whats = Log::default();
    let log = whats.clone();
    (Handler::new(looper, move |_, message: Message| log.borrow_mut().push(message.what)), whats)
}

/// A handler that writes down what it is sent, and what it has written.
pub(crate) fn scribe(looper: &Looper) -> (Handler<&'static str>, Log<&'static str>) {
    let written = Log::default();
    let writing = written.clone();
    (Handler::new(looper, move |_, word| writing.borrow_mut().push(word)), written)
}
