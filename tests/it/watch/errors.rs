//! What errors can be turned into and what they say, in the `main` of a program above all; and what becomes of the
//! value that was refused.
//!
//! Holds E1, E2, E3, X3.

use std::{
    cell::{Cell, RefCell},
    env,
    error::Error,
    io::{self, ErrorKind},
    ops::ControlFlow,
    os::{fd::OwnedFd, unix::net::UnixStream},
    panic::{self, AssertUnwindSafe, Location},
    process::{Command, Termination},
    rc::Rc,
    sync::Arc,
    thread,
    time::Duration,
};

use alooper::{
    AddFdError, CallError, FdNext, Handler, HandlerThread, Interest, JoinError, Looper, OsError, Panic, RejectReason,
    Rejected,
};
use nix::errno::Errno;

use crate::support::{
    HOUR,
    alone::{alone, full_name},
    handlers::{self, elsewhere, told},
    ms, panic_of, watched,
};

type Anything = Box<dyn Error + Send + Sync>;

fn portable<E: Error + Send + Sync + 'static>() {}

/// Whatever `T` is.
#[test]
fn e1_every_error_is_send_and_sync() {
    fn all<T: 'static>() {
        portable::<Rejected<T>>();
        portable::<AddFdError<T>>();
        portable::<CallError<T>>();
    }

    all::<Rc<()>>();
    portable::<JoinError>();
    portable::<OsError>();
}

fn quit_looper() -> Looper {
    let looper = Looper::new().unwrap();
    looper.quit();
    looper
}

