//! The loops that a looper can be inside of: `poll(2)`, epoll of both kinds, and another looper.
//!
//! Holds T3, T6, O2.

use std::{
    cell::{Cell, RefCell},
    io::{Read, Write},
    os::unix::net::UnixStream,
    rc::Rc,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use alooper::{FdNext, Interest, Looper, LooperHandle, Turn};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::support::{Elsewhere, fds::poll_now, host::wait_readable, ms, until_polling, watched};

/// What a host has seen of the looper that it hosts.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    messages: usize,
    fds: usize,
    woken: usize,
    /// How often it was called, and there was nothing to do.
    empty_calls: usize,
    has_quit: bool,
}

impl Seen {
    /// Adds the turns of one call.
    fn add(&mut self, turns: &[Turn]) {
        self.empty_calls += usize::from(turns[0].is_empty() && !turns[0].quit);
        for turn in turns {
            self.messages += turn.messages;
            self.fds += turn.fds;
            self.woken += usize::from(turn.woken);
            self.has_quit |= turn.quit;
        }
    }
}

/// Hosts `looper` until it quits.
type Host = fn(&Rc<Looper>) -> Seen;

const HOSTS: [(&str, Host); 4] = [
    ("poll(2)", host_by_poll),
    ("level-triggered epoll", |looper| host_by_epoll(looper, EpollFlags::EPOLLIN)),
    ("edge-triggered epoll", |looper| host_by_epoll(looper, EpollFlags::EPOLLIN | EpollFlags::EPOLLET)),
    ("another looper", host_by_looper),
];

fn host_by_poll(looper: &Rc<Looper>) -> Seen {
    let mut seen = Seen::default();
    while !seen.has_quit {
        wait_readable(looper);
        seen.add(&[poll_now(looper)]);
    }
    seen
}

fn host_by_epoll(looper: &Rc<Looper>, flags: EpollFlags) -> Seen {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    epoll.add(looper, EpollEvent::new(flags, 7)).unwrap();
    let mut seen = Seen::default();
    while !seen.has_quit {
        let mut events = [EpollEvent::empty(); 4];
        assert_eq!(epoll.wait(&mut events, EpollTimeout::NONE).unwrap(), 1);
        assert_eq!(events[0].data(), 7);
        let mut turns = vec![poll_now(looper)];
        if flags.contains(EpollFlags::EPOLLET) {
            while turns.last().is_some_and(|turn| !turn.is_empty() && !turn.quit) {
                turns.push(poll_now(looper));
            }
        }
        seen.add(&turns);
    }
    seen
}

fn host_by_looper(looper: &Rc<Looper>) -> Seen {
    let outer = Looper::new().unwrap();
    let seen = Rc::new(Cell::new(Seen::default()));
    let noted = seen.clone();
    outer
        .add_fd(looper.clone(), Interest::INPUT, move |outer, inner, _| {
            let mut sum = noted.get();
            sum.add(&[poll_now(inner)]);
            noted.set(sum);
            if sum.has_quit {
                outer.quit();
                return FdNext::Remove;
            }
            FdNext::Keep
        })
        .unwrap();
    outer.run().unwrap();
    seen.get()
}

/// Runs `test` with each host, and its name.
fn with_each_host(test: fn(&str, Host)) {
    for (name, host) in HOSTS {
        watched(move || test(name, host));
    }
}

/// Posts from another thread, each time when the last one has run, so that the host sleeps or is about to.
fn ping(handle: LooperHandle, count: usize) -> JoinHandle<()> {
    thread::spawn(move || {
        let (ran, runs) = mpsc::channel();
        for _ in 0..count {
            let ran = ran.clone();
            handle.post(move |_| ran.send(()).unwrap()).unwrap();
            runs.recv().unwrap();
        }
        handle.quit();
    })
}

#[test]
fn o2_no_post_from_another_thread_is_lost() {
    with_each_host(|name, host| {
        let looper = Rc::new(Looper::new().unwrap());
        let other = ping(looper.handle(), 1000);

        let seen = host(&looper);

        other.join().unwrap();
        assert_eq!((seen.messages, seen.woken), (1000, 0), "{name}");
        assert!(seen.empty_calls <= 1000, "{name}: {seen:?}");
    });
}

#[test]
fn o2_posts_of_two_threads_in_bursts_all_run() {
    with_each_host(|name, host| {
        let looper = Rc::new(Looper::builder().budget(16).build().unwrap());
        let (done, is_done) = mpsc::channel();
        let posters = [(); 2].map(|()| {
            let (handle, done) = (looper.handle(), done.clone());
            thread::spawn(move || {
                (0..5000).for_each(|_| drop(handle.post(|_| ()).unwrap()));
                done.send(()).unwrap();
            })
        });
        let handle = looper.handle();
        let closer = thread::spawn(move || {
            (0..2).for_each(|_| is_done.recv().unwrap());
            handle.quit_safely();
        });

        let seen = host(&looper);

        posters.into_iter().for_each(|poster| poster.join().unwrap());
        closer.join().unwrap();
        assert_eq!(seen.messages, 10_000, "{name}");
    });
}

#[test]
fn o2_t6_timers_run_in_their_order_and_never_early() {
    with_each_host(|name, host| {
        let looper = Rc::new(Looper::new().unwrap());
        let start = looper.now();
        let ran: Rc<RefCell<Vec<(Instant, Instant)>>> = Rc::default();
        for step in [9, 3, 6, 0, 12, 3] {
            let due = start + ms(step);
            let ran = ran.clone();
            looper.post_at(due, move |looper| ran.borrow_mut().push((due, looper.now()))).unwrap();
        }
        looper.post_at(start + ms(15), |looper| looper.quit()).unwrap();

        let seen = host(&looper);

        assert_eq!(ran.borrow().len(), 6, "{name}");
        assert!(ran.borrow().is_sorted_by_key(|(due, _)| *due), "{name}");
        assert!(ran.borrow().iter().all(|(due, at)| at >= due), "{name}");
        assert!(seen.empty_calls <= 6, "{name}: {seen:?}");
    });
}

