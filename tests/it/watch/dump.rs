//! The state of a looper for people to read: from any thread, at any time.
//!
//! Holds W3, F8, M9.

use std::{
    cell::Cell,
    ops::ControlFlow,
    os::{fd::AsRawFd, unix::net::UnixStream},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use alooper::{
    DispatchInfo, Dump, FdNext, Handler, Interest, Looper, LooperHandle, Observer,
    testing::{TestClock, TestLooper},
};

use crate::support::{
    Elsewhere, HOUR,
    counters::counters,
    fds::{poll_now, ready_stream},
    handlers::elsewhere,
    ms, until_polling, watched,
};

/// A looper with this name on a clock of its own.
fn named(name: &str) -> TestLooper {
    let looper = TestClock::new().build(Looper::builder().name(name)).unwrap();
    looper.allow_leftovers();
    looper
}

/// The lines of a dump, without what is only for the eye.
fn lines(dump: &Dump) -> Vec<String> {
    dump.to_string().lines().map(|line| line.trim().to_owned()).collect()
}

/// The lines that stand below the one that says how many there are.
fn listed(dump: &Dump, heading: &str) -> Vec<String> {
    let lines = lines(dump);
    let at = lines.iter().position(|line| line.contains(heading)).unwrap_or_else(|| panic!("{heading} in {dump}"));
    let count: usize = lines[at].rsplit(' ').next().unwrap().parse().unwrap();
    lines[at + 1..][..count].to_vec()
}

/// A line of this file.
fn place(line: u32) -> String {
    format!("{}:{line}:", file!())
}

#[track_caller]
fn assert_parts(line: &str, parts: &[&str]) {
    let mut rest = line;
    for part in parts {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} in {line:?}"));
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn w3_it_lists_the_queue_in_order_with_due_times_from_now_and_places() {
    let looper = named("queue");
    let handler = Handler::new(&looper, |_, _: u32| ());
    let line = line!();
    looper.post_delayed(Duration::from_millis(9_500), |_| ()).unwrap();
    looper.post_at(looper.now() - ms(2), |_| ()).unwrap();
    looper.post_delayed(Duration::MAX, |_| ()).unwrap();
    handler.message(1).what(-8).asynchronous().send_delayed(Duration::from_micros(1_500)).unwrap();
    looper.handle().asynchronous().post(|_| ()).unwrap();
    handler.send_at_front(1).unwrap();

    let queue = listed(&looper.dump(), "pending:");

    assert_eq!(queue.len(), 6);
    assert_parts(&queue[0], &["at front  message of u32, posted at", &place(line + 6)]);
    assert_parts(&queue[1], &["-2ms  closure, posted at", &place(line + 2)]);
    assert_parts(&queue[2], &["now  closure, asynchronous, posted at", &place(line + 5)]);
    assert_parts(&queue[3], &["+1.5ms  message of u32, what -8, asynchronous, posted at", &place(line + 4)]);
    assert_parts(&queue[4], &["+9.5s  closure, posted at", &place(line + 1)]);
    assert_parts(&queue[5], &["never  closure, posted at", &place(line + 3)]);
}

#[test]
fn w3_due_times_are_from_the_moment_of_the_dump_and_a_dump_does_not_change() {
    let looper = named("clock");
    looper.post_delayed(ms(100), |_| ()).unwrap();

    let first = looper.dump();
    let copy = first.clone();
    looper.advance(ms(40));
    let second = looper.dump();
    looper.advance(ms(60));

    assert_parts(&listed(&first, "pending:")[0], &["+100ms"]);
    assert_parts(&listed(&second, "pending:")[0], &["+60ms"]);
    assert_eq!(copy.to_string(), first.to_string());
    assert!(listed(&looper.dump(), "pending:").is_empty());
    assert!(format!("{first:?}").contains("pending: 1"));
}

#[test]
fn w3_it_lists_barriers_with_age_and_place() {
    let looper = named("barriers");
    let first = looper.barrier().unwrap();
    looper.advance(ms(30));
    let second = elsewhere({
        let handle = looper.handle();
        move || handle.barrier().unwrap()
    });
    let line = line!() - 2;
    looper.advance(ms(12));

    let barriers = listed(&looper.dump(), "barriers:");

    assert_eq!(barriers.len(), 2);
    assert_parts(&barriers[0], &["42ms old", "put up at", &place(line - 4)]);
    assert_parts(&barriers[1], &["12ms old", "put up at", &place(line)]);
    drop(first);
    assert_eq!(listed(&looper.dump(), "barriers:").len(), 1);
    looper.quit();
    assert_eq!(listed(&looper.dump(), "barriers:").len(), 0);
    drop(second);
}

#[test]
fn w3_it_lists_fds_with_interest_ident_and_place() {
    let looper = named("fds");
    let (near, far) = UnixStream::pair().unwrap();
    let (called, with_ident) = (near.as_raw_fd(), far.as_raw_fd());
    let both = Interest::INPUT | Interest::PRIORITY;
    let source = looper.add_fd(near, both, |_, _, _| FdNext::Keep).unwrap();
    looper.handle().add_ident(far, Interest::OUTPUT, 77).unwrap();
    let line = line!() - 1;

    let mut fds = listed(&looper.dump(), "fds:");

    fds.sort_unstable_by_key(|line| !line.starts_with(&format!("fd {called} ")));
    assert_eq!(fds.len(), 2);
    let (called, with_ident) = (format!("fd {called} for"), format!("fd {with_ident} for"));
    assert_parts(&fds[0], &[&called, "INPUT | PRIORITY", "callback, added at", &place(line - 1)]);
    assert_parts(&fds[1], &[&with_ident, "OUTPUT", "ident 77, added at", &place(line)]);

    source.set_interest(Interest::READ_HANGUP).unwrap();
    let fds = listed(&looper.dump(), "fds:").join("\n");
    assert!(fds.contains("READ_HANGUP") && !fds.contains("PRIORITY"), "{fds}");
    drop(source.remove());
    assert_eq!(listed(&looper.dump(), "fds:").len(), 1);
}

#[test]
fn w3_f8_it_says_which_fds_are_muted() {
    let looper = Looper::builder().spin_limit(2).build().unwrap();
    let (near, far) = UnixStream::pair().unwrap();
    let source = looper.add_fd(near, Interest::PRIORITY, |_, _, _| FdNext::Keep).unwrap();
    let is_muted = || listed(&looper.dump(), "fds:")[0].contains("muted: only changes are reported");
    drop(far);

    assert_eq!((0..2).map(|_| poll_now(&looper).fds).sum::<usize>(), 2);
    assert!(!is_muted(), "that nothing changes, the next wait shows");
    assert_eq!(poll_now(&looper).fds, 0);
    assert!(is_muted());

    source.set_interest(Interest::INPUT).unwrap();
    assert!(!is_muted());
}

#[test]
fn w3_it_names_the_looper_and_says_what_it_does() {
    watched(|| {
        let running = Elsewhere::run(|_| ());
        until_polling(&running.handle);
        assert_eq!(lines(&running.handle.dump())[0], "a looper: waits in epoll");

        let inside = running.handle.call(|looper| lines(&looper.dump())[0].clone()).unwrap();
        assert_eq!(inside, "a looper: does not wait");

        running.handle.quit();
        assert_eq!(lines(&running.handle.dump())[0], "a looper: has quit");
        running.join();
        assert_eq!(lines(&named("ui").dump())[0], "looper \"ui\": does not wait");
    });
}

#[test]
fn w3_it_sums_up_messages_and_counters() {
    let looper = named("sums");
    looper.post(|_| ()).unwrap();
    looper.post(|_| ()).unwrap();
    looper.post(|_| ()).unwrap().cancel();
    looper.post_delayed(HOUR, |_| ()).unwrap();
    poll_now(&looper);
    let stats = looper.stats();

    let text = lines(&looper.dump());
    looper.quit();
    let after = lines(&looper.dump());

    assert!(text.contains(&"messages: 4 posted, 2 run, 1 removed, 0 dropped".to_owned()), "{text:#?}");
    assert!(text.contains(&"turns: 1, waits: 1, fd callbacks: 0".to_owned()), "{text:#?}");
    let wakes = format!("wakes: {} sent, {} saved, 0 spurious", stats.wakes_sent, stats.wakes_saved);
    assert!(text.contains(&wakes), "{wakes} in {text:#?}");
    assert!(after.contains(&"messages: 4 posted, 2 run, 1 removed, 1 dropped".to_owned()), "{after:#?}");
}

/// B5: also where nothing but plain ones is pending.
#[test]
fn w3_it_tells_an_asynchronous_post_from_the_plain_ones_around_it() {
    let looper = Looper::new().unwrap();
    for asynchronous in [false, true, false] {
        let handle = if asynchronous { looper.handle().asynchronous() } else { looper.handle() };
        handle.post(|_| ()).unwrap();
    }

    let dump = looper.dump().to_string();

    let pending = dump.lines().filter(|line| line.contains("closure"));
    assert_eq!(pending.map(|line| line.contains("asynchronous")).collect::<Vec<_>>(), [false, true, false], "{dump}");
}

#[test]
fn w3_it_counts_handlers_for_as_long_as_they_live() {
    let looper = named("handlers");
    let first = Handler::new(&looper, |_, (): ()| ());
    let second = looper.handle().handler(|_, (): ()| ()).unwrap();
    let count = || lines(&looper.dump())[1..3].to_vec();
    assert_eq!(count(), ["handlers: 2", "pending: 0"]);

    second.send(()).unwrap();
    drop((first, second));
    assert_eq!(count(), ["handlers: 1", "pending: 1"]);

    looper.run_until_idle();
    assert_eq!(count(), ["handlers: 0", "pending: 0"]);

    let third = looper.handle().handler(|_, (): ()| ()).unwrap();
    thread::spawn(move || drop(third)).join().unwrap();
    assert_eq!(count(), ["handlers: 0", "pending: 0"], "one whose closure has still to be dropped lives no more");
}

#[test]
fn w3_a_looper_that_was_dropped_can_still_be_dumped() {
    let looper = Looper::builder().name("late").build().unwrap();
    let (near, _far) = UnixStream::pair().unwrap();
    looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
    looper.post(|_| ()).unwrap();
    let handle = looper.handle();

    drop(looper);

    let text = lines(&handle.dump());
    assert_eq!(text[0], "looper \"late\": has quit");
    for part in ["handlers: 0", "pending: 0", "barriers: 0", "fds: 0"] {
        assert!(text.iter().any(|line| line == part), "{part} in {text:#?}");
    }
    assert!(text.iter().any(|line| line.contains("1 posted, 0 run, 0 removed, 1 dropped")));
}

/// A value that asks for a dump when it is dropped.
struct Dumping(LooperHandle, mpsc::Sender<usize>);

impl Drop for Dumping {
    fn drop(&mut self) {
        self.1.send(lines(&self.0.dump()).len()).unwrap();
    }
}

impl Observer for Dumping {
    fn started(&self, _: &DispatchInfo) {
        self.1.send(lines(&self.0.dump()).len()).unwrap();
    }
}

/// M9: nowhere is a lock held that a dump needs, neither on this thread nor on another.
#[test]
fn w3_m9_it_can_be_asked_for_inside_whatever_the_looper_runs_and_meanwhile_from_elsewhere() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let (sender, dumped) = mpsc::channel();
        let dump_twice = {
            let (handle, sender) = (handle.clone(), sender.clone());
            move || {
                sender.send(lines(&handle.dump()).len()).unwrap();
                sender.send(elsewhere(|| lines(&handle.dump()).len())).unwrap();
            }
        };
        let handler = Handler::new(&looper, |_, _: u32| ());
        let (near, _far) = ready_stream();

        let dump = dump_twice.clone();
        looper.post(move |_| dump()).unwrap();
        let dump = dump_twice.clone();
        looper
            .add_fd(near, Interest::INPUT, move |_, _, _| {
                dump();
                FdNext::Remove
            })
            .unwrap();
        let dump = dump_twice.clone();
        let idle = looper.add_idle(move |_| {
            dump();
            ControlFlow::Break(())
        });
        assert!(idle.unwrap().is_added());
        poll_now(&looper);
        poll_now(&looper);
        assert_eq!(dumped.try_iter().count(), 6, "message, fd callback, idle handler");

        handler.send(1).unwrap();
        assert_eq!(handler.remove_if(|_| (dump_twice(), true).1), 1);
        assert_eq!(dumped.try_iter().count(), 2, "predicate");

        let dumping = || Dumping(handle.clone(), sender.clone());
        let value = dumping();
        looper.post(move |_| drop(value)).unwrap().cancel();
        let value = dumping();
        handle.post(move |_| drop(value)).unwrap().cancel();
        assert_eq!(dumped.try_iter().count(), 2, "values that are dropped");

        looper.set_observer(Some(Rc::new(dumping())));
        looper.post(|_| ()).unwrap();
        poll_now(&looper);
        looper.set_observer(None);
        assert_eq!(dumped.try_iter().count(), 2, "observer, and its drop");
    });
}

