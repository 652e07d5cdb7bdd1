//! A trace: what stands in its file, and what becomes of one that cannot be written.
//!
//! Holds W8, W5, X1, X2, M9.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    env, fs,
    io::{self, BufRead},
    ops::ControlFlow,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    process,
    rc::Rc,
    sync::mpsc,
    thread,
    time::Duration,
};

use alooper::{
    DispatchInfo, FdNext, Handler, HandlerThread, Interest, Looper, Observer, Wants,
    testing::{TestClock, TestLooper},
    trace::{Trace, TraceSummary},
};
use serde_json::Value;

use crate::support::{
    fds::{poll_now, ready_stream},
    forks::{assert_echild, end, split},
    ms, panic_of,
    recorder::Recorder,
};

/// A trace in a file of its own, which is removed with it.
struct Traced {
    path: PathBuf,
    trace: Option<Trace>,
}

impl Traced {
    fn new(name: &str) -> Traced {
        let path = env::temp_dir().join(format!("alooper-trace-{}-{name}.json", process::id()));
        let trace = Trace::to_file(&path).unwrap();
        Traced { path, trace: Some(trace) }
    }

    fn attach(&self, looper: &Looper) {
        self.trace.as_ref().unwrap().attach(looper);
    }

    /// Finishes it, and gives what stands in it.
    fn finish(&mut self) -> (TraceSummary, Events) {
        let summary = self.trace.take().unwrap().finish().unwrap();
        (summary, self.read())
    }

    fn read(&self) -> Events {
        // By `parse`, which is compiled in its crate, and so optimized.
        let mut file: Value = fs::read_to_string(&self.path).unwrap().parse().unwrap();
        let Value::Array(events) = file["traceEvents"].take() else { panic!("no array") };
        Events(events)
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// What stands in a file.
struct Events(Vec<Value>);

/// Nanoseconds.
fn nanos(time: &Value) -> u64 {
    (time.as_f64().unwrap() * 1000.0).round() as u64
}

impl Events {
    fn of<'a>(&'a self, phase: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |event| event["ph"] == phase)
    }

    /// The slices of this category.
    fn slices(&self, category: &str) -> Vec<&Value> {
        self.of("X").filter(|event| event["cat"] == category).collect()
    }

    /// What thread `id` is called.
    fn name_of(&self, id: &Value) -> &str {
        let named = self.of("M").find(|event| event["name"] == "thread_name" && event["tid"] == *id);
        named.unwrap()["args"]["name"].as_str().unwrap()
    }

    /// Asserts that on each track one slice lies in another or beside it.
    fn assert_nested(&self) {
        let mut tracks: HashMap<i64, Vec<(u64, u64)>> = HashMap::new();
        for slice in self.of("X") {
            let (start, took) = (nanos(&slice["ts"]), nanos(&slice["dur"]));
            tracks.entry(slice["tid"].as_i64().unwrap()).or_default().push((start, start + took));
        }
        for (track, mut slices) in tracks {
            slices.sort_by_key(|(start, end)| (*start, u64::MAX - end));
            let mut open: Vec<(u64, u64)> = Vec::new();
            for (start, end) in slices {
                while open.last().is_some_and(|(_, outer)| *outer <= start && end > start) {
                    open.pop();
                }
                let fits = open.last().is_none_or(|(_, outer)| end <= *outer || start >= *outer);
                assert!(fits, "{start}..{end} on {track} juts out of {:?}", open.last());
                open.push((start, end));
            }
        }
    }

    /// Asserts that each arrow has a begin and a later end, and gives how many there are.
    fn assert_arrows(&self) -> usize {
        let ends: HashMap<u64, u64> =
            self.of("f").map(|end| (end["id"].as_u64().unwrap(), nanos(&end["ts"]))).collect();
        for begin in self.of("s") {
            assert!(nanos(&begin["ts"]) <= ends[&begin["id"].as_u64().unwrap()], "{begin}");
        }
        assert_eq!(self.of("s").count(), ends.len());
        ends.len()
    }
}

