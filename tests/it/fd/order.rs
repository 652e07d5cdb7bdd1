//! Watched fds: the order within a turn, how many a turn serves, and callback-less fds.
//!
//! Holds T2, T3, T7, T8, T9, F9, C32.

use std::{
    cell::{Cell, RefCell},
    io::{Read, Write},
    os::unix::net::UnixStream,
    rc::Rc,
};

use alooper::{Events, FdNext, Interest, Looper, PollCode, Turn};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::support::{
    fds::{poll_now, ready_stream},
    watched,
};

/// What happened, in its order.
type Log = Rc<RefCell<Vec<&'static str>>>;

/// The idents of a turn with their events.
fn idents(turn: &Turn) -> Vec<(u32, Events)> {
    turn.idents.iter().map(|ready| (ready.ident, ready.events)).collect()
}

/// Lets this process open `count` files, or tells that it may not.
fn may_open(count: u64) -> bool {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    soft >= count || (hard >= count && setrlimit(Resource::RLIMIT_NOFILE, count, hard).is_ok())
}

#[test]
fn t2_a_turn_runs_messages_then_callbacks_then_reports_idents() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let log = Log::default();
        let (with_callback, _far) = ready_stream();
        let (without, _other_far) = ready_stream();
        let ident = looper.add_ident(without, Interest::INPUT, 7).unwrap();
        let in_callback = log.clone();
        looper
            .add_fd(with_callback, Interest::INPUT, move |_, _, _| {
                in_callback.borrow_mut().push("callback");
                assert!(ident.remove().is_some());
                FdNext::Keep
            })
            .unwrap();
        let in_message = log.clone();
        looper.post(move |_| in_message.borrow_mut().push("message")).unwrap();

        let turn = poll_now(&looper);

        assert_eq!(*log.borrow(), ["message", "callback"]);
        assert_eq!((turn.messages, turn.fds), (1, 1));
        assert_eq!(idents(&turn), [], "the callback came before the ident, and removed it");
    });
}

#[test]
fn t2_t3_a_turn_reports_messages_callbacks_and_idents_together() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (with_callback, _far) = ready_stream();
        let (without, _other_far) = ready_stream();
        looper.add_fd(with_callback, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        looper.add_ident(without, Interest::INPUT, 7).unwrap();
        looper.post(|_| ()).unwrap();
        looper.wake().unwrap();

        let turn = poll_now(&looper);

        assert!(turn.woken);
        assert_eq!((turn.messages, turn.fds), (1, 1));
        assert_eq!(idents(&turn), [(7, Events::INPUT)]);
        assert!(!turn.timed_out);
        assert_eq!(turn.code(), PollCode::Ident(7));
    });
}

#[test]
fn t2_callbacks_run_in_the_order_in_which_their_fds_became_ready() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let order = Rc::new(RefCell::new(Vec::new()));
        let mut peers: Vec<UnixStream> = (0..5)
            .map(|index| {
                let (near, far) = UnixStream::pair().unwrap();
                let order = order.clone();
                let source = looper.add_fd(near, Interest::INPUT, move |_, _, _| {
                    order.borrow_mut().push(index);
                    FdNext::Remove
                });
                source.unwrap();
                far
            })
            .collect();

        for index in [3, 0, 4, 2, 1] {
            peers[index].write_all(b"x").unwrap();
        }
        poll_now(&looper);

        assert_eq!(*order.borrow(), [3, 0, 4, 2, 1]);
    });
}

#[test]
fn t8_a_message_that_an_fd_callback_posts_runs_in_the_next_turn() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = ready_stream();
        looper
            .add_fd(near, Interest::INPUT, |looper, _, _| {
                looper.post(|_| ()).unwrap();
                FdNext::Remove
            })
            .unwrap();

        let first = looper.poll_once(None).unwrap();
        let second = looper.poll_once(None).unwrap();

        assert_eq!((first.messages, first.fds, first.more), (0, 1, true));
        assert_eq!((second.messages, second.fds, second.more), (1, 0, false));
    });
}

#[test]
fn t7_a_message_that_posts_itself_for_ever_leaves_every_turn_to_its_fds() {
    fn again(looper: &Looper) {
        looper.post(again).unwrap();
    }

    watched(|| {
        let looper = Looper::builder().budget(16).build().unwrap();
        let (near, _far) = ready_stream();
        looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        looper.post(again).unwrap();

        for _ in 0..3 {
            let turn = looper.poll_once(None).unwrap();
            assert_eq!((turn.messages, turn.fds, turn.more), (16, 1, true));
        }
    });
}

