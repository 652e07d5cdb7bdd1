//! A looper inside another loop: when its fd is readable.
//!
//! Holds O1.

use std::{
    io::{Read, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::UnixStream,
    },
    thread,
    time::Duration,
};

use alooper::{FdNext, Interest, Looper};

use crate::support::{
    fds::{poll_now, ready_stream},
    host::{drain, hosted, is_readable, wait_readable},
    ms, watched,
};

#[test]
fn o1_the_fd_is_the_same_for_the_loopers_life() {
    watched(|| {
        let looper = hosted();
        let number = looper.as_raw_fd();

        looper.post(|_| ()).unwrap();
        looper.poll_once(None).unwrap();

        assert_eq!(looper.as_raw_fd(), number);
        assert_eq!(looper.as_fd().as_raw_fd(), number);
    });
}

#[test]
fn o1_a_message_that_is_due_makes_it_readable_until_it_has_run() {
    watched(|| {
        let looper = hosted();

        looper.post(|_| ()).unwrap();

        assert!(is_readable(&looper));
        assert_eq!(drain(&looper), (1, 0));
    });
}

#[test]
fn o1_a_message_from_another_thread_makes_it_readable() {
    watched(|| {
        let looper = hosted();
        let handle = looper.handle();
        let poster = thread::spawn(move || handle.post(|_| ()).is_ok());

        wait_readable(&looper);

        assert_eq!(drain(&looper), (1, 0));
        assert!(poster.join().unwrap());
    });
}

#[test]
fn o1_what_was_left_before_the_fd_was_asked_for_makes_it_readable() {
    watched(|| {
        let posted = Looper::new().unwrap();
        posted.post(|_| ()).unwrap();
        let woken = Looper::new().unwrap();
        woken.wake().unwrap();
        let with_fd = Looper::new().unwrap();
        let (near, _far) = ready_stream();
        with_fd.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Remove).unwrap();

        assert!(is_readable(&posted) && is_readable(&woken) && is_readable(&with_fd));

        assert_eq!(drain(&posted), (1, 0));
        assert!(poll_now(&woken).woken);
        drain(&woken);
        assert_eq!(drain(&with_fd), (0, 1));
    });
}

/// Posting it may call the host once, to look until when it is to sleep; then the fd is silent until the time comes.
#[test]
fn o1_a_delayed_message_makes_it_readable_when_it_is_due_and_not_before() {
    watched(|| {
        let looper = hosted();
        let delayed = |delay| {
            let due = looper.now() + delay;
            looper.post_at(due, |_| ()).unwrap();
            due
        };
        // Later, if this thread was so slow that it was due.
        let mut due = delayed(ms(5));
        while poll_now(&looper).messages > 0 {
            due = delayed(ms(50));
        }

        let readable = is_readable(&looper);

        if looper.now() < due {
            assert!(!readable);
        }
        wait_readable(&looper);
        assert!(looper.now() >= due);
        assert_eq!(drain(&looper), (1, 0));
    });
}

#[test]
fn o1_a_delay_from_before_the_fd_was_asked_for_makes_it_readable_when_it_is_due() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let due = looper.now() + ms(5);
        looper.post_at(due, |_| ()).unwrap();

        let readable = is_readable(&looper);

        if looper.now() < due {
            assert!(!readable);
        }
        wait_readable(&looper);
        assert!(looper.now() >= due);
        assert_eq!(drain(&looper), (1, 0));
    });
}

#[test]
fn o1_a_sooner_message_shortens_the_sleep_of_the_host_from_this_and_another_thread() {
    watched(|| {
        for from_afar in [false, true] {
            let looper = hosted();
            looper.post_delayed(Duration::from_secs(3600), |_| ()).unwrap();
            drain(&looper);

            if from_afar {
                let handle = looper.handle();
                thread::spawn(move || handle.post_delayed(ms(2), |_| ()).is_ok()).join().unwrap();
            } else {
                looper.post_delayed(ms(2), |_| ()).unwrap();
            }

            while poll_now(&looper).messages == 0 {
                wait_readable(&looper);
            }
            assert_eq!(looper.len(), 1);
            drain(&looper);
        }
    });
}

