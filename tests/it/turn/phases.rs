//! One turn: what it runs, in which order, how much of it, and what its report says.
//!
//! Holds T1, T2, T3, T4, T7, T8, T10, T11, T14, C3, C7, C12, C49, C51, C75.

use std::{
    cell::Cell,
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use alooper::{Events, FdNext, Interest, Looper, PollCode, Turn};

use crate::support::{HOUR, ms, watched};

/// Watches a socket that is always readable, with a callback that leaves it so. Gives its peer, which must live on.
fn add_always_ready(looper: &Looper) -> UnixStream {
    let (near, mut far) = UnixStream::pair().unwrap();
    far.write_all(b"!").unwrap();
    looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
    far
}

/// Posts itself again for ever.
fn repost(looper: &Looper) {
    looper.post(repost).unwrap();
}

#[track_caller]
fn assert_nothing_happened(turn: &Turn) {
    assert!(turn.timed_out, "{turn:?}");
    assert!(!turn.woken && !turn.more && !turn.quit && !turn.rebuilt, "{turn:?}");
    assert_eq!((turn.messages, turn.fds, turn.idents.len()), (0, 0, 0));
    assert_eq!(turn.code(), PollCode::Timeout);
}

#[test]
fn t1_a_zero_timeout_does_not_wait_and_a_short_one_waits_it_out() {
    watched(|| {
        let looper = Looper::new().unwrap();
        looper.post_delayed(HOUR, |_| ()).unwrap();

        assert_nothing_happened(&looper.poll_once(Duration::ZERO).unwrap());
        for timeout in [Duration::from_nanos(1), Duration::from_micros(300), ms(20)] {
            let start = looper.now();
            assert_nothing_happened(&looper.poll_once(timeout).unwrap());
            assert!(looper.now() - start >= timeout, "{timeout:?}");
        }
    });
}

#[test]
fn t1_no_timeout_waits_until_something_happens() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let start = looper.now();
        looper.post_delayed(ms(10), |_| ()).unwrap();

        let turn = looper.poll_once(None).unwrap();

        assert_eq!((turn.messages, turn.timed_out), (1, false));
        assert!(looper.now() - start >= ms(10));
    });
}

#[test]
fn t1_timeouts_of_any_length_are_waited_for_and_end_when_something_happens() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let past_i32_milliseconds = ms(1 << 31);
        let timeouts = [past_i32_milliseconds, 300 * 365 * 24 * HOUR, Duration::from_nanos(u64::MAX), Duration::MAX];
        for timeout in timeouts {
            looper.post_delayed(ms(1), |_| ()).unwrap();

            let turn = looper.poll_once(timeout).unwrap();

            assert_eq!((turn.messages, turn.timed_out), (1, false), "{timeout:?}");
        }
    });
}

#[test]
fn t2_messages_run_before_fds_and_fds_before_idents_are_reported() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (sender, order) = mpsc::channel();
        let (first, mut to_first) = UnixStream::pair().unwrap();
        let (second, mut to_second) = UnixStream::pair().unwrap();
        let (named, mut to_named) = UnixStream::pair().unwrap();
        looper.add_ident(named, Interest::INPUT, 5).unwrap();
        for (name, stream) in [("first fd", first), ("second fd", second)] {
            let sender = sender.clone();
            let callback = move |_: &Looper, _: &mut UnixStream, _| {
                sender.send(name).unwrap();
                FdNext::Keep
            };
            looper.add_fd(stream, Interest::INPUT, callback).unwrap();
        }
        to_named.write_all(b"!").unwrap();
        to_second.write_all(b"!").unwrap();
        to_first.write_all(b"!").unwrap();
        looper.post(move |_| sender.send("message").unwrap()).unwrap();

        let turn = looper.poll_once(None).unwrap();

        assert_eq!(order.try_iter().collect::<Vec<_>>(), ["message", "second fd", "first fd"]);
        assert_eq!((turn.messages, turn.fds), (1, 2));
        assert_eq!(turn.idents.iter().map(|ready| ready.ident).collect::<Vec<_>>(), [5]);
    });
}