/// The row's own inputs: closures with an `Rc`, a source that is one, a thread that is joined.
#[test]
fn e1_question_mark_makes_any_error_of_whatever_is_refused() {
    type Attempt = fn(&Looper, Rc<()>) -> anyhow::Result<()>;
    let attempts: [(&str, Attempt); 14] = [
        ("post", |looper, rc| Ok(looper.post(move |_| drop(rc)).map(drop)?)),
        ("post_delayed", |looper, rc| Ok(looper.post_delayed(HOUR, move |_| drop(rc)).map(drop)?)),
        ("post_at", |looper, rc| Ok(looper.post_at(looper.now(), move |_| drop(rc)).map(drop)?)),
        ("post_at_front", |looper, rc| Ok(looper.post_at_front(move |_| drop(rc)).map(drop)?)),
        ("post_every", |looper, rc| {
            let tick =
                move |_: &Looper| if Rc::strong_count(&rc) > 0 { ControlFlow::Continue(()) } else { unreachable!() };
            Ok(looper.post_every(HOUR, tick).map(drop)?)
        }),
        ("send", |looper, rc| Ok(Handler::new(looper, |_, _: Rc<()>| ()).send(rc).map(drop)?)),
        ("message", |looper, rc| Ok(Handler::new(looper, |_, _: Rc<()>| ()).message(rc).what(1).send().map(drop)?)),
        ("add_idle", |looper, rc| {
            let idle = move |_: &Looper| {
                if Rc::strong_count(&rc) > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            Ok(looper.add_idle(idle).map(drop)?)
        }),
        ("barrier", |looper, _| Ok(looper.barrier().map(drop)?)),
        ("add_fd", |looper, _| Ok(looper.add_fd(source(), Interest::INPUT, |_, _, _| FdNext::Keep).map(drop)?)),
        ("replace_fd", |looper, _| {
            Ok(looper.replace_fd(source(), Interest::INPUT, |_, _, _| FdNext::Keep).map(drop)?)
        }),
        ("add_ident", |looper, _| Ok(looper.add_ident(source(), Interest::INPUT, 1).map(drop)?)),
        ("call", |looper, _| Ok(looper.handle().call(|_| ())?)),
        ("handler", |looper, _| Ok(looper.handle().handler(|_, _: u32| ()).map(drop)?)),
    ];
    for (name, attempt) in attempts {
        let value = Rc::new(());
        let looper = Looper::new().unwrap();
        attempt(&looper, value.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        drop(looper);
        assert_eq!(Rc::strong_count(&value), 1, "{name}");

        let error = attempt(&quit_looper(), value.clone()).expect_err(name);

        assert!(error.to_string().contains("the looper has quit"), "{name}: {error}");
        // Also when it has been elsewhere meanwhile.
        let error = elsewhere(|| error);
        drop(error);
        assert_eq!(Rc::strong_count(&value), 1, "{name}: dropped with the error");
    }
}

fn source() -> Rc<OwnedFd> {
    Rc::new(UnixStream::pair().unwrap().0.into())
}

#[test]
fn e1_a_thread_that_panicked_is_joined_with_a_question_mark() {
    fn join() -> Result<(), Anything> {
        let worker = HandlerThread::spawn("worker")?;
        worker.handle().post(|_| panic::panic_any(42_u8))?;
        worker.join()?;
        Ok(())
    }
    let error = watched(|| join().unwrap_err());

    let error = error.downcast::<JoinError>().unwrap();
    assert_eq!(error.to_string(), "the looper's thread panicked: see the panic there");
    let JoinError::Panicked(panic) = *error else { panic!("it did") };
    assert_eq!(panic.text(), None);
    assert_eq!(panic.into_payload().downcast_ref::<u8>(), Some(&42));
}

#[test]
fn e1_a_refused_value_that_is_not_send_comes_back_on_its_thread_also_after_a_journey() {
    let value = Rc::new(Cell::new(0));
    let own = value.clone();
    let looper = quit_looper();

    let refused = looper.post(move |_| own.set(7)).unwrap_err();
    let refused = elsewhere(|| refused);

    assert_eq!(refused.reason(), RejectReason::Quit);
    refused.into_value().expect("it is here")(&looper);
    assert_eq!((value.get(), Rc::strong_count(&value)), (7, 1));
}

#[test]
fn e1_elsewhere_a_refused_value_stays_behind_and_is_dropped_at_home_with_the_next_refusal() {
    let here = thread::current().id();
    let looper = quit_looper();
    let handler = Handler::new(&looper, |_, _| ());
    type Leave = fn(Rejected<handlers::Told>);
    let ways: [Leave; 2] =
        [|refused| assert!(refused.into_value().is_none(), "it is not Send"), |refused| drop(refused)];
    for leave in ways {
        let (value, dropped) = told();
        let refused = handler.send(value).unwrap_err();

        elsewhere(move || leave(refused));

        assert!(dropped.try_recv().is_err(), "nobody may drop it there");
        let (next, next_dropped) = told();
        drop(handler.send(next).unwrap_err());
        assert_eq!((dropped.try_recv(), next_dropped.try_recv()), (Ok(here), Ok(here)));
    }
}

#[test]
fn e1_what_stays_behind_is_dropped_by_its_thread_at_the_latest_when_that_ends() {
    let (value, dropped) = told();
    let thread = thread::spawn(move || {
        let handler = Handler::new(&quit_looper(), |_, _| ());
        (thread::current().id(), handler.send(value).unwrap_err())
    });

    let (home, refused) = thread.join().unwrap();

    assert_eq!(dropped.try_recv(), Ok(home));
    assert_eq!(refused.reason(), RejectReason::Dropped);
    assert!(refused.into_value().is_none());
}

#[test]
fn e1_a_refused_value_is_dropped_with_its_error_and_a_panic_of_that_goes_on() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("in its drop");
        }
    }
    let looper = quit_looper();
    let handler = Handler::new(&looper, |_, _| ());
    let refused = handler.send(Panics).unwrap_err();

    assert_eq!(panic_of(|| drop(refused)), "in its drop");

    // While another panic unwinds, it ends there (X3).
    let refused = [handler.send(Panics).unwrap_err(), handler.send(Panics).unwrap_err()];
    let panicking = || {
        let _refused = refused;
        panic!("first");
    };
    assert_eq!(panic_of(panicking), "first");
    // What is left behind does not hit whoever comes next.
    let refused = handler.send(Panics).unwrap_err();
    elsewhere(move || drop(refused));
    drop(looper.post(|_| ()).unwrap_err());
    let rc = Rc::new(());
    drop(looper.post(move |_| drop(rc)).unwrap_err());
}

/// A worker's closure, which is `Send`, may be wanted by whoever joins it.
#[test]
fn e1_a_refused_value_that_is_send_comes_along() {
    let looper = quit_looper();
    let handle = looper.handle();
    let shared = Arc::new(());
    let (near, _far) = UnixStream::pair().unwrap();

    let held = shared.clone();
    let worker = thread::spawn(move || {
        let post = handle.post(move |_| drop(held)).unwrap_err();
        let watch = handle.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err();
        let Err(CallError::Rejected(call)) = handle.call(|_| 7) else { panic!("it has quit") };
        (post, watch, call)
    });
    let (post, watch, call) = worker.join().unwrap();

    assert!(watch.into_source().is_some());
    assert_eq!(call.into_value().expect("it is Send")(&looper), 7);
    post.into_value().expect("it is Send")(&looper);
    assert_eq!(Arc::strong_count(&shared), 1);
}