#[test]
fn o1_a_later_message_leaves_the_host_asleep() {
    watched(|| {
        let looper = hosted();
        let handle = looper.handle();
        looper.post_delayed(Duration::from_secs(3600), |_| ()).unwrap();
        drain(&looper);

        looper.post_delayed(Duration::from_secs(7200), |_| ()).unwrap();
        handle.post_delayed(Duration::MAX, |_| ()).unwrap();

        assert!(!is_readable(&looper));
    });
}

#[test]
fn o1_a_pending_wake_makes_it_readable_and_is_reported_once() {
    watched(|| {
        let looper = hosted();

        looper.wake().unwrap();
        looper.handle().wake().unwrap();

        assert!(is_readable(&looper));
        assert!(poll_now(&looper).woken);
        assert!(!poll_now(&looper).woken);
        assert!(!is_readable(&looper));
    });
}

#[test]
fn o1_a_wake_inside_a_callback_stays_pending_for_the_host() {
    watched(|| {
        let looper = hosted();
        let (near, _far) = ready_stream();
        looper
            .add_fd(near, Interest::INPUT, |looper, _, _| {
                looper.wake().unwrap();
                FdNext::Remove
            })
            .unwrap();

        let first = poll_now(&looper);
        assert!(first.woken || is_readable(&looper));

        let second = poll_now(&looper);
        assert!(first.woken ^ second.woken, "in exactly one report");
        drain(&looper);
    });
}

#[test]
fn o1_a_turn_that_stopped_at_its_budget_stays_readable() {
    watched(|| {
        let looper = Looper::builder().budget(2).build().unwrap();
        (0..5).for_each(|_| drop(looper.post(|_| ()).unwrap()));

        for left in [3, 1] {
            assert!(is_readable(&looper));
            let turn = poll_now(&looper);
            assert!(turn.messages == 2 && turn.more, "{turn:?}");
            assert_eq!(looper.len(), left);
        }

        assert!(is_readable(&looper));
        assert_eq!(drain(&looper), (1, 0));
    });
}

#[test]
fn o1_an_fd_makes_it_readable_for_as_long_as_it_is_ready() {
    watched(|| {
        let looper = hosted();
        let (near, mut far) = UnixStream::pair().unwrap();
        let source = looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        assert!(!is_readable(&looper));

        far.write_all(b"x").unwrap();

        for _ in 0..3 {
            assert!(is_readable(&looper));
            assert_eq!(poll_now(&looper).fds, 1);
        }
        source.with(|near| near.read_exact(&mut [0])).unwrap().unwrap();
        drain(&looper);
    });
}

#[test]
fn o1_a_ready_ident_makes_it_readable() {
    watched(|| {
        let looper = hosted();
        let (near, _far) = ready_stream();
        let source = looper.add_ident(near, Interest::INPUT, 1).unwrap();

        assert!(is_readable(&looper));
        assert_eq!(poll_now(&looper).idents.len(), 1);
        assert!(is_readable(&looper));
        drop(source.remove());
        drain(&looper);
    });
}

#[test]
fn o1_a_message_that_an_fd_callback_posts_makes_it_readable() {
    watched(|| {
        let looper = hosted();
        let (near, _far) = ready_stream();
        looper
            .add_fd(near, Interest::INPUT, |looper, _, _| {
                looper.post(|_| ()).unwrap();
                FdNext::Remove
            })
            .unwrap();

        let turn = poll_now(&looper);

        assert_eq!((turn.fds, turn.messages), (1, 0));
        assert!(is_readable(&looper));
        assert_eq!(drain(&looper), (1, 0));
    });
}