#[test]
fn t3_a_report_names_everything_that_happened_and_a_callback_does_not_hide_a_wake() {
    watched(|| {
        let looper = Looper::builder().budget(1).build().unwrap();
        let _far = add_always_ready(&looper);
        let (named, mut to_named) = UnixStream::pair().unwrap();
        looper.add_ident(named, Interest::INPUT, 7).unwrap();
        to_named.write_all(b"!").unwrap();
        looper.post(|_| ()).unwrap();
        looper.post(|_| ()).unwrap();
        looper.wake().unwrap();

        let turn = looper.poll_once(None).unwrap();

        assert!(turn.woken && turn.more, "{turn:?}");
        assert!(!turn.timed_out && !turn.quit && !turn.rebuilt, "{turn:?}");
        assert_eq!((turn.messages, turn.fds, turn.idents.len()), (1, 1, 1));
        assert_eq!((turn.idents[0].ident, turn.idents[0].events), (7, Events::INPUT));
        let next = looper.poll_once(Duration::ZERO).unwrap();
        assert!(!next.woken);
        assert_eq!(next.messages, 1);
    });
}

#[test]
fn t3_turns_have_androids_codes() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let code = |timeout: Duration| PollCode::of(&looper.poll_once(timeout));

        assert_eq!(code(Duration::ZERO), PollCode::Timeout);
        looper.wake().unwrap();
        assert_eq!(code(HOUR), PollCode::Wake);
        looper.post(|_| ()).unwrap();
        looper.wake().unwrap();
        assert_eq!(code(HOUR), PollCode::Callback);
        looper.post_delayed(ms(1), |_| ()).unwrap();
        assert_eq!(code(HOUR), PollCode::Callback);
        let (near, mut far) = UnixStream::pair().unwrap();
        let read_all = |_: &Looper, near: &mut UnixStream, _| {
            near.read_exact(&mut [0]).unwrap();
            FdNext::Remove
        };
        looper.add_fd(near, Interest::INPUT, read_all).unwrap();
        far.write_all(b"!").unwrap();
        assert_eq!(code(HOUR), PollCode::Callback);
        let (named, mut to_named) = UnixStream::pair().unwrap();
        looper.add_ident(named, Interest::INPUT, 3).unwrap();
        to_named.write_all(b"!").unwrap();
        looper.post(|_| ()).unwrap();
        assert_eq!(code(HOUR), PollCode::Ident(3));
        looper.post(|looper| assert_eq!(PollCode::of(&looper.poll_once(None)), PollCode::Error)).unwrap();
        looper.poll_once(HOUR).unwrap();
        looper.quit();
        assert_eq!(code(HOUR), PollCode::Wake);
    });
}

/// C7, and C3 for the million.
#[test]
fn t4_any_number_of_wakes_before_a_poll_make_exactly_one_return_at_once() {
    watched(|| {
        for wakes in [1, 2, 1_000_000] {
            let looper = Looper::new().unwrap();
            let handle = looper.handle();
            (0..wakes).for_each(|_| handle.wake().unwrap());

            let turn = looper.poll_once(None).unwrap();

            assert!(turn.woken && !turn.timed_out);
            assert_eq!((turn.messages, turn.fds), (0, 0));
            assert_nothing_happened(&looper.poll_once(ms(1)).unwrap());
        }
    });
}

#[test]
fn t4_a_wake_from_inside_a_callback_is_reported_once_and_soon() {
    watched(|| {
        let looper = Looper::new().unwrap();
        looper.post(|looper| looper.wake().unwrap()).unwrap();

        let turns = [looper.poll_once(None).unwrap(), looper.poll_once(Duration::ZERO).unwrap()];

        assert_eq!(turns.iter().filter(|turn| turn.woken).count(), 1);
        assert_nothing_happened(&looper.poll_once(Duration::ZERO).unwrap());
    });
}

