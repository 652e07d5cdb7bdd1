//! `<android/looper.h>` on Linux, seen by its clients: these tests, the crate `ndk`, and programs in C and C++.

mod clients;
mod extension;
mod facts;
mod header;
mod ndk_crate;
mod page;
mod support;
mod wrong_use;