/// W8: each kind of thing is a slice, with its length on the looper's clock, and its place.
#[test]
fn w8_all_that_runs_is_in_the_file_with_its_time_and_place() {
    let mut traced = Traced::new("all");
    let clock = TestClock::new();
    let looper = clock.build(Looper::builder().name("the \"ui\"\n\\")).unwrap();
    let second = Rc::new(clock.build(Looper::builder()).unwrap());
    traced.attach(&looper);

    let (near, _far) = ready_stream();
    let work = second.clone();
    looper.post(move |_| _ = work.poll_once(ms(3)).unwrap()).unwrap();
    let handler = Handler::new(&looper, |_, _: u8| ());
    handler.message(1).what(7).send().unwrap();
    let idle = looper.add_idle(|_| ControlFlow::Break(())).unwrap();
    let fd = looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Remove).unwrap();
    let task = looper.spawn(async {});
    poll_now(&looper);
    poll_now(&looper);
    let (summary, events) = traced.finish();

    let name = |kind: &str, index: usize| events.slices(kind)[index]["name"].as_str().unwrap();
    let is_named = |name: &str, what: &str| name.starts_with(what) && name.contains("watch/trace.rs:");
    assert!(is_named(name("message", 0), "closure "), "{}", name("message", 0));
    assert!(is_named(name("message", 1), "u8 7 "), "{}", name("message", 1));
    assert!(is_named(name("fd", 0), "fd ") && is_named(name("idle", 0), "idle ") && is_named(name("task", 0), "task "));
    assert_eq!(nanos(&events.slices("message")[0]["dur"]), 3_000_000);
    assert!(!events.slices("wait").is_empty());
    assert_eq!(events.name_of(&events.slices("fd")[0]["tid"]), "the \"ui\"\n\\");
    assert_eq!(events.assert_arrows(), events.slices("message").len());
    events.assert_nested();
    assert_eq!(summary.slices as usize, events.of("X").count() - events.slices("post").len());
    assert_eq!(summary.lost, 0);
    drop((idle, fd, task));
}

/// W8: an arrow leads from the thread that posts to the one that runs, and a counter tells what is pending.
#[test]
fn w8_arrows_lead_from_each_post_to_its_run_and_pending_messages_are_counted() {
    let mut traced = Traced::new("arrows");
    let looper = TestLooper::new().unwrap();
    let worker = HandlerThread::spawn("worker").unwrap();
    traced.attach(&looper);
    traced.trace.as_ref().unwrap().attach_handle(worker.handle()).unwrap();
    worker.handle().call(|_| ()).unwrap();

    let answers = looper.handle();
    looper.post(|_| ()).unwrap();
    worker.handle().call(move |_| answers.post(|_| ()).map(drop).unwrap()).unwrap();
    poll_now(&looper);
    worker.quit_safely();
    worker.join().unwrap();
    let (_, events) = traced.finish();

    let own = events.slices("message").into_iter().filter(|slice| events.name_of(&slice["tid"]) != "worker");
    let id = own.map(|slice| slice["tid"].clone()).next().unwrap();
    let begins: HashMap<u64, &str> =
        events.of("s").map(|begin| (begin["id"].as_u64().unwrap(), events.name_of(&begin["tid"]))).collect();
    let from: Vec<&str> =
        events.of("f").filter(|end| end["tid"] == id).map(|end| begins[&end["id"].as_u64().unwrap()]).collect();
    assert_eq!(from, [events.name_of(&id), "worker"]);
    let pending: Vec<i64> = events
        .of("C")
        .filter(|counter| counter["tid"] == id)
        .map(|counter| counter["args"]["messages"].as_i64().unwrap())
        .collect();
    assert_eq!(pending, [1, 0]);
}

/// W8: none is missing, and none is there twice.
#[test]
fn w8_twenty_thousand_messages_of_two_threads_are_all_in_the_file() {
    const EACH: usize = 10_000;
    let mut traced = Traced::new("many");
    let looper = TestLooper::new().unwrap();
    let worker = HandlerThread::spawn("worker").unwrap();
    traced.attach(&looper);
    traced.trace.as_ref().unwrap().attach_handle(worker.handle()).unwrap();
    worker.handle().call(|_| ()).unwrap();

    for _ in 0..EACH {
        looper.post(|_| ()).unwrap();
        worker.handle().post(|_| ()).unwrap();
    }
    while looper.poll_once(Duration::ZERO).unwrap().messages > 0 {}
    worker.quit_safely();
    worker.join().unwrap();
    let (summary, events) = traced.finish();

    // The call that waited until the worker was traced is one, or not.
    let messages = events.slices("message").len();
    assert!((2 * EACH..=2 * EACH + 1).contains(&messages), "{messages}");
    assert_eq!(summary.lost, 0);
    assert!(events.assert_arrows() >= 2 * EACH);
    events.assert_nested();
}

