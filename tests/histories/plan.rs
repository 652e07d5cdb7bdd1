//! What several threads do at once.

use proptest::{collection::vec, prelude::*};

/// Threads that post and remove.
pub(crate) const POSTERS: usize = 3;
const WHATS: i32 = 2;

#[derive(Clone, Debug)]
pub(crate) enum Deed {
    Post {
        when: When,
        asynchronous: bool,
    },
    Send {
        to: To,
        what: i32,
        when: When,
        asynchronous: bool,
    },
    Cancel {
        back: usize,
    },
    Remove {
        from: To,
        what: Option<i32>,
    },
    RemoveIf {
        from: To,
        what: i32,
    },
    /// Posts a closure that removes, on the looper's thread.
    PostRemoval {
        what: i32,
    },
    Barrier,
    Lift,
    Quit {
        safely: bool,
    },
}

/// A handler that all threads send to, or the thread's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum To {
    Shared,
    Own,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Now,
    /// So many microseconds after all threads have begun.
    At(u64),
    AtFront,
    /// Not before the end.
    Later,
}

/// What each thread does, and how the looper is quit in the end.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) threads: [Vec<Deed>; POSTERS],
    pub(crate) safely: bool,
}

pub(crate) fn plans(most: usize) -> impl Strategy<Value = Plan> {
    let thread = || vec(deed(), 1..=most);
    ([thread(), thread(), thread()], any::<bool>()).prop_map(|(threads, safely)| Plan { threads, safely })
}

fn deed() -> impl Strategy<Value = Deed> {
    let when = || {
        prop_oneof![
            4 => Just(When::Now),
            4 => (0..4_u64).prop_map(|step| When::At(step * 60)),
            1 => Just(When::AtFront),
            2 => Just(When::Later),
        ]
    };
    let to = || prop_oneof![Just(To::Shared), Just(To::Own)];
    prop_oneof![
        50 => (when(), any::<bool>()).prop_map(|(when, asynchronous)| Deed::Post { when, asynchronous }),
        90 => (to(), 0..WHATS, when(), any::<bool>())
            .prop_map(|(to, what, when, asynchronous)| Deed::Send { to, what, when, asynchronous }),
        20 => (0..8_usize).prop_map(|back| Deed::Cancel { back }),
        15 => (to(), prop::option::of(0..WHATS)).prop_map(|(from, what)| Deed::Remove { from, what }),
        8 => (to(), 0..WHATS).prop_map(|(from, what)| Deed::RemoveIf { from, what }),
        5 => (0..WHATS).prop_map(|what| Deed::PostRemoval { what }),
        8 => Just(Deed::Barrier),
        8 => Just(Deed::Lift),
        1 => any::<bool>().prop_map(|safely| Deed::Quit { safely }),
    ]
}