#[test]
fn w3_it_runs_no_user_code_and_drops_nothing() {
    /// A message that nobody may touch.
    struct Untouched(Arc<AtomicU32>);

    impl Drop for Untouched {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    let looper = named("untouched");
    let dropped = Arc::new(AtomicU32::new(0));
    let local = Rc::new(Cell::new(false));
    let handler = Handler::new(&looper, |_, _: Untouched| ());
    handler.send(Untouched(dropped.clone())).unwrap();
    let (value, captured) = (Untouched(dropped.clone()), local.clone());
    looper.post(move |_| (drop(value), captured.set(true)).1).unwrap();
    // Its value waits to be dropped on this thread.
    let cancelled = looper.post(|_| ()).unwrap();
    elsewhere(|| cancelled.cancel());

    let here = looper.dump();
    let there = elsewhere({
        let handle = looper.handle();
        move || handle.dump()
    });
    drop((here.to_string(), there.to_string(), here, there));

    assert_eq!((dropped.load(Ordering::Relaxed), local.get(), looper.len()), (0, false, 2));
    assert_eq!(counters(looper.stats()), (0, 0, 0, 0));
}

#[test]
fn w3_while_others_post_and_the_looper_runs_every_dump_is_whole() {
    watched(|| {
        let running = Elsewhere::run(|_| ());
        let poster = thread::spawn({
            let handle = running.handle.clone();
            move || (0..2000).for_each(|_| drop(handle.post(|_| ()).unwrap()))
        });

        let mut rounds = 0;
        while !poster.is_finished() || rounds < 10 {
            let dump = running.handle.dump();
            let text = lines(&dump);
            let pending = listed(&dump, "pending:").len() as u64;
            let messages = text.iter().find(|line| line.starts_with("messages: ")).unwrap();
            let numbers: Vec<u64> = messages.split(' ').filter_map(|word| word.parse().ok()).collect();
            let [posted, run, 0, 0] = numbers[..] else { panic!("{messages}") };
            assert_eq!(posted, run + pending, "{dump}");
            rounds += 1;
        }

        poster.join().unwrap();
        running.handle.quit_safely();
        assert_eq!(running.join().run, 2000);
    });
}