/// W8, X1: a panic is a slice, too.
#[test]
fn w8_a_message_that_panics_is_marked() {
    let mut traced = Traced::new("panics");
    let looper = TestLooper::new().unwrap();
    traced.attach(&looper);

    looper.post(|_| panic::resume_unwind(Box::new(()))).unwrap();
    let panic = panic::catch_unwind(AssertUnwindSafe(|| poll_now(&looper)));
    let (_, events) = traced.finish();

    assert!(panic.is_err());
    assert_eq!(events.slices("message")[0]["args"]["panicked"], true);
}

/// W8: as many as a program runs in a second. It takes long, and 600 MB of disk: CI runs it by its name.
#[test]
#[ignore = "it takes a minute, and room on the disk"]
fn w8_a_million_messages_are_all_in_the_file_in_their_order() {
    const COUNT: u64 = 1_000_000;
    let path = env::temp_dir().join(format!("alooper-trace-{}-million.json", process::id()));
    let trace = Trace::to_file(&path).unwrap();
    let looper = Looper::new().unwrap();
    trace.attach(&looper);

    for ran in (1000..=COUNT).step_by(1000) {
        (0..1000).for_each(|_| _ = looper.post(|_| ()).unwrap());
        while looper.poll_once(Duration::ZERO).unwrap().messages > 0 {}
        // What the thread that writes cannot keep up with would be lost, as is promised.
        while ran > trace.summary().slices + 300_000 {
            thread::yield_now();
        }
    }
    let summary = trace.finish().unwrap();

    // Line by line: as one value it would take gigabytes.
    let (mut messages, mut arrows, mut latest) = (0, 0, 0);
    for line in io::BufReader::new(fs::File::open(&path).unwrap()).lines() {
        let line = line.unwrap();
        arrows += u64::from(line.starts_with("{\"ph\":\"f\""));
        if line.contains("\"cat\":\"message\"") {
            let slice: Value = line.trim_end_matches(',').parse().unwrap();
            let start = nanos(&slice["ts"]);
            assert!(start >= latest, "{line} begins before the message before it");
            (messages, latest) = (messages + 1, start + nanos(&slice["dur"]));
        }
    }
    fs::remove_file(&path).unwrap();
    assert_eq!((messages, arrows, summary.lost), (COUNT, COUNT, 0));
}

/// W8: the trace is finished by the message itself, or while a looper is stuck: what runs is cut off.
#[test]
fn w8_what_runs_at_the_end_is_cut_off() {
    let mut traced = Traced::new("cut");
    let worker = HandlerThread::spawn("stuck").unwrap();
    traced.trace.as_ref().unwrap().attach_handle(worker.handle()).unwrap();
    let (go_on, waits) = mpsc::channel::<()>();
    let (says, begun) = mpsc::channel::<()>();
    worker
        .handle()
        .post(move |_| {
            says.send(()).unwrap();
            waits.recv().unwrap();
        })
        .unwrap();
    begun.recv().unwrap();

    let (_, events) = traced.finish();
    go_on.send(()).unwrap();
    worker.quit_safely();
    worker.join().unwrap();

    assert_eq!(events.slices("message").last().unwrap()["args"]["cut_off"], true);
}

/// W8, W5: who observed before goes on to, and is told what it wants.
#[test]
fn w8_the_observer_that_there_was_is_told_as_before() {
    let mut traced = Traced::new("observer");
    let looper = TestLooper::new().unwrap();
    let recorder = Recorder::watch(&looper);

    traced.attach(&looper);
    traced.attach(&looper);
    looper.post(|_| ()).unwrap();
    poll_now(&looper);
    let (_, events) = traced.finish();
    looper.post(|_| ()).unwrap();
    poll_now(&looper);

    assert_eq!(events.slices("message").len(), 1);
    assert_eq!(recorder.take("finished").len(), 2);
}