/// The store of a thread is used by others' destructors, those that run before it ends and those that run after.
#[test]
fn e1_in_the_last_destructors_of_a_thread_what_is_refused_still_comes_back() {
    struct AtTheEnd(Option<Looper>, Option<Rc<()>>, Option<handlers::Told>);
    impl Drop for AtTheEnd {
        fn drop(&mut self) {
            let (Some(looper), Some(rc)) = (self.0.take(), self.1.take()) else { return };
            let refused = looper.post(move |_| drop(rc)).unwrap_err();
            refused.into_value().expect("it comes back")(&looper);
            drop(self.2.take());
        }
    }
    thread_local! {
        static EARLIER: RefCell<Option<AtTheEnd>> = const { RefCell::new(None) };
        static LATER: RefCell<Option<AtTheEnd>> = const { RefCell::new(None) };
    }
    let (first, first_dropped) = told();
    let (second, second_dropped) = told();
    let thread = thread::spawn(move || {
        let rc = Rc::new(());
        EARLIER.set(Some(AtTheEnd(Some(quit_looper()), Some(rc.clone()), Some(first))));
        // Something lies in the store when the thread ends.
        let looper = quit_looper();
        let held = rc.clone();
        let refused = looper.post(move |_| drop(held)).unwrap_err();
        LATER.set(Some(AtTheEnd(Some(looper), Some(rc), Some(second))));
        refused
    });

    let refused = thread.join().unwrap();
    assert!(refused.into_value().is_none());

    assert!(first_dropped.try_recv().is_ok() && second_dropped.try_recv().is_ok(), "neither panicked");
}

/// X3: it would abort the process.
#[test]
fn e1_x3_what_was_left_behind_may_panic_at_the_end_of_its_thread() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("in its drop");
        }
    }
    alone("e1_x3_what_was_left_behind_may_panic_at_the_end_of_its_thread", || {
        let thread = thread::spawn(|| {
            let handler = Handler::new(&quit_looper(), |_, _| ());
            (handler.send(Panics).unwrap_err(), handler.send(Panics).unwrap_err())
        });

        let refused = thread.join().unwrap();

        assert!(refused.0.into_value().is_none());
    });
}

/// To keep many errors makes none of them dearer.
#[test]
fn e1_very_many_refused_values_are_kept_and_left_behind() {
    const COUNT: usize = 100_000;
    let value = Rc::new(());
    let looper = quit_looper();
    let refuse = || {
        let value = value.clone();
        looper.post(move |_| drop(value)).unwrap_err()
    };
    let refused: Vec<_> = (0..COUNT).map(|_| refuse()).collect();
    assert_eq!(Rc::strong_count(&value), COUNT + 1);

    elsewhere(move || drop(refused));
    assert_eq!(Rc::strong_count(&value), COUNT + 1);
    drop(refuse());

    assert_eq!(Rc::strong_count(&value), 1);
}