#[test]
fn t4_a_post_is_no_wake_and_what_is_cancelled_leaves_none_behind() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        handle.post(|_| ()).unwrap();
        looper.post(|_| ()).unwrap();
        assert!(!looper.poll_once(None).unwrap().woken);

        let remote = thread::spawn(move || handle.post(|_| ()).unwrap()).join().unwrap();
        let own = looper.post_at_front(|_| ()).unwrap();
        let delayed = looper.post_delayed(ms(1), |_| ()).unwrap();
        assert!(remote.cancel() && own.cancel() && delayed.cancel());

        assert_nothing_happened(&looper.poll_once(Duration::ZERO).unwrap());
        assert_nothing_happened(&looper.poll_once(ms(3)).unwrap());
    });
}

#[test]
fn t7_a_turn_runs_its_budget_of_messages_serves_the_fds_and_goes_on_without_sleeping() {
    watched(|| {
        let looper = Looper::builder().budget(4).build().unwrap();
        let _far = [(); 3].map(|()| add_always_ready(&looper));
        for _ in 0..10 {
            looper.post(|_| ()).unwrap();
        }

        let turns = [(); 3].map(|()| looper.poll_once(None).unwrap());

        assert_eq!(turns.each_ref().map(|turn| turn.messages), [4, 4, 2]);
        assert_eq!(turns.each_ref().map(|turn| turn.fds), [3, 3, 3]);
        assert_eq!(turns.each_ref().map(|turn| turn.more), [true, true, false]);
        assert!(turns.iter().all(|turn| !turn.timed_out && !turn.woken));
    });
}

#[test]
fn t7_the_budget_is_256_unless_set_and_never_zero() {
    watched(|| {
        for (looper, budget) in [(Looper::new(), 256), (Looper::builder().budget(0).build(), 1)] {
            let looper = looper.unwrap();
            for _ in 0..300 {
                looper.post(|_| ()).unwrap();
            }

            let turn = looper.poll_once(None).unwrap();

            assert_eq!((turn.messages, turn.more, looper.len()), (budget, true, 300 - budget));
        }
    });
}

#[test]
fn t7_a_message_that_reposts_itself_for_ever_does_not_starve_fds_nor_other_threads() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let _far = add_always_ready(&looper);
        looper.post(repost).unwrap();
        for turns in 1..=3 {
            let turn = looper.poll_once(None).unwrap();
            assert_eq!((turn.messages, turn.fds, turn.more), (256, 1, true), "turn {turns}");
        }
        let (sender, ran) = mpsc::channel();
        thread::spawn(move || handle.post(move |_| sender.send(()).unwrap()).unwrap()).join().unwrap();

        looper.poll_once(None).unwrap();

        ran.try_recv().unwrap();
    });
}

/// C51: a thread that posts faster than the looper runs.
#[test]
fn t7_a_thread_that_posts_without_end_does_not_starve_fds() {
    watched(|| {
        let looper = Looper::builder().budget(16).build().unwrap();
        let _far = add_always_ready(&looper);
        let handle = looper.handle();
        let stop = Arc::new(AtomicBool::new(false));
        let poster = thread::spawn({
            let stop = stop.clone();
            move || {
                while !stop.load(Ordering::Relaxed) {
                    (0..32).for_each(|_| drop(handle.post(|_| ()).unwrap()));
                    thread::yield_now();
                }
            }
        });
        for _ in 0..200 {
            let turn = looper.poll_once(None).unwrap();
            assert!(turn.messages <= 16, "{turn:?}");
            assert_eq!(turn.fds, 1);
        }
        stop.store(true, Ordering::Relaxed);
        poster.join().unwrap();
    });
}

