//! A handler of Android's plain messages that logs their codes.

use std::{cell::RefCell, rc::Rc};

use alooper::{Handler, Looper, Message};

pub(crate) type Log<T> = Rc<RefCell<Vec<T>>>;

pub(crate) fn logging(looper: &Looper) -> (Handler<Message>, Log<i32>) {
    let whats = Log::default();
    let log = whats.clone();
    (Handler::new(looper, move |_, message: Message| log.borrow_mut().push(message.what)), whats)
}
