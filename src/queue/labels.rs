//! The labels by which a message is found again.

use std::{
    num::NonZeroU64,
    sync::atomic::{AtomicU64, Ordering},
};

/// A unique label by which messages are found again.
///
/// Each call of [`Token::new`] makes another one.
///
/// # Android
/// The `token` and `obj` objects that `removeCallbacksAndMessages` and `hasMessages` compare by identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(NonZeroU64);

impl Token {
    /// Makes a token that is equal to no other.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a default is the same each time")]
    pub fn new() -> Token {
        static LAST: AtomicU64 = AtomicU64::new(0);
        // Nobody counts to 2^64.
        Token(NonZeroU64::MIN.saturating_add(LAST.fetch_add(1, Ordering::Relaxed)))
    }
}

/// Selects a handler's messages: all, or those with a label.
///
/// A number stands for [`What`](MessageFilter::What), a [`Token`] for itself, and a pair for both.
///
/// # Android
/// The arguments of `Handler.removeMessages`, `hasMessages` and `removeCallbacksAndMessages`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageFilter {
    /// All of them.
    All,
    /// Those that are labelled with this number. One without label is not, whatever the number is.
    What(i32),
    /// Those that carry this token.
    Token(Token),
    /// Those that are labelled with this number and carry this token.
    WhatAndToken(i32, Token),
}

impl From<i32> for MessageFilter {
    fn from(what: i32) -> MessageFilter {
        MessageFilter::What(what)
    }
}

impl From<Token> for MessageFilter {
    fn from(token: Token) -> MessageFilter {
        MessageFilter::Token(token)
    }
}

impl From<(i32, Token)> for MessageFilter {
    fn from((what, token): (i32, Token)) -> MessageFilter {
        MessageFilter::WhatAndToken(what, token)
    }
}

/// How a handler's message is labelled, if it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels {
    pub(crate) what: Option<i32>,
    pub(crate) token: Option<Token>,
}