/// C51: what arrives meanwhile must not have to be taken in before each of a turn's messages, or turns end when the
/// posts do.
#[test]
fn t7_turns_end_though_other_threads_post_faster_than_the_looper_can_take_it_in() {
    // As many as keep two threads busy for far longer than the turns need.
    const POSTS: usize = 2_000_000;
    /// Whether three turns have ended before all was posted.
    fn end_in_time() -> bool {
        let looper = Looper::new().unwrap();
        let posted = Arc::new(AtomicUsize::new(0));
        let posters: Vec<_> = (0..2)
            .map(|_| {
                let (handle, posted) = (looper.handle(), posted.clone());
                thread::spawn(move || {
                    while posted.fetch_add(1, Ordering::Relaxed) < POSTS {
                        handle.post(|_| ()).unwrap();
                    }
                })
            })
            .collect();

        (0..3).for_each(|_| drop(looper.poll_once(None).unwrap()));

        let in_time = posted.swap(POSTS, Ordering::Relaxed) < POSTS;
        posters.into_iter().for_each(|poster| poster.join().unwrap());
        in_time
    }
    // Tried again if this thread was kept waiting for a core meanwhile.
    watched(|| assert!((0..20).any(|_| end_in_time()), "all was posted first"));
}

/// C49; that it comes after everything that is due already is M2.
#[test]
fn t8_what_a_message_posts_runs_in_its_own_turn_while_the_budget_lasts() {
    watched(|| {
        let looper = Looper::builder().budget(3).build().unwrap();
        looper.post(|looper| drop(looper.post(|looper| drop(looper.post(repost))))).unwrap();

        let turn = looper.poll_once(None).unwrap();

        assert_eq!((turn.messages, turn.more), (3, true));
        assert_eq!(looper.len(), 1);
    });
}

#[test]
fn t8_what_a_message_posts_for_later_does_not_run_in_its_turn() {
    watched(|| {
        let looper = Looper::new().unwrap();
        looper.post(|looper| drop(looper.post_delayed(HOUR, |_| ()))).unwrap();

        let turn = looper.poll_once(None).unwrap();

        assert_eq!((turn.messages, turn.more), (1, false));
        assert_nothing_happened(&looper.poll_once(Duration::ZERO).unwrap());
    });
}

#[test]
fn t8_what_a_fd_callback_posts_runs_in_the_next_turn() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = UnixStream::pair().unwrap();
        let callback = |looper: &Looper, _: &mut UnixStream, _| {
            looper.post(|_| ()).unwrap();
            FdNext::Remove
        };
        looper.add_fd(near, Interest::OUTPUT, callback).unwrap();

        let turns = [(); 2].map(|()| looper.poll_once(None).unwrap());

        assert_eq!(turns.each_ref().map(|turn| (turn.messages, turn.fds, turn.more)), [(0, 1, true), (1, 0, false)]);
    });
}

/// C75.
#[test]
fn t10_polling_from_inside_a_callback_is_an_error_at_once_and_harms_nothing() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let tried = Rc::new(Cell::new(0));
        let nested = {
            let tried = tried.clone();
            move |looper: &Looper| {
                let results = [
                    looper.poll_once(None).map(drop),
                    looper.poll_once(Duration::ZERO).map(drop),
                    looper.poll_all(None).map(drop),
                    looper.run().map(drop),
                ];
                for result in results {
                    assert_eq!(result.unwrap_err().kind(), ErrorKind::Deadlock);
                    tried.set(tried.get() + 1);
                }
            }
        };
        let (near, _far) = UnixStream::pair().unwrap();
        let from_fd = nested.clone();
        let callback = move |looper: &Looper, _: &mut UnixStream, _| {
            from_fd(looper);
            FdNext::Remove
        };
        looper.add_fd(near, Interest::OUTPUT, callback).unwrap();
        looper.post(nested).unwrap();
        looper.post(|_| ()).unwrap();

        let turn = looper.poll_once(None).unwrap();

        assert_eq!((turn.messages, turn.fds, tried.get()), (2, 1, 8));
        looper.post(|_| ()).unwrap();
        assert_eq!(looper.poll_once(None).unwrap().messages, 1);
    });
}

