//! Spans and events of the crate `tracing`: how they nest, and what stands in them.
//!
//! Holds W9, X1.

use std::{
    cell::Cell,
    fmt::{Debug, Write},
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use alooper::{
    FdNext, Handler, Interest, Looper, spans,
    testing::{TestClock, TestLooper},
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::with_default,
};

use crate::support::{
    fds::{poll_now, ready_stream},
    ms, panic_of,
    recorder::Recorder,
};

/// Writes down what it is told, indented by how many spans are entered.
#[derive(Clone, Default)]
struct Log(Arc<Lines>);

#[derive(Default)]
struct Lines {
    text: Mutex<String>,
    names: Mutex<Vec<String>>,
    depth: AtomicU64,
}

impl Log {
    fn line(&self, line: &str) {
        let depth = self.0.depth.load(Ordering::Relaxed) as usize;
        writeln!(self.0.text.lock().unwrap(), "{}{line}", "  ".repeat(depth)).unwrap();
    }

    fn take(&self) -> Vec<String> {
        assert_eq!(self.0.depth.load(Ordering::Relaxed), 0, "a span is still entered");
        std::mem::take(&mut *self.0.text.lock().unwrap()).lines().map(str::to_owned).collect()
    }
}

/// The fields, but for places and times, whose values are not known.
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "place" => assert!(format!("{value:?}").contains(file!()), "{value:?}"),
            "took_ns" | "late_ns" | "fd" => write!(self.0, " {}", field.name()).unwrap(),
            name => write!(self.0, " {name}={value:?}").unwrap(),
        }
    }
}

fn fields(metadata: &Metadata<'_>, record: impl FnOnce(&mut Fields)) -> String {
    assert_eq!(metadata.target(), "alooper");
    let mut fields = Fields(String::new());
    record(&mut fields);
    fields.0
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "alooper"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let metadata = span.metadata();
        let fields = fields(metadata, |fields| span.record(fields));
        let mut names = self.0.names.lock().unwrap();
        names.push(format!("{}{fields}", metadata.name()));
        Id::from_u64(names.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        self.line(&format!("{}{}", metadata.level(), fields(metadata, |fields| event.record(fields))));
    }

    fn enter(&self, span: &Id) {
        let name = self.0.names.lock().unwrap()[span.into_u64() as usize - 1].clone();
        self.line(&name);
        self.0.depth.fetch_add(1, Ordering::Relaxed);
    }

    fn exit(&self, _: &Id) {
        self.0.depth.fetch_sub(1, Ordering::Relaxed);
    }
}

fn named() -> TestLooper {
    TestClock::new().build(Looper::builder().name("ui")).unwrap()
}

#[test]
fn w9_each_callback_has_a_span_with_its_kind_and_fields_and_tasks_nest_in_messages() {
    let log = Log::default();
    let looper = named();
    spans::attach(&looper);
    let handler = Handler::new(&looper, |_, _: u32| ());
    let (near, _far) = ready_stream();

    with_default(log.clone(), || {
        looper.post(|_| ()).unwrap();
        handler.message(7).what(31).send().unwrap();
        let _task = looper.spawn(async {});
        let source = looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Remove).unwrap();
        poll_now(&looper);
        drop(source);
    });

    let expected = [
        "message looper=\"ui\"",
        "message looper=\"ui\" handler=\"u32\" what=31",
        "message looper=\"ui\"",
        "  task looper=\"ui\"",
        "fd looper=\"ui\" fd",
    ];
    assert_eq!(log.take(), expected);
}

/// W9, X1.
#[test]
fn w9_what_is_slow_late_or_panics_is_an_event_inside_of_its_span() {
    let log = Log::default();
    let looper = Rc::new(named());
    looper.set_slow_thresholds(Some(ms(10)), Some(ms(20)));
    spans::attach(&looper);

    with_default(log.clone(), || {
        let clock = looper.clone();
        looper.post(move |_| clock.clock().pass(ms(30))).unwrap();
        looper.post(|_| panic!("a message's")).unwrap();
        assert_eq!(panic_of(|| poll_now(&looper)), "a message's");
        looper.post(|_| ()).unwrap();
        poll_now(&looper);
    });

    let expected = [
        "message looper=\"ui\"",
        "  WARN message=slow looper=\"ui\" took_ns",
        "message looper=\"ui\"",
        "  WARN message=late looper=\"ui\" late_ns",
        "  ERROR message=panicked looper=\"ui\"",
        "message looper=\"ui\"",
    ];
    assert_eq!(log.take(), expected);
}

/// W9, W5: and it is told of nothing else.
#[test]
fn w9_the_observer_that_there_was_is_told_as_before() {
    let looper = named();
    let recorder = Recorder::watch(&looper);
    spans::attach(&looper);

    // Also with nobody who subscribes.
    looper.post(|_| ()).unwrap();
    poll_now(&looper);

    assert_eq!(recorder.take("finished").len(), 1);
}

/// W9, X1.
#[test]
fn w9_a_message_that_polls_another_looper_has_the_spans_of_that_one_inside() {
    let log = Log::default();
    let (outer, inner) = (named(), Rc::new(TestClock::new().build(Looper::builder().name("inner")).unwrap()));
    spans::attach(&outer);
    spans::attach(&inner);
    let has_run = Rc::new(Cell::new(false));

    with_default(log.clone(), || {
        let (polled, runs) = (inner.clone(), has_run.clone());
        inner.post(move |_| runs.set(true)).unwrap();
        outer.post(move |_| _ = polled.poll_once(Duration::ZERO).unwrap()).unwrap();
        poll_now(&outer);
    });

    assert!(has_run.get());
    assert_eq!(log.take(), ["message looper=\"ui\"", "  message looper=\"inner\""]);
}
