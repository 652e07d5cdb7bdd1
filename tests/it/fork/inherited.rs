//! What a forked child is told by what it has of its parent's loopers, and that the parent does not notice it.
//!
//! Holds X2, C71.

use std::{
    cell::Cell,
    io::{Read, Write},
    ops::ControlFlow,
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::UnixStream,
    },
    rc::Rc,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use alooper::{
    Barrier, CallError, FdGuard, FdHandle, FdNext, FdSource, Handler, HandlerThread, IdleGuard, IdleHandler, Interest,
    JoinError, Looper, LooperHandle, MessageCounts, Posted, PostedGuard, RejectReason, Rejected, Stats, Token,
};

use crate::support::{
    HOUR,
    alone::alone,
    forks::{assert_echild, in_child, looper_fds, while_locked},
    ms, until_polling,
};

/// A looper with one of everything that there is to use of it, on the thread that forks.
struct Everything {
    looper: Rc<Looper>,
    handle: LooperHandle,
    /// Its looper waits in epoll.
    thread: Option<HandlerThread>,
    posted: Posted,
    repeating: Posted,
    sent: Posted<u32>,
    guard: Option<PostedGuard>,
    handler: Handler<u32>,
    token: Token,
    barrier: Option<Barrier>,
    idle: IdleHandler,
    idle_guard: Option<IdleGuard>,
    source: FdSource<UnixStream>,
    afar: FdHandle,
    fd_guard: Option<FdGuard<UnixStream>>,
    /// The other ends of what is watched.
    _peers: Vec<UnixStream>,
}