/// Notes of each message whether the clock was read for it, which it does not want itself.
#[derive(Default)]
struct Untimed(RefCell<Vec<bool>>);

impl Observer for Untimed {
    fn wants(&self) -> Wants {
        Wants::MESSAGES
    }

    fn started(&self, dispatch: &DispatchInfo) {
        self.0.borrow_mut().push(dispatch.started.is_some());
    }
}

/// W8, W5: a trace that has ended costs nothing from the next message on. It stayed where it was, and read the clock.
#[test]
fn w8_a_finished_trace_gives_its_place_back_to_the_observer_that_there_was() {
    let mut traced = Traced::new("detached");
    let looper = TestLooper::new().unwrap();
    let untimed = Rc::new(Untimed::default());
    looper.set_observer(Some(untimed.clone()));
    let run = || {
        looper.post(|_| ()).unwrap();
        poll_now(&looper);
    };

    traced.attach(&looper);
    run();
    traced.finish();
    run();
    run();

    // The wait before the second message is what the trace has seen last.
    assert_eq!(untimed.0.take(), [true, false, false]);
    let mut again = Traced::new("detached-again");
    again.attach(&looper);
    run();
    assert_eq!(again.finish().1.slices("message").len(), 1);
}

/// W8: of two traces of a looper, each may end first.
#[test]
fn w8_two_traces_of_a_looper_end_in_any_order() {
    for is_first_one_first in [true, false] {
        let (mut one, mut other) = (Traced::new("one"), Traced::new("other"));
        let looper = TestLooper::new().unwrap();
        let recorder = Recorder::watch(&looper);
        one.attach(&looper);
        other.attach(&looper);
        let run = || {
            looper.post(|_| ()).unwrap();
            poll_now(&looper);
        };
        run();
        let (earlier, later) = if is_first_one_first { (&mut one, &mut other) } else { (&mut other, &mut one) };
        assert_eq!(earlier.finish().1.slices("message").len(), 1);
        run();
        assert_eq!(later.finish().1.slices("message").len(), 2);
        run();
        run();

        assert_eq!(recorder.take("finished").len(), 4);
        assert_eq!(Rc::strong_count(&recorder), 2, "only the looper has it");
    }
}

/// Panics when a message begins, once.
struct Panicking(Cell<bool>);

impl Observer for Panicking {
    fn started(&self, _: &DispatchInfo) {
        if !self.0.replace(true) {
            panic!("an observer's");
        }
    }
}

/// A message of which an observer says by a panic that it does not begin stayed open for ever, and the trace kept all that came after
/// it until its end.
#[test]
fn w8_an_observer_that_panics_at_a_begin_leaves_nothing_open() {
    let mut traced = Traced::new("panicking");
    let looper = TestLooper::new().unwrap();
    looper.set_observer(Some(Rc::new(Panicking(Cell::new(false)))));
    traced.attach(&looper);

    looper.post(|_| ()).unwrap();
    assert_eq!(panic_of(|| poll_now(&looper)), "an observer's");
    for _ in 0..3 {
        (0..1000).for_each(|_| _ = looper.post(|_| ()).unwrap());
        while looper.poll_once(Duration::ZERO).unwrap().messages > 0 {}
    }

    // The thread that writes has some of them before the end.
    while traced.trace.as_ref().unwrap().summary().slices == 0 {
        thread::yield_now();
    }
    let (_, events) = traced.finish();
    assert_eq!(events.slices("message").len(), 3000);
    assert!(events.slices("message").iter().all(|slice| slice["args"]["cut_off"].is_null()));
}

/// W8, X2: a forked child leaves its parent's file alone.
#[test]
fn w8_a_forked_child_writes_nothing() {
    let mut traced = Traced::new("fork");
    let looper = TestLooper::new().unwrap();
    traced.attach(&looper);
    looper.post(|_| ()).unwrap();
    poll_now(&looper);

    if let Some(child) = split() {
        child.join("a child with a trace");
    } else {
        end(|| {
            assert_echild(traced.trace.take().unwrap().finish().unwrap_err());
            looper.set_observer(None);
        });
    }
    let (_, events) = traced.finish();

    assert_eq!(events.slices("message").len(), 1);
}
