//! A looper inside the loops of others, as docs/guide/how-to/embed.md shows it, under load: mio, tokio and calloop, which
//! the library's own tests do without.
//!
//! Holds O2.

#[path = "../../tests/it/support/watched.rs"]
mod watched;

use std::{
    cell::RefCell,
    io::{Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    rc::Rc,
    sync::mpsc,
    thread,
    time::Duration,
};

use alooper::{FdNext, Interest, Looper, Turn};
use calloop::{EventLoop, Mode, PostAction, generic::Generic};
use mio::{Events, Poll, Token, unix::SourceFd};
use tokio::{io::unix::AsyncFd, runtime, task};
use watched::watched;

/// What a host has seen of its looper.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    messages: usize,
    fds: usize,
    /// Turns in which there was nothing to do.
    empty: usize,
}

impl Seen {
    fn add(&mut self, turn: &Turn) {
        self.messages += turn.messages;
        self.fds += turn.fds;
        self.empty += usize::from(turn.is_empty());
    }
}

/// Hosts a looper until it quits.
type Host = fn(&Rc<Looper>) -> Seen;

const HOSTS: [(&str, Host); 3] = [("mio", host_by_mio), ("tokio", host_by_tokio), ("calloop", host_by_calloop)];

fn host_by_mio(looper: &Rc<Looper>) -> Seen {
    let mut poll = Poll::new().unwrap();
    let fd = looper.as_raw_fd();
    poll.registry().register(&mut SourceFd(&fd), Token(7), mio::Interest::READABLE).unwrap();
    let mut events = Events::with_capacity(4);
    let mut has_more = false;
    let mut seen = Seen::default();
    loop {
        poll.poll(&mut events, has_more.then_some(Duration::ZERO)).unwrap();
        has_more |= !events.is_empty();
        if has_more {
            let turn = looper.poll_once(Duration::ZERO).unwrap();
            seen.add(&turn);
            if turn.quit {
                return seen;
            }
            has_more = !turn.is_empty();
        }
    }
}

fn host_by_tokio(looper: &Rc<Looper>) -> Seen {
    let runtime = runtime::Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(async {
        // SAFETY: a looper's fd is open and the same for as long as it lives (F7), and the `AsyncFd` keeps it alive.
        let looper = unsafe { AsyncFd::register_with_interest(looper.clone(), tokio::io::Interest::READABLE) }.unwrap();
        let mut seen = Seen::default();
        loop {
            let mut ready = looper.readable().await.unwrap();
            let turn = looper.get_ref().poll_once(Duration::ZERO).unwrap();
            seen.add(&turn);
            if turn.quit {
                return seen;
            }
            if turn.is_empty() {
                ready.clear_ready();
            } else {
                task::yield_now().await;
            }
        }
    })
}

fn host_by_calloop(looper: &Rc<Looper>) -> Seen {
    let mut event_loop: EventLoop<'_, Seen> = EventLoop::try_new().unwrap();
    let signal = event_loop.get_signal();
    let looper = Generic::new(looper.clone(), calloop::Interest::READ, Mode::Level);
    let added = event_loop.handle().insert_source(looper, move |_, looper, seen: &mut Seen| {
        let turn = looper.poll_once(Duration::ZERO)?;
        seen.add(&turn);
        if turn.quit {
            signal.stop();
            return Ok(PostAction::Remove);
        }
        Ok(PostAction::Continue)
    });
    added.map_err(|refused| refused.error).unwrap();
    let mut seen = Seen::default();
    event_loop.run(None, &mut seen, |_| ()).unwrap();
    seen
}

/// Runs `test` with each host, and its name.
fn with_each_host(test: fn(&str, Host)) {
    for (name, host) in HOSTS {
        watched(move || test(name, host));
    }
}

/// Each is posted when the one before has run, so that the host sleeps or is about to.
#[test]
fn o2_no_post_from_another_thread_is_lost() {
    with_each_host(|name, host| {
        let looper = Rc::new(Looper::new().unwrap());
        let handle = looper.handle();
        let poster = thread::spawn(move || {
            let (ran, runs) = mpsc::channel();
            for _ in 0..1000 {
                let ran = ran.clone();
                handle.post(move |_| ran.send(()).unwrap()).unwrap();
                runs.recv().unwrap();
            }
            handle.quit();
        });

        let seen = host(&looper);

        poster.join().unwrap();
        assert_eq!(seen.messages, 1000, "{name}");
        assert!(seen.empty <= 1010, "{name} calls without need: {seen:?}");
    });
}

#[test]
fn o2_posts_of_two_threads_in_bursts_all_run() {
    with_each_host(|name, host| {
        let looper = Rc::new(Looper::builder().budget(16).build().unwrap());
        let posters = [(); 2].map(|()| {
            let handle = looper.handle();
            thread::spawn(move || (0..5000).for_each(|_| drop(handle.post(|_| ()).unwrap())))
        });
        let handle = looper.handle();
        let closer = thread::spawn(move || {
            posters.into_iter().for_each(|poster| poster.join().unwrap());
            handle.quit_safely();
        });

        let seen = host(&looper);

        closer.join().unwrap();
        assert_eq!(seen.messages, 10_000, "{name}");
    });
}

#[test]
fn o2_t6_timers_run_in_their_order_and_never_early() {
    with_each_host(|name, host| {
        let looper = Rc::new(Looper::new().unwrap());
        let start = looper.now();
        let ran = Rc::new(RefCell::new(Vec::new()));
        for step in [9, 3, 6, 0, 12, 3] {
            let due = start + Duration::from_millis(step);
            let ran = ran.clone();
            looper.post_at(due, move |looper| ran.borrow_mut().push((due, looper.now()))).unwrap();
        }
        looper.post_at(start + Duration::from_millis(15), |looper| looper.quit()).unwrap();

        host(&looper);

        assert_eq!(ran.borrow().len(), 6, "{name}");
        assert!(ran.borrow().is_sorted_by_key(|(due, _)| *due), "{name}");
        assert!(ran.borrow().iter().all(|(due, at)| at >= due), "{name}");
    });
}

/// The callback reads one byte in each call, so that a host that is told once has to come back for the rest.
#[test]
fn o2_an_fd_is_served_until_it_is_drained() {
    with_each_host(|name, host| {
        let looper = Rc::new(Looper::new().unwrap());
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(&[0; 500]).unwrap();
        let mut left = 500;
        let added = looper.add_fd(near, Interest::INPUT, move |looper, near, _| {
            near.read_exact(&mut [0]).unwrap();
            left -= 1;
            if left == 0 {
                looper.quit();
            }
            FdNext::Keep
        });
        added.unwrap();

        let seen = host(&looper);

        assert_eq!(seen.fds, 500, "{name}");
    });
}