/// One byte makes all of them ready: they are duplicates of one stream.
#[test]
fn t9_c32_a_turn_serves_every_fd_that_is_ready() {
    watched(|| {
        let count = if may_open(12_000) { 10_000 } else { 500 };
        let looper = Looper::new().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        let calls = Rc::new(RefCell::new(vec![0; count]));
        let watch = |index: usize| {
            let calls = calls.clone();
            let source = looper.add_fd(near.try_clone().unwrap(), Interest::INPUT, move |_, _, _| {
                calls.borrow_mut()[index] += 1;
                FdNext::Keep
            });
            source.unwrap()
        };
        let sources: Vec<_> = (0..count).map(watch).collect();
        far.write_all(b"x").unwrap();

        for turn in 1..=3 {
            assert_eq!(poll_now(&looper).fds, count);
            assert!(calls.borrow().iter().all(|calls| *calls == turn));
        }
        sources.iter().skip(1).for_each(|source| drop(source.remove()));
        assert_eq!(poll_now(&looper).fds, 1);
    });
}

#[test]
fn t9_an_fd_that_is_always_ready_starves_no_other() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (hot, _hot_far) = UnixStream::pair().unwrap();
        looper.add_fd(hot, Interest::OUTPUT, |_, _, _| FdNext::Keep).unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        let served = Rc::new(Cell::new(0));
        let counted = served.clone();
        looper
            .add_fd(near, Interest::INPUT, move |_, near, _| {
                near.read_exact(&mut [0]).unwrap();
                counted.set(counted.get() + 1);
                FdNext::Keep
            })
            .unwrap();

        for turn in 1..=100 {
            far.write_all(b"x").unwrap();
            assert_eq!(poll_now(&looper).fds, 2);
            assert_eq!(served.get(), turn);
        }
    });
}

#[test]
fn f9_an_ident_is_reported_with_its_events_for_as_long_as_it_is_ready() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        let source = looper.add_ident(near, Interest::INPUT, 5).unwrap();
        assert_eq!(poll_now(&looper).code(), PollCode::Timeout);
        far.write_all(b"x").unwrap();

        for _ in 0..2 {
            let turn = looper.poll_once(None).unwrap();
            assert_eq!(idents(&turn), [(5, Events::INPUT)]);
            assert_eq!((turn.fds, turn.code()), (0, PollCode::Ident(5)));
        }
        source.with(|near| near.read_exact(&mut [0])).unwrap().unwrap();

        assert!(poll_now(&looper).timed_out);
        drop(far);
        assert_eq!(idents(&poll_now(&looper)), [(5, Events::INPUT | Events::HANGUP)]);
    });
}

#[test]
fn f9_several_idents_are_reported_in_one_turn_also_equal_ones() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let _peers = [4, 0, 4].map(|ident| {
            let (near, far) = ready_stream();
            looper.add_ident(near, Interest::INPUT, ident).unwrap();
            far
        });

        let mut reported = idents(&poll_now(&looper));

        reported.sort_by_key(|(ident, _)| *ident);
        assert_eq!(reported, [0, 4, 4].map(|ident| (ident, Events::INPUT)));
    });
}

#[test]
fn f9_an_ident_that_was_removed_is_not_reported_later() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = ready_stream();
        let source = looper.add_ident(near, Interest::INPUT, 5).unwrap();

        let back = source.remove();

        assert!(back.is_some());
        assert!(poll_now(&looper).timed_out);
    });
}

#[test]
fn f9_an_ident_that_a_message_of_the_same_turn_removes_is_not_reported() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = ready_stream();
        let source = looper.add_ident(near, Interest::INPUT, 5).unwrap();
        looper.post(move |_| drop(source.remove())).unwrap();

        let turn = poll_now(&looper);

        assert_eq!((turn.messages, idents(&turn)), (1, vec![]));
        assert!(poll_now(&looper).timed_out);
    });
}

#[test]
fn f9_an_ident_that_was_replaced_by_a_callback_is_not_reported() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = ready_stream();
        let near = Rc::new(near);
        looper.add_ident(near.clone(), Interest::INPUT, 5).unwrap();
        looper.replace_fd(near, Interest::INPUT, |_, _, _| FdNext::Remove).unwrap();

        let turn = poll_now(&looper);

        assert_eq!((turn.fds, idents(&turn)), (1, vec![]));
        assert!(poll_now(&looper).timed_out);
    });
}