#[test]
fn e1_an_error_says_where_it_was_refused() {
    let looper = quit_looper();
    let handle = looper.handle();
    let handler = Handler::new(&looper, |_, _: u32| ());

    let line = Location::caller().line();
    let places = [
        looper.post(|_| ()).unwrap_err().place(),
        looper.post_delayed(HOUR, |_| ()).unwrap_err().place(),
        looper.post_every(HOUR, |_| ControlFlow::Break(())).unwrap_err().place(),
        looper.add_idle(|_| ControlFlow::Continue(())).unwrap_err().place(),
        looper.barrier().unwrap_err().place(),
        looper.add_fd(source(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err().place(),
        handle.post(|_| ()).unwrap_err().place(),
        handle.post_every(HOUR, |_| ControlFlow::Break(())).unwrap_err().place(),
        handle.add_idle(|_| ControlFlow::Continue(())).unwrap_err().place(),
        handle.handler(|_, _: u32| ()).unwrap_err().place(),
        handler.send(1).unwrap_err().place(),
        handler.message(1).what(2).send_at_front().unwrap_err().place(),
    ];

    for (at, place) in (1..).zip(places) {
        assert_eq!((place.file(), place.line()), (file!(), line + 1 + at));
    }
    let [call, own] = [elsewhere(|| refused_call(&handle)), refused_call(&handle)];
    assert_eq!(call.place().file(), file!());
    assert_eq!(call.place(), own.place());
}

fn refused_call(handle: &alooper::LooperHandle) -> Rejected<fn(&Looper)> {
    match handle.call((|_| ()) as fn(&Looper)) {
        Err(CallError::Rejected(refused)) => refused,
        other => panic!("{other:?}"),
    }
}

/// A failure, as a `main` may return it, and what has to be in its text.
fn failures() -> Vec<(io::Error, &'static str)> {
    let looper = quit_looper();
    let gone = Looper::new().unwrap().handle();
    let live = Looper::new().unwrap();
    let directory = || std::fs::File::open("/").unwrap();
    let nested = live.post(|looper| {
        let error = looper.poll_once(None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Deadlock);
        NESTED.set(Some(error));
    });
    nested.unwrap();
    live.poll_once(Duration::ZERO).unwrap();
    let worker = HandlerThread::spawn("worker").unwrap();
    worker.handle().post(|_| panic!("a \"quoted\" text")).unwrap();
    let panicked = worker.join().unwrap_err();
    let handle = live.handle();
    let late = elsewhere(|| handle.call_timeout(ms(1), |_| ()).unwrap_err());
    let zero = HandlerThread::spawn("a\0b").unwrap_err();
    let source = live.add_fd(source(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
    let ended = source.clone();
    drop(source.remove());

    vec![
        (looper.post(|_| ()).unwrap_err().into(), "the looper has quit and takes nothing more: use another looper"),
        (RejectReason::Quit.into(), "the looper has quit and takes nothing more: use another looper"),
        (gone.post(|_| ()).unwrap_err().into(), "the looper was dropped: keep it alive"),
        (gone.call(|_| ()).unwrap_err().into(), "the looper was dropped: keep it alive"),
        (RejectReason::Forked.into(), "make another looper here (ECHILD)"),
        (live.add_fd(directory(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err().into(), "read them directly"),
        (
            looper.add_fd(directory(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err().into(),
            "the looper has quit",
        ),
        (NESTED.take().unwrap(), "return from the callback instead of polling in it"),
        (ended.set_interest(Interest::OUTPUT).unwrap_err(), "this registration has ended: add the source again"),
        (panicked.into(), "the looper's thread panicked: a \"quoted\" text"),
        (late.into(), "the looper did not come to the call in time: it runs something long, or nobody polls it"),
        (zero, "a thread's name cannot contain a NUL: choose another one"),
    ]
}

thread_local! {
    static NESTED: RefCell<Option<io::Error>> = const { RefCell::new(None) };
}

#[test]
fn e2_what_a_main_prints_that_returns_an_io_error_has_the_text() {
    for (error, text) in watched(failures) {
        let printed = format!("{error:?}");

        assert!(error.to_string().contains(text), "{error}");
        assert!(printed.contains(text), "{printed}");
    }
}

/// Nor does an error say less than the one that `?` makes of it.
#[test]
fn e2_what_a_main_prints_that_returns_the_error_itself_has_the_text_and_the_place() {
    let looper = quit_looper();
    let post = looper.post(|_| ()).unwrap_err();
    let watch = looper.add_fd(source(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err();
    let call = looper.handle().call(|_| ()).unwrap_err();

    for printed in [format!("{post:?}"), format!("{watch:?}"), format!("{call:?}")] {
        assert!(printed.contains("the looper has quit and takes nothing more: use another looper"), "{printed}");
        assert!(printed.contains(&format!("(refused at {}:", file!())), "{printed}");
    }
    // Also inside an `io::Error`.
    let place = post.place();
    let error = io::Error::from(post);
    assert!(format!("{error:?}").contains(&place.to_string()), "{error:?}");
    let inner: &Rejected<()> = error.get_ref().unwrap().downcast_ref().unwrap();
    assert_eq!((inner.reason(), inner.place()), (RejectReason::Quit, place));
}

/// Runs as a `main` that ends with `error`, and gives what that prints.
#[test]
fn e2_a_program_that_fails_prints_what_its_user_needs() {
    const KIND: &str = "ALOOPER_MAIN_RETURNS";
    fn refused() -> Rejected<impl FnOnce(&Looper)> {
        let rc = Rc::new(());
        quit_looper().post(move |_| drop(rc)).unwrap_err()
    }
    let kinds: [(&str, fn()); 4] = [
        ("anyhow::Result", || _ = Err::<(), anyhow::Error>(refused().into()).report()),
        ("io::Result", || _ = Err::<(), io::Error>(refused().into()).report()),
        ("Box<dyn Error + Send + Sync>", || _ = Err::<(), Anything>(refused().into()).report()),
        ("Rejected", || _ = Err::<(), _>(refused()).report()),
    ];
    if let Some(kind) = env::var_os(KIND) {
        return kinds.iter().filter(|(name, _)| *name == kind).for_each(|(_, end)| end());
    }
    let name = full_name("e2_a_program_that_fails_prints_what_its_user_needs");
    for (kind, _) in kinds {
        let mut program = Command::new(env::current_exe().unwrap());
        let output = program.args([&name, "--exact", "--nocapture"]).env(KIND, kind).output().unwrap();

        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(printed.contains("Error: "), "{kind}: {printed}");
        assert!(
            printed.contains("the looper has quit and takes nothing more: use another looper"),
            "{kind}: {printed}"
        );
    }
}

#[test]
fn e2_the_error_of_a_call_says_what_to_do_and_keeps_its_kind_as_an_io_error() {
    let errors = [
        (CallError::<()>::StillRunning, "was begun but did not end in time", ErrorKind::TimedOut),
        (CallError::Panicked, "panicked on the looper's thread", ErrorKind::Other),
    ];
    for (error, says, kind) in errors {
        let text = error.to_string();
        assert!(text.contains(says) && text.contains(": "), "{text}");
        assert_eq!(format!("{error:?}"), text);
        let error = io::Error::from(error);
        assert_eq!((error.kind(), error.to_string()), (kind, text));
        assert!(error.downcast::<CallError<()>>().is_ok());
    }
    let kinds = [
        (RejectReason::Quit, ErrorKind::BrokenPipe),
        (RejectReason::Dropped, ErrorKind::BrokenPipe),
        (RejectReason::TimedOut, ErrorKind::TimedOut),
        (RejectReason::InPredicate, ErrorKind::Deadlock),
    ];
    for (reason, kind) in kinds {
        assert_eq!(io::Error::from(reason).kind(), kind);
        assert!(reason.to_string().contains(": "), "{reason}");
    }
}

/// A call that was not begun in time, and one inside a predicate, give the closure back with the reason.
#[test]
fn e1_s2_a_call_says_why_it_was_not_begun() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let late = elsewhere(|| handle.call_timeout(ms(1), |_| "called").unwrap_err());
        let handler = Handler::new(&looper, |_, _| ());
        handler.send(1).unwrap();
        let looking = elsewhere(|| {
            let mut refused = None;
            handler.remove_if(|_| {
                refused = handle.call(|_| "called").err();
                false
            });
            refused.unwrap()
        });

        let CallError::TimedOut(late) = late else { panic!("{late:?}") };
        assert_eq!(late.reason(), RejectReason::TimedOut);
        assert_eq!(late.into_value().unwrap()(&looper), "called");
        let CallError::InPredicate(looking) = looking else { panic!("{looking:?}") };
        assert_eq!(looking.reason(), RejectReason::InPredicate);
        assert_eq!(looking.into_value().unwrap()(&looper), "called");
    });
}

#[test]
fn l5_e2_a_join_error_says_what_the_panic_or_the_error_said() {
    fn join(run: fn(&Looper)) -> JoinError {
        let worker = HandlerThread::spawn("worker").unwrap();
        worker.handle().post(run).unwrap();
        worker.join().unwrap_err()
    }
    type Run = fn(&Looper);
    let panics: [(Run, &str); 3] = [
        (|_| panic!("literal"), "the looper's thread panicked: literal"),
        (|_| panic!("own{}", "ed"), "the looper's thread panicked: owned"),
        (|_| panic::panic_any(5), "the looper's thread panicked: see the panic there"),
    ];
    for (run, text) in panics {
        let error = watched(move || join(run));
        assert_eq!((error.to_string().as_str(), format!("{error:?}").as_str()), (text, text));
        let error = io::Error::from(error);
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Other, text));
        let JoinError::Panicked(panic) = error.downcast::<JoinError>().unwrap() else { panic!("it did") };
        assert!(panic::catch_unwind(AssertUnwindSafe(|| panic::resume_unwind(Panic::into_payload(panic)))).is_err());
    }
    let error = JoinError::Io(ErrorKind::OutOfMemory.into());
    assert_eq!((error.to_string().as_str(), format!("{error:?}").as_str()), ("out of memory", "out of memory"));
    assert_eq!(io::Error::from(error).kind(), ErrorKind::OutOfMemory);
}

/// The row's own input.
#[test]
fn e3_a_stack_that_is_too_large_is_called_so() {
    for bytes in [usize::MAX, usize::MAX / 2, 1 << 62] {
        let error = HandlerThread::builder().stack_size(bytes).spawn().unwrap_err();

        let inner: &OsError = error.get_ref().unwrap().downcast_ref().unwrap();
        assert_eq!(inner.operation(), "pthread_create", "{error}");
        let errno = Errno::from_raw(inner.raw_os_error());
        assert!(matches!(errno, Errno::EINVAL | Errno::EAGAIN | Errno::ENOMEM), "{error}");
        assert!(error.to_string().contains("stack"), "{bytes:x}: {error}");
    }
}