#[test]
fn t10_another_looper_can_be_polled_from_inside_a_callback() {
    watched(|| {
        let outer = Looper::new().unwrap();
        let inner = Looper::new().unwrap();
        inner.post(|_| ()).unwrap();
        outer.post(move |_| assert_eq!(inner.poll_once(None).unwrap().messages, 1)).unwrap();

        assert_eq!(outer.poll_once(None).unwrap().messages, 1);
    });
}

#[test]
fn t11_poll_all_repeats_until_nothing_is_due_and_reports_the_sum() {
    watched(|| {
        let looper = Looper::builder().budget(2).build().unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        let (named, mut to_named) = UnixStream::pair().unwrap();
        looper.add_ident(named, Interest::INPUT, 9).unwrap();
        let callback = move |looper: &Looper, near: &mut UnixStream, _| {
            near.read_exact(&mut [0]).unwrap();
            looper.post(|_| ()).unwrap();
            FdNext::Keep
        };
        looper.add_fd(near, Interest::INPUT, callback).unwrap();
        for _ in 0..5 {
            looper.post(|_| ()).unwrap();
        }
        let mut to_near = far.try_clone().unwrap();
        looper.post(move |_| to_near.write_all(b"!!").unwrap()).unwrap();

        let sum = looper.poll_all(HOUR).unwrap();

        assert_eq!((sum.messages, sum.fds), (8, 2));
        assert!(!sum.woken && !sum.more && !sum.quit, "{sum:?}");
        assert!(looper.is_empty());
        to_named.write_all(b"!").unwrap();
        assert_eq!(looper.poll_once(None).unwrap().idents.len(), 1);
        drop(far);
    });
}

#[test]
fn t11_poll_all_waits_for_the_first_thing_at_most_its_timeout() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let start = looper.now();

        let nothing = looper.poll_all(ms(10)).unwrap();

        assert_nothing_happened(&nothing);
        assert!(looper.now() - start >= ms(10));
        looper.post_delayed(ms(2), |_| ()).unwrap();
        assert_eq!(looper.poll_all(None).unwrap().messages, 1);
    });
}

#[test]
fn t11_what_never_ends_cannot_make_poll_all_run_past_its_timeout() {
    watched(|| {
        for timeout in [Duration::ZERO, ms(5)] {
            let reposting = Looper::new().unwrap();
            reposting.post(repost).unwrap();
            let ready = Looper::new().unwrap();
            let _far = add_always_ready(&ready);
            for looper in [reposting, ready] {
                let start = looper.now();

                let sum = looper.poll_all(timeout).unwrap();

                assert!(sum.messages + sum.fds > 0, "{sum:?}");
                assert!(looper.now() - start >= timeout);
            }
        }
    });
}

#[test]
fn c12_a_quit_before_the_first_poll_is_kept() {
    watched(|| {
        let looper = Looper::new().unwrap();
        looper.quit();

        let turn = looper.poll_once(None).unwrap();

        assert!(turn.quit);
        assert_eq!(looper.run().unwrap().run, 0);
    });
}

/// The queue holds nothing but the place of one that was cancelled when the other thread's message comes.
#[test]
fn t7_what_another_thread_posts_meanwhile_runs_in_this_turn_also_behind_one_that_was_cancelled() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let post_from_another = move |_: &Looper| {
            thread::spawn(move || drop(handle.post(|_| ()).unwrap())).join().unwrap();
        };
        looper.post(post_from_another).unwrap();
        assert!(looper.post(|_| panic!("it was cancelled")).unwrap().cancel());

        let turn = looper.poll_once(ms(0)).unwrap();

        assert_eq!((turn.messages, turn.more), (2, false));
    });
}
