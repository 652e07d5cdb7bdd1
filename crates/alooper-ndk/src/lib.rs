#![doc = include_str!("../README.md")]
//!
//! # From Rust
//! The functions are those of C, and `unsafe` for the same reasons. A Rust program has more of
//! [`alooper`] itself; it links this crate for the sake of C code in the same process: `use alooper_ndk as _;`.
//! Both see the same looper: [`Looper::prepare`](alooper::Looper::prepare) and [`ALooper_prepare`] give a thread one and
//! the same.

mod constants;
mod errno;
mod extension;
mod fds;
mod functions;
mod home;
mod looper;
mod posts;

pub use self::{
    constants::*,
    extension::*,
    fds::ALooper_callbackFunc,
    functions::*,
    looper::ALooper,
    posts::{alooper_discard_func, alooper_func},
};