/// Each run posts the next one, from the looper's own thread, inside and between its turns.
#[test]
fn o2_a_chain_of_delays_from_its_own_thread_keeps_going() {
    fn next(looper: &Looper, left: u32) {
        if left == 0 {
            looper.quit();
            return;
        }
        looper.post_delayed(Duration::from_micros(300), move |looper| next(looper, left - 1)).unwrap();
    }

    with_each_host(|name, host| {
        let looper = Rc::new(Looper::new().unwrap());
        next(&looper, 50);

        let seen = host(&looper);

        assert_eq!(seen.messages, 50, "{name}");
        assert!(seen.empty_calls <= 100, "{name}: {seen:?}");
    });
}

/// The callback reads one byte in each call, so that an edge-triggered host has to come back for the rest.
#[test]
fn o2_an_fd_is_served_until_it_is_drained() {
    with_each_host(|name, host| {
        let looper = Rc::new(Looper::new().unwrap());
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut left = 500;
        looper
            .add_fd(near, Interest::INPUT, move |looper, near, _| {
                near.read_exact(&mut [0]).unwrap();
                left -= 1;
                if left == 0 {
                    looper.quit();
                }
                FdNext::Keep
            })
            .unwrap();
        let writer = thread::spawn(move || {
            for size in [1, 99, 100, 300] {
                far.write_all(&vec![0; size]).unwrap();
                thread::yield_now();
            }
            far
        });

        let seen = host(&looper);

        assert_eq!(seen.fds, 500, "{name}");
        drop(writer.join().unwrap());
    });
}

/// Each wake comes after the last one was reported.
#[test]
fn o2_t3_each_wake_from_another_thread_is_reported_once() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let (report, reported) = mpsc::channel();
        let waker = thread::spawn(move || {
            for _ in 0..1000 {
                handle.wake().unwrap();
                reported.recv().unwrap();
            }
            handle.quit();
        });

        let mut woken = 0;
        loop {
            wait_readable(&looper);
            let turn = poll_now(&looper);
            if turn.woken {
                woken += 1;
                report.send(()).unwrap();
            }
            if turn.quit {
                break;
            }
        }

        assert_eq!(woken, 1000);
        waker.join().unwrap();
    });
}

/// The innermost looper has it all: a message from another thread, a timer, and an fd.
#[test]
fn o2_three_loopers_inside_each_other_work_as_one() {
    /// Makes a looper that hosts `inner` and quits with it.
    fn around(inner: Rc<Looper>) -> Looper {
        let outer = Looper::new().unwrap();
        let hosted = outer.add_fd(inner, Interest::INPUT, |outer, inner, _| {
            if poll_now(inner).quit {
                outer.quit();
            }
            FdNext::Keep
        });
        hosted.unwrap();
        outer
    }

    watched(|| {
        let innermost = Rc::new(Looper::new().unwrap());
        let middle = Rc::new(around(innermost.clone()));
        let outermost = around(middle.clone());
        let seen: Rc<RefCell<Vec<&str>>> = Rc::default();
        let (near, mut far) = UnixStream::pair().unwrap();
        let log = seen.clone();
        innermost
            .add_fd(near, Interest::INPUT, move |looper, near, _| {
                near.read_exact(&mut [0]).unwrap();
                log.borrow_mut().push("fd");
                let log = log.clone();
                looper
                    .post_delayed(ms(2), move |looper| {
                        log.borrow_mut().push("timer");
                        looper.quit();
                    })
                    .unwrap();
                FdNext::Keep
            })
            .unwrap();
        let (handle, outer_handle) = (innermost.handle(), outermost.handle());
        let other = thread::spawn(move || {
            until_polling(&outer_handle);
            let (ran, runs) = mpsc::channel();
            handle.post(move |_| ran.send(()).unwrap()).unwrap();
            runs.recv().unwrap();
            until_polling(&outer_handle);
            far.write_all(b"x").unwrap();
            far
        });

        outermost.run().unwrap();

        drop(other.join().unwrap());
        assert_eq!(*seen.borrow(), ["fd", "timer"]);
        assert_eq!(innermost.message_counts().run, 2);
    });
}

/// The host's own work goes on while it hosts.
#[test]
fn o2_the_hosting_looper_does_its_own_work_as_well() {
    watched(|| {
        let (sender, receiver) = mpsc::channel();
        let outer = Elsewhere::run(move |outer| {
            let inner = Rc::new(Looper::new().unwrap());
            sender.send(inner.handle()).unwrap();
            let hosted = outer.add_fd(inner, Interest::INPUT, |_, inner, _| {
                poll_now(inner);
                FdNext::Keep
            });
            hosted.unwrap();
        });
        let inner = receiver.recv().unwrap();
        let (ran, runs) = mpsc::channel();

        for round in 0..200 {
            let ran = ran.clone();
            let target = if round % 2 == 0 { &outer.handle } else { &inner };
            target.post(move |_| ran.send(round).unwrap()).unwrap();
            assert_eq!(runs.recv().unwrap(), round);
        }

        outer.handle.quit();
        outer.join();
        assert!(inner.has_quit(), "it was dropped with the looper that owned it");
    });
}