impl Everything {
    /// All of it pending, none of it due.
    fn new() -> Everything {
        let looper = Looper::prepare_main().unwrap();
        let handle = looper.handle();
        let handler = Handler::new(&looper, |_, _: u32| ());
        let token = Token::new();
        let mut peers = Vec::new();
        let mut stream = || {
            let (near, far) = UnixStream::pair().unwrap();
            peers.push(far);
            near
        };
        Everything {
            thread: Some(HandlerThread::spawn("worker").unwrap()),
            posted: looper.post_delayed(HOUR, |_| ()).unwrap(),
            repeating: looper.post_every(HOUR, |_| ControlFlow::Continue(())).unwrap(),
            sent: handler.message(7).what(7).token(token).send_delayed(HOUR).unwrap(),
            guard: Some(handle.post_delayed(HOUR, |_| ()).unwrap().guard()),
            token,
            barrier: Some(looper.barrier().unwrap()),
            idle: looper.add_idle(|_| ControlFlow::Continue(())).unwrap(),
            idle_guard: Some(handle.add_idle(|_| ControlFlow::Continue(())).unwrap().guard()),
            source: looper.add_fd(stream(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap(),
            afar: handle.add_fd(stream(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap(),
            fd_guard: Some(looper.add_fd(stream(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap().guard()),
            handler,
            handle,
            looper,
            _peers: peers,
        }
    }
}

impl Everything {
    /// With what any thread may have being of another thread's looper.
    fn elsewhere() -> Everything {
        let mut all = Everything::new();
        let handle = all.thread.as_ref().unwrap().handle().clone();
        let (near, far) = UnixStream::pair().unwrap();
        all._peers.push(far);
        all.handler = handle.handler(|_, _: u32| ()).unwrap();
        all.posted = handle.post_delayed(HOUR, |_| ()).unwrap();
        all.repeating = handle.post_every(HOUR, |_| ControlFlow::Continue(())).unwrap();
        all.sent = all.handler.message(7).what(7).token(all.token).send_delayed(HOUR).unwrap();
        all.guard = Some(handle.post_delayed(HOUR, |_| ()).unwrap().guard());
        all.barrier = Some(handle.barrier().unwrap());
        all.idle = handle.add_idle(|_| ControlFlow::Continue(())).unwrap();
        all.idle_guard = Some(handle.add_idle(|_| ControlFlow::Continue(())).unwrap().guard());
        all.afar = handle.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        all.handle = handle;
        all
    }
}

/// What is refused with a value that comes back.
#[track_caller]
fn assert_rejected<T: 'static>(result: Result<impl Sized, Rejected<T>>) -> T {
    let refused = result.err().expect("it is refused");
    assert_eq!(refused.reason(), RejectReason::Forked);
    assert_echild(refused.reason());
    refused.into_value().expect("it comes back where it was refused")
}

/// A closure that is told from others.
fn closure(number: u32) -> impl FnOnce(&Looper) -> u32 + Send + 'static {
    move |_| number
}

/// What a forked child is told: one line for each thing to call.
type Line = (&'static str, fn(&mut Everything));

const PAGE: &[Line] = &[
    // The looper.
    ("Looper::poll_once", |all| assert_echild(all.looper.poll_once(Duration::ZERO).unwrap_err())),
    ("Looper::poll_once, blocking", |all| assert_echild(all.looper.poll_once(None).unwrap_err())),
    ("Looper::poll_all", |all| assert_echild(all.looper.poll_all(ms(5)).unwrap_err())),
    ("Looper::run", |all| assert_echild(all.looper.run().unwrap_err())),
    ("Looper::wake", |all| assert_echild(all.looper.wake().unwrap_err())),
    ("Looper::quit", |all| {
        all.looper.quit();
        all.looper.quit_safely();
        assert!(!all.looper.has_quit());
    }),
    ("Looper::len", |all| assert_eq!((all.looper.len(), all.looper.is_empty()), (0, true))),
    ("Looper::message_counts", |all| assert_eq!(all.looper.message_counts(), MessageCounts::default())),
    ("Looper::stats", |all| assert_eq!(all.looper.stats(), Stats::default())),
    ("Looper::is_idle", |all| assert!(!all.looper.is_idle())),
    ("Looper::now, name", |all| assert!(all.looper.now() > all.looper.now() - HOUR && all.looper.name().is_none())),
    ("Looper::post", |all| {
        let kept = Rc::new(());
        let value = assert_rejected(all.looper.post({
            let kept = kept.clone();
            move |_| drop(kept)
        }));
        assert_eq!(Rc::strong_count(&kept), 2, "it came back");
        drop(value);
        _ = assert_rejected(all.looper.post_delayed(ms(1), |_| ()));
        _ = assert_rejected(all.looper.post_at(all.looper.now(), |_| ()));
        _ = assert_rejected(all.looper.post_at_front(|_| ()));
        _ = assert_rejected(all.looper.post_every(ms(1), |_| ControlFlow::Break(())));
    }),
    ("Looper::barrier", |all| assert_rejected(all.looper.barrier())),
    ("Looper::add_idle", |all| _ = assert_rejected(all.looper.add_idle(|_| ControlFlow::Continue(())))),
    ("Looper::add_fd", |all| {
        let (near, _far) = UnixStream::pair().unwrap();
        let number = near.as_raw_fd();
        let refused = all.looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err();
        let (error, near) = refused.into_parts();
        assert_echild(error);
        let near = near.unwrap();
        assert_eq!(near.as_raw_fd(), number);
        let refused = all.looper.replace_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err();
        assert_echild(all.looper.add_ident(refused.into_source().unwrap(), Interest::INPUT, 1).unwrap_err());
    }),
    ("Looper::set_observer", |all| {
        struct Nobody;
        impl alooper::Observer for Nobody {}
        all.looper.set_observer(Some(Rc::new(Nobody)));
        all.looper.set_slow_thresholds(Some(ms(1)), Some(ms(1)));
        all.looper.set_observer(None);
    }),
    ("Looper::as_fd", |all| {
        // What they are and not what is in them: the parent's looper may run meanwhile.
        let numbers = || looper_fds().into_keys().collect::<Vec<_>>();
        let before = numbers();
        assert!(before.contains(&all.looper.as_fd().as_raw_fd()));
        assert_eq!(numbers(), before, "no host is put around the parent's set");
    }),
    ("Looper::dump", |all| {
        let dump = all.looper.dump().to_string();
        assert!(dump.starts_with("a looper: is the parent process's\n"), "{dump}");
        assert!(dump.contains("pending: 0\n") && dump.contains("fds: 0\n"), "{dump}");
    }),
    ("Looper::current", |_| assert!(Looper::current().is_none())),
    ("Looper::main_handle", |_| assert!(Looper::main_handle().is_none())),
    ("Debug", |all| {
        _ = format!("{:?} {:?} {:?}", all.looper, all.handle, all.thread);
        _ = format!("{:?} {:?} {:?} {:?}", all.posted, all.repeating, all.sent, all.guard);
        _ = format!("{:?} {:?} {:?} {:?}", all.source, all.afar, all.fd_guard, all.handler);
        _ = format!("{:?} {:?} {:?}", all.barrier, all.idle, all.idle_guard);
    }),
    // The handle: what is not the looper's own above.
    ("LooperHandle::wake", |all| assert_echild(all.handle.wake().unwrap_err())),
    ("LooperHandle::quit", |all| {
        all.handle.quit();
        all.handle.quit_safely();
        assert!(!all.handle.has_quit());
    }),
    ("LooperHandle::len", |all| assert_eq!((all.handle.len(), all.handle.is_empty()), (0, true))),
    ("LooperHandle::message_counts", |all| assert_eq!(all.handle.message_counts(), MessageCounts::default())),
    ("LooperHandle::is_idle", |all| assert!(!all.handle.is_idle())),
    ("LooperHandle::is_current", |all| assert!(!all.handle.is_current())),
    ("LooperHandle::is_polling", |all| assert!(!all.thread.as_ref().unwrap().handle().is_polling())),
    ("LooperHandle::running", |all| assert!(all.thread.as_ref().unwrap().handle().running().is_none())),
    ("LooperHandle::post", |all| {
        assert_eq!(assert_rejected(all.handle.post(|_| ()))(&all.looper), ());
        _ = assert_rejected(all.handle.asynchronous().post_delayed(ms(1), |_| ()));
        _ = assert_rejected(all.handle.post_at(all.handle.now(), |_| ()));
        _ = assert_rejected(all.handle.post_at_front(|_| ()));
        _ = assert_rejected(all.handle.post_every(ms(1), |_| ControlFlow::Break(())));
    }),
    ("LooperHandle::call", |all| {
        let thread = all.thread.as_ref().unwrap().handle();
        for handle in [&all.handle, thread] {
            match handle.call(closure(3)) {
                Err(CallError::Rejected(refused)) if refused.reason() == RejectReason::Forked => {
                    assert_eq!(refused.into_value().unwrap()(&all.looper), 3);
                }
                other => panic!("{other:?}"),
            }
            assert_echild(handle.call_timeout(ms(1), closure(4)).unwrap_err());
        }
    }),
    ("LooperHandle::handler", |all| _ = assert_rejected(all.handle.handler(|_, _: u32| ()))),
    ("LooperHandle::barrier", |all| assert_rejected(all.handle.barrier())),
    ("LooperHandle::add_idle", |all| _ = assert_rejected(all.handle.add_idle(|_| ControlFlow::Continue(())))),
    ("LooperHandle::add_fd", |all| {
        let (near, _far) = UnixStream::pair().unwrap();
        let refused = all.handle.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err();
        let refused =
            all.handle.replace_fd(refused.into_source().unwrap(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err();
        assert_echild(all.handle.add_ident(refused.into_source().unwrap(), Interest::INPUT, 1).unwrap_err());
    }),
    // Messages.
    ("Posted::cancel", |all| assert!(!all.posted.cancel() && !all.repeating.cancel() && !all.sent.cancel())),
    ("Posted::is_pending", |all| {
        assert!(!all.posted.is_pending() && !all.repeating.is_pending() && !all.sent.is_pending());
    }),
    ("PostedGuard, dropped", |all| drop(all.guard.take())),
    ("Handler::new", |all| {
        let kept = Rc::new(());
        let handler = Handler::new(&all.looper, {
            let kept = kept.clone();
            move |_, _: u32| _ = &kept
        });
        assert_eq!(assert_rejected(handler.send(5)), 5);
        assert_eq!(Rc::strong_count(&kept), 1, "nobody would drop it later");
    }),
    ("Handler::send", |all| {
        assert_eq!(assert_rejected(all.handler.send(5)), 5);
        assert_eq!(assert_rejected(all.handler.send_delayed(ms(1), 5)), 5);
        assert_eq!(assert_rejected(all.handler.send_at(all.handle.now(), 5)), 5);
        assert_eq!(assert_rejected(all.handler.send_at_front(5)), 5);
        assert_eq!(assert_rejected(all.handler.asynchronous().message(5).what(1).token(all.token).send()), 5);
    }),
    ("Handler::send, boxed", |_| {
        let all = [7; 16];
        let handler = Handler::new(&Looper::new().unwrap(), |_, _: [u64; 16]| ());
        in_child("a child's child", || assert_eq!(assert_rejected(handler.send(all)), all));
    }),
    ("Handler::remove", |all| {
        let Everything { handler, token, .. } = all;
        assert_eq!((handler.clear(), handler.remove(7), handler.remove(*token)), (0, 0, 0));
        assert_eq!((handler.remove((7, *token)), handler.remove_if(|_| true)), (0, 0));
    }),
    ("Handler::len", |all| {
        let Everything { handler, token, .. } = all;
        assert_eq!((handler.len(), handler.is_empty(), handler.has_if(|_| true)), (0, true, false));
        assert!(!handler.has(7) && !handler.has(*token) && !handler.has((7, *token)));
    }),
    ("Handler::downgrade", |all| _ = assert_rejected(all.handler.downgrade().upgrade().unwrap().send(1))),
    ("Barrier, dropped", |all| drop(all.barrier.take())),
    // Idle handlers.
    ("IdleHandler::remove", |all| assert!(!all.idle.is_added() && !all.idle.remove())),
    ("IdleGuard, dropped", |all| drop(all.idle_guard.take())),
    // Fds.
    ("FdSource::set_interest", |all| assert_echild(all.source.set_interest(Interest::OUTPUT).unwrap_err())),
    ("FdSource::repoll", |all| assert_echild(all.source.repoll().unwrap_err())),
    ("FdSource::with", |all| assert!(all.source.with(|_| ()).is_none())),
    ("FdSource::remove", |all| assert!(!all.source.is_registered() && all.source.remove().is_none())),
    ("FdSource::handle", |all| assert!(!all.source.handle().remove())),
    ("FdHandle::set_interest", |all| assert_echild(all.afar.set_interest(Interest::OUTPUT).unwrap_err())),
    ("FdHandle::repoll", |all| assert_echild(all.afar.repoll().unwrap_err())),
    ("FdHandle::remove", |all| assert!(!all.afar.is_registered() && !all.afar.remove())),
    ("FdGuard, dropped", |all| drop(all.fd_guard.take())),
    // The thread.
    ("HandlerThread::join", |all| match all.thread.take().unwrap().join() {
        Err(JoinError::Io(error)) => assert_echild(error),
        other => panic!("{other:?}"),
    }),
    ("HandlerThread::quit", |all| {
        let thread = all.thread.as_ref().unwrap();
        thread.quit();
        thread.quit_safely();
        assert!(!thread.is_finished() && thread.thread().is_none());
    }),
    ("HandlerThread, dropped", |all| drop(all.thread.take())),
];

#[test]
fn x2_a_forked_child_is_told_that_the_looper_is_its_parents() {
    alone("x2_a_forked_child_is_told_that_the_looper_is_its_parents", || {
        let mut all = Everything::new();
        until_polling(all.thread.as_ref().unwrap().handle());
        let before = looper_fds();

        for (what, line) in PAGE {
            in_child(what, || line(&mut all));
        }

        assert_eq!(looper_fds(), before, "the parent's set, eventfd and timerfd are as they were");
        assert_parent_goes_on(all);
    });
}

/// E1: what was refused before the fork, here and on another thread, which the child does not have.
#[test]
fn x2_a_forked_child_has_what_was_refused_on_its_thread_and_leaves_what_was_on_others() {
    alone("x2_a_forked_child_has_what_was_refused_on_its_thread_and_leaves_what_was_on_others", || {
        let looper = Looper::new().unwrap();
        looper.quit();
        let refuse = || {
            let looper = Looper::new().unwrap();
            looper.quit();
            Handler::new(&looper, |_, _| ()).send(7).unwrap_err()
        };
        let value = Rc::new(7);
        let held = value.clone();
        let (errors, others) = std::sync::mpsc::channel();
        let is_over = Arc::new(std::sync::Barrier::new(2));
        let over = is_over.clone();
        let other = thread::spawn(move || {
            (0..2).for_each(|_| errors.send(refuse()).unwrap());
            over.wait();
        });
        let own = looper.post(move |_| drop(held)).unwrap_err();
        let [theirs, dropped] = [(); 2].map(|()| others.recv().unwrap());

        in_child("what was refused", || {
            own.into_value().expect("it is this thread's")(&looper);
            assert_eq!(Rc::strong_count(&value), 1);
            assert!(theirs.into_value().is_none(), "its thread is not here");
            drop(dropped);
            assert_eq!(refuse().into_value(), Some(7));
        });

        is_over.wait();
        other.join().unwrap();
    });
}

/// C71: with the looper's locks held for ever in the child, now these and now those.
#[test]
fn c71_a_forked_child_waits_for_no_lock_that_a_thread_of_its_parent_held() {
    alone("c71_a_forked_child_waits_for_no_lock_that_a_thread_of_its_parent_held", || {
        hold_locks_and_fork(Everything::new());
    });
}

/// C71: likewise where the looper's thread is one that the child does not have.
#[test]
fn c71_nor_for_the_looper_of_another_thread() {
    alone("c71_nor_for_the_looper_of_another_thread", || {
        hold_locks_and_fork(Everything::elsewhere());
    });
}

fn hold_locks_and_fork(mut all: Everything) {
    const ROUNDS: usize = 2;
    let (handle, handler) = (all.handle.clone(), all.handler.clone());
    while_locked(&handle, &handler, || {
        for round in 0..ROUNDS {
            for (what, line) in PAGE {
                in_child(format!("{what}, round {round}"), || line(&mut all));
            }
            in_child(format!("all dropped, round {round}"), || {
                drop(all_of(&mut all));
                // The thread's own goes now, and nobody else has it.
                Looper::prepare().unwrap();
            });
        }
    });
    assert_parent_goes_on(all);
}

/// Takes what is dropped in a child, where the parent's is not touched by it.
fn all_of(all: &mut Everything) -> impl Sized + use<> {
    let Everything { thread, guard, barrier, idle_guard, fd_guard, .. } = all;
    let guards = (thread.take(), guard.take(), barrier.take(), idle_guard.take(), fd_guard.take());
    (guards, std::mem::replace(&mut all.looper, Rc::new(Looper::new().unwrap())))
}

/// Uses everything in the parent, where it is as it was before the fork.
fn assert_parent_goes_on(mut all: Everything) {
    let start = all.looper.now();
    let (mut near, far) = UnixStream::pair().unwrap();
    let seen = Rc::new(Cell::new((0, 0)));
    let runs = |run: (u32, u32)| {
        let seen = seen.clone();
        move || seen.set((seen.get().0 + run.0, seen.get().1 + run.1))
    };
    all.looper
        .add_fd(far, Interest::INPUT, {
            let ran = runs((0, 1));
            move |_, far, _| {
                assert_eq!(far.read(&mut [0; 8]).unwrap(), 1);
                ran();
                FdNext::Keep
            }
        })
        .unwrap();
    near.write_all(b"x").unwrap();
    assert!(all.posted.cancel() && all.repeating.is_pending() && all.sent.cancel());
    assert!(all.source.is_registered() && all.source.with(|_| ()).is_some() && all.afar.remove());
    assert!(all.idle.remove());
    drop((all.guard.take(), all.barrier.take(), all.idle_guard.take(), all.fd_guard.take()));
    // What the barrier held up is plain, and runs now; a timer is on time.
    let ran = runs((1, 0));
    all.looper.post_delayed(ms(20), move |_| ran()).unwrap();
    while seen.get() != (1, 1) {
        all.looper.poll_once(None).unwrap();
    }
    assert!(all.looper.now() - start >= ms(20));
    assert_eq!(all.repeating.is_pending(), all.repeating.cancel());
    assert_eq!(all.handle.len(), 0);
    // Woken from afar, by the eventfd.
    let thread = all.thread.take().unwrap();
    assert_eq!(thread.handle().call(closure(3)).unwrap(), 3);
    thread.quit();
    assert!(thread.join().unwrap().run > 0);
    all.looper.quit();
    let report = all.looper.run().unwrap();
    assert_eq!(report.posted, report.run + report.removed + report.dropped);
}

#[test]
fn x2_a_child_that_drops_a_looper_only_closes_its_fds() {
    alone("x2_a_child_that_drops_a_looper_only_closes_its_fds", || {
        let counted = Arc::new(());
        let looper = Looper::new().unwrap();
        // The fd by which a host watches it, too.
        looper.as_fd();
        let (near, mut far) = UnixStream::pair().unwrap();
        let handler = Handler::new(&looper, {
            let counted = counted.clone();
            move |_, _: Arc<()>| _ = &counted
        });
        looper
            .add_fd(near.try_clone().unwrap(), Interest::INPUT, {
                let counted = counted.clone();
                move |_, _, _| {
                    _ = &counted;
                    FdNext::Keep
                }
            })
            .unwrap();
        for _ in 0..2 {
            let counted = counted.clone();
            looper.post_delayed(HOUR, move |_| drop(counted)).unwrap();
        }
        looper
            .handle()
            .post_delayed(HOUR, {
                let counted = counted.clone();
                move |_| drop(counted)
            })
            .unwrap();
        handler.send_delayed(HOUR, counted.clone()).unwrap();
        looper.poll_once(Duration::ZERO).unwrap();
        let before = looper_fds();
        assert_eq!((before.len(), Arc::strong_count(&counted)), (4, 7));
        let (mut looper, mut handler) = (Some(looper), Some(handler));

        in_child("dropped", || {
            drop(looper.take());
            assert_eq!(looper_fds().len(), 1, "the eventfd goes with the last handle");
            assert_eq!(
                Arc::strong_count(&counted),
                5,
                "what was on its thread was dropped; what was queued is forgotten"
            );
            drop(near);
            drop(handler.take());
            assert_eq!(looper_fds().len(), 0);
            assert_eq!(Arc::strong_count(&counted), 5);
        });

        assert_eq!(looper_fds(), before);
        far.write_all(b"x").unwrap();
        let (looper, handler) = (looper.unwrap(), handler.unwrap());
        assert_eq!(looper.poll_once(None).unwrap().fds, 1);
        assert_eq!(looper.len(), 4);
        drop((looper, handler));
        assert_eq!(Arc::strong_count(&counted), 1);
    });
}

/// Neither run nor dropped there: its looper is the parent's, and so are those who left it.
#[test]
fn x2_a_child_forgets_what_other_threads_have_left_for_a_looper() {
    alone("x2_a_child_forgets_what_other_threads_have_left_for_a_looper", || {
        let counted = Arc::new(());
        let looper = Looper::new().unwrap();
        let (near, _far) = UnixStream::pair().unwrap();
        let handle = looper.handle();
        let [posted, watching, handling] = [0; 3].map(|_| counted.clone());
        let elsewhere = thread::spawn(move || {
            handle.post(move |_| drop(posted)).unwrap();
            let fd = handle.add_fd(near, Interest::INPUT, move |_, _, _| {
                _ = &watching;
                FdNext::Keep
            });
            let handler = handle.handler(move |_, (): ()| _ = &handling);
            (handle, fd.unwrap(), handler.unwrap())
        });
        let left = elsewhere.join().unwrap();
        assert_eq!(Arc::strong_count(&counted), 4);
        let (mut looper, mut left) = (Some(looper), Some(left));

        in_child("dropped", || {
            drop(looper.take());
            drop(left.take());
            assert_eq!(looper_fds().len(), 0, "nothing holds it any more");
            assert_eq!(Arc::strong_count(&counted), 4, "what was left is forgotten");
        });

        assert_eq!(looper.as_ref().unwrap().poll_once(None).unwrap().messages, 1);
        assert_eq!(Arc::strong_count(&counted), 3, "the parent goes on");
        drop((looper, left));
        assert_eq!(Arc::strong_count(&counted), 1);
    });
}

/// With nothing but plain messages queued, just now: what is posted on the looper's thread takes the shortest way.
#[test]
fn x2_a_child_is_refused_what_would_take_the_shortest_way() {
    alone("x2_a_child_is_refused_what_would_take_the_shortest_way", || {
        let looper = Looper::new().unwrap();
        let handler = Handler::new(&looper, |_, ()| ());
        let (told, is_told) = mpsc::channel();
        let task = looper.spawn(std::future::poll_fn(move |context| {
            told.send(context.waker().clone()).unwrap();
            std::task::Poll::<()>::Pending
        }));
        looper.poll_once(Duration::ZERO).unwrap();
        let waker = is_told.recv().unwrap();
        for _ in 0..3 {
            looper.post(|_| ()).unwrap();
        }

        in_child("what is plain", || {
            let counts = looper.message_counts();
            assert_eq!(looper.post(|_| ()).unwrap_err().reason(), RejectReason::Forked);
            assert_eq!(handler.send(()).unwrap_err().reason(), RejectReason::Forked);
            assert_eq!(looper.spawn(async {}).unwrap_err().reason(), RejectReason::Forked);
            waker.wake_by_ref();
            assert!(looper.poll_once(Duration::ZERO).is_err());
            assert_eq!(looper.message_counts(), counts);
        });

        assert_eq!(looper.poll_once(Duration::ZERO).unwrap().messages, 3);
        assert!(task.is_ok());
    });
}
