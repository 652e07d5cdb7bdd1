//! cargo run -p alooper-guide --example slow_or_stuck
//!
//! docs/guide/how-to/slow-or-stuck.md: a program whose loop is slow, and then stuck, and what names the place. In virtual
//! time, so that it prints the same each time.

use std::{
    cell::RefCell, collections::BTreeMap, env, fs, io, ops::ControlFlow, path::Path, process, rc::Rc, time::Duration,
};

use alooper::{
    DispatchInfo, Looper, LooperHandle, Observer, Wants, Watchdog,
    testing::{TestClock, TestLooper},
    trace::Trace,
};

const MS: Duration = Duration::from_millis(1);

/// Stands for work that takes so long: lets time pass, in which the watchdog's looper goes on.
fn work(watchdogs: &TestLooper, duration: Duration) {
    let end = watchdogs.now() + duration;
    while watchdogs.now() < end {
        let _ = watchdogs.poll_once(end - watchdogs.now());
    }
}

// [slow]
/// Adds up how long the messages of each place in the source have run.
#[derive(Default)]
struct Profile(RefCell<BTreeMap<u32, (u32, Duration)>>);

impl Observer for Profile {
    fn wants(&self) -> Wants {
        Wants::MESSAGES | Wants::TIMES
    }

    fn finished(&self, dispatch: &DispatchInfo, took: Duration) {
        let mut places = self.0.borrow_mut();
        let (runs, sum) = places.entry(dispatch.place.line()).or_default();
        *runs += 1;
        *sum += took;
    }
}
// [/slow]

fn main() -> io::Result<()> {
    let clock = TestClock::new();
    let watchdogs = Rc::new(clock.build(Looper::builder())?);
    watchdogs.allow_leftovers();
    let looper = clock.build(Looper::builder().name("ui").timed(true))?;

    println!("Who takes the time?");
    profile(&looper, &watchdogs)?;
    println!("How long do callbacks take, and how late are they?");
    graph(&looper.handle());
    println!("What is it stuck in?");
    get_stuck(&looper, &watchdogs)?;
    println!("What does it run now?");
    ask(&looper)?;
    println!("Which message was slow, for a subscriber?");
    let subscriber = tracing_subscriber::fmt().with_writer(io::stdout).without_time().with_ansi(false).finish();
    tracing::subscriber::with_default(subscriber, || attach_spans(&looper, &watchdogs))?;
    println!("What has run, as a file?");
    let path = env::temp_dir().join(format!("slow-or-stuck-{}.json", process::id()));
    write_trace(&looper, &path)?;
    fs::remove_file(path)
}

fn profile(looper: &TestLooper, watchdogs: &Rc<TestLooper>) -> io::Result<()> {
    let profile = Rc::new(Profile::default());
    looper.set_observer(Some(profile.clone()));
    let (draws, saves) = (watchdogs.clone(), watchdogs.clone());
    let drawing = looper.post_every(16 * MS, move |_| {
        work(&draws, 2 * MS);
        ControlFlow::Continue(())
    })?;
    looper.post_delayed(40 * MS, move |_| work(&saves, 90 * MS))?;
    looper.advance(Duration::from_millis(200));
    drawing.cancel();
    looper.set_observer(None);
    let places = profile.0.borrow();
    let mut places: Vec<_> = places.iter().collect();
    places.sort_by_key(|(_, (_, sum))| std::cmp::Reverse(*sum));
    for (line, (runs, sum)) in places {
        println!("  {sum:>5?} in {runs} runs of line {line}");
    }
    Ok(())
}

// [graph]
fn graph(looper: &LooperHandle) {
    let stats = looper.stats();
    for (name, histogram) in [("ran", stats.run_times), ("late", stats.lateness)] {
        for (bound, count) in histogram.buckets().filter(|(_, count)| *count > 0) {
            println!("  {name:>5} less than {bound:>13?}: {}", "#".repeat(count as usize));
        }
    }
}
// [/graph]

// [stuck]
fn get_stuck(looper: &TestLooper, watchdogs: &Rc<TestLooper>) -> io::Result<()> {
    let builder = Watchdog::builder()
        .threshold(120 * MS)
        .on_stuck(|stuck| println!("  {:?} in {}", stuck.lasted, stuck.running))
        .on_resumed(|stuck| println!("  it goes on; it was stuck for {:?}", stuck.lasted));
    // A program says `spawn()`, and the watchdog has a thread of its own.
    let watchdog = builder.run_on(watchdogs)?;
    watchdog.watch(&looper.handle());

    let waits = watchdogs.clone();
    looper.post(move |_| work(&waits, Duration::from_secs(2)))?;
    looper.poll_once(None)?;
    work(watchdogs, 20 * MS);
    Ok(())
}
// [/stuck]

// [ask]
fn ask(looper: &Looper) -> io::Result<()> {
    let handle = looper.handle();
    looper.post(move |_| {
        // Any thread may ask, at any time, on a signal for instance.
        if let Some(running) = handle.running() {
            println!("  {running}");
        }
    })?;
    looper.poll_once(None)?;
    Ok(())
}
// [/ask]

// [spans]
fn attach_spans(looper: &TestLooper, watchdogs: &Rc<TestLooper>) -> io::Result<()> {
    looper.set_slow_thresholds(Some(100 * MS), None);
    alooper::spans::attach(looper);
    let waits = watchdogs.clone();
    looper.post(move |_| work(&waits, 250 * MS))?;
    looper.poll_once(None)?;
    Ok(())
}
// [/spans]

// [trace]
fn write_trace(looper: &Looper, path: &Path) -> io::Result<()> {
    let trace = Trace::to_file(path)?;
    trace.attach(looper);

    looper.post(|_| ())?;
    looper.post(|_| ())?;
    looper.poll_once(None)?;

    let summary = trace.finish()?;
    println!("  {} slices, {} lost", summary.slices, summary.lost);
    Ok(())
}
// [/trace]
