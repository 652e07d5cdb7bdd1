//! `Message`: Android's own message, for ported code.

use std::{
    any::{Any, TypeId},
    fmt::{self, Debug, Formatter},
};

use crate::queue::labels::Labels;

/// Android's plain message: a code, two numbers, and an object.
///
/// A [`Handler<Message>`](crate::Handler) labels each message with its `what`, zero included. New code is better off with a type of
/// its own, an enum for instance, that says what each message holds.
///
/// ```
/// use alooper::{Handler, Looper, Message};
///
/// # fn main() -> std::io::Result<()> {
/// const LOADED: i32 = 1;
/// let looper = Looper::new()?;
/// let handler = Handler::new(&looper, |looper, mut message: Message| match message.what {
///     LOADED => assert_eq!(message.take::<String>(), Some("seven".repeat(message.arg1 as usize))),
///     _ => looper.quit(),
/// });
///
/// handler.send(Message { arg1: 1, ..Message::with_obj(LOADED, "seven".to_owned()) })?;
/// handler.send(Message::new(2))?;
/// assert!(handler.has(LOADED));
///
/// looper.run()?;
/// # Ok(())
/// # }
/// ```
///
/// # Android
/// `android.os.Message`, without the pool: nothing has to be obtained or recycled.
#[derive(Default)]
pub struct Message {
    /// What the message is about: a code that handler and sender agree on.
    pub what: i32,
    /// A number, if that is all there is to say.
    pub arg1: i32,
    /// A second number.
    pub arg2: i32,
    /// An object.
    pub obj: Option<Box<dyn Any + Send>>,
}

impl Message {
    /// Makes a message with this code and nothing else.
    ///
    /// # Android
    /// `Handler.obtainMessage(int)`, and `sendEmptyMessage(int)` when it is sent.
    #[must_use]
    pub fn new(what: i32) -> Message {
        Message { what, ..Message::default() }
    }

    /// Makes a message with this code and object.
    ///
    /// # Android
    /// `Handler.obtainMessage(int, Object)`.
    #[must_use]
    pub fn with_obj(what: i32, obj: impl Any + Send) -> Message {
        Message { obj: Some(Box::new(obj)), ..Message::new(what) }
    }

    /// Takes the object out, if there is one of type `T`; another one stays.
    #[must_use]
    pub fn take<T: Any>(&mut self) -> Option<T> {
        match self.obj.take()?.downcast() {
            Ok(object) => Some(*object),
            Err(other) => {
                self.obj = Some(other);
                None
            }
        }
    }
}

impl Debug for Message {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("what", &self.what)
            .field("arg1", &self.arg1)
            .field("arg2", &self.arg2)
            .field("has_obj", &self.obj.is_some())
            .finish()
    }
}

/// The labels of `message` unless the sender gives others: a plain [`Message`] brings its `what`.
#[inline]
pub(crate) fn labels_of<M: 'static>(message: &M) -> Labels {
    let plain = (message as &dyn Any).downcast_ref::<Message>();
    Labels { what: plain.map(|message| message.what), token: None }
}

/// Whether an `M` is Android's plain message, which carries its own `what`.
pub(crate) fn is_plain<M: 'static>() -> bool {
    TypeId::of::<M>() == TypeId::of::<Message>()
}

/// Sets the `what` that a plain [`Message`] carries; another message carries none.
#[inline]
pub(crate) fn set_what<M: 'static>(message: &mut M, what: i32) {
    if let Some(plain) = (message as &mut dyn Any).downcast_mut::<Message>() {
        plain.what = what;
    }
}
