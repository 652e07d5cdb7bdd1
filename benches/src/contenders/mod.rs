//! The contenders: each does every workload that it has means for, in the way of its users.
//!
//! All of them run the same closures, [`Work`](crate::tally::Work), and prove it by the same
//! [`Tally`](crate::tally::Tally).

pub mod alooper;
pub mod calloop;
pub mod floor;
#[cfg(has_libuv)]
pub mod libuv;
pub mod tokio;

mod asked;
mod common;
mod flooded;
mod made;
mod mixture;
mod observed;
mod tasks;

use crate::{
    meter::{Meter, Sample},
    workload::Kind,
};

/// Measures a workload; `None` if the contender has no means for it, or would take minutes.
pub type Run = fn(Kind, &Meter) -> Option<Sample>;

/// By name, in the order in which they take turns. The first is what the others are compared to.
pub const ALL: &[(&str, Run)] = &[
    ("floor", floor::run),
    ("floor_btree", floor::run_btree),
    ("alooper", alooper::run),
    ("calloop", calloop::run),
    ("calloop_own", calloop::run_own),
    ("tokio", tokio::run),
    #[cfg(has_libuv)]
    ("libuv", libuv::run),
];

pub fn find(name: &str) -> Option<Run> {
    ALL.iter().find(|(other, _)| *other == name).map(|(_, run)| *run)
}

/// What a chart says of each.
pub fn explanation(name: &str) -> &'static str {
    match name {
        "floor" => "no library: epoll and a queue by hand",
        "floor_btree" => "the same, timers in a BTreeMap",
        "alooper" => "this library",
        "calloop" => "its channel and sources",
        "calloop_own" => "a queue of one's own, its ping",
        "tokio" => "one thread, its channel and tasks",
        "libuv" => "a mutexed queue, uv_async_t",
        _ => "another build of alooper",
    }
}

/// Whether it is neither alooper nor a floor.
pub fn is_peer(name: &str) -> bool {
    !name.starts_with("floor") && name != "alooper" && ALL.iter().any(|(other, _)| *other == name) || name == "libuv"
}
