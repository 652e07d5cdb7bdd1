//! What a client is told, as lines of JSON: `crates/looptop/PROTOCOL.md` explains each field.

use std::{cmp::Reverse, env, panic::Location, path::Path, process, sync::Arc, time::Duration};

use serde::Serialize;

use super::sampler::{Place, Sampler, Seen};
use crate::{
    core::shared::Shared,
    looper::{
        handle::LooperHandle,
        running::{Running, RunningKind},
    },
    queue::{account::Stats, histogram::Histogram},
    sys::{thread, time::Moment},
};

/// The version of the protocol.
const VERSION: u32 = 1;
/// How many places a looper's report lists at most.
const MOST_PLACES: usize = 64;

/// The first line that a client is sent.
#[derive(Serialize)]
struct Greeting {
    alooper_inspect: u32,
    process: u32,
    program: String,
}

#[derive(Serialize)]
struct Failure<'a> {
    error: &'a str,
}

#[derive(Serialize)]
struct Report<'a> {
    at_ns: u64,
    loopers: Vec<State<'a>>,
}

#[derive(Serialize)]
struct State<'a> {
    id: u64,
    name: Option<&'a str>,
    thread: i32,
    thread_name: Option<String>,
    state: &'static str,
    running: Option<Now>,
    pending: u64,
    most_pending: u64,
    due_ns: Option<i64>,
    posted: u64,
    run: u64,
    removed: u64,
    dropped: u64,
    turns: u64,
    waits: u64,
    wakes: u64,
    fd_callbacks: u64,
    notices: u64,
    run_times: Vec<(u64, u64)>,
    lateness: Vec<(u64, u64)>,
    samples: u64,
    places: Vec<PlaceLine>,
}

#[derive(Serialize)]
struct Now {
    kind: &'static str,
    place: Option<String>,
    for_ns: u64,
    is_exact: bool,
}

#[derive(Serialize)]
struct PlaceLine {
    kind: &'static str,
    place: Option<String>,
    seen: u64,
    longest_ns: u64,
}

pub(super) fn greeting() -> Vec<u8> {
    let program = env::args_os().next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    line(&Greeting { alooper_inspect: VERSION, process: process::id(), program })
}

pub(super) fn failure(error: &str) -> Vec<u8> {
    line(&Failure { error })
}

/// What `loopers` do, at `at` of the inspector's clock.
pub(super) fn report(at: Moment, loopers: &[Arc<Shared>], sampler: &Sampler) -> Vec<u8> {
    let states = loopers.iter().map(|shared| state(shared, sampler.seen_of(shared))).collect();
    line(&Report { at_ns: at.as_nanos().unsigned_abs(), loopers: states })
}

fn state<'a>(shared: &'a Arc<Shared>, seen: Option<&Seen>) -> State<'a> {
    let handle = LooperHandle::new(shared);
    let running = handle.running();
    let state = match &running {
        Some(_) => "runs",
        None if handle.has_quit() => "quit",
        None if handle.is_polling() => "waits",
        None => "away",
    };
    let thread = shared.activity.thread_id;
    let counts = shared.message_counts();
    let stats = handle.stats();
    State {
        id: shared.id.number(),
        name: shared.name.as_deref(),
        thread,
        thread_name: thread::name_of(thread),
        state,
        running: running.as_ref().map(Now::new),
        pending: counts.pending() as u64,
        most_pending: stats.queue_high_water,
        due_ns: due(shared),
        posted: counts.posted,
        run: counts.run,
        removed: counts.removed,
        dropped: counts.dropped,
        turns: stats.turns,
        waits: stats.waits,
        wakes: stats.wakes_sent,
        fd_callbacks: stats.fd_callbacks,
        notices: notices(&stats),
        run_times: buckets(&stats.run_times),
        lateness: buckets(&stats.lateness),
        samples: seen.map_or(0, |seen| seen.samples),
        places: seen.map_or_else(Vec::new, places),
    }
}

/// How long it is until the first message that may run is due: below zero if it is overdue, zero if it was posted at the
/// front.
fn due(shared: &Shared) -> Option<i64> {
    match shared.with_queue(|queue| queue.next_due())? {
        Moment::NEVER => None,
        Moment::FRONT => Some(0),
        due => Some(due.as_nanos().saturating_sub(shared.clock.now().as_nanos())),
    }
}

fn notices(stats: &Stats) -> u64 {
    let Stats { muted_fds, stuck_fds, stale_fds, ignored_idents, overdue_barriers, .. } = stats;
    muted_fds + stuck_fds + stale_fds + ignored_idents + overdue_barriers
}

/// Of each bucket that is not empty, what all in it are less than, and how many there are.
fn buckets(histogram: &Histogram) -> Vec<(u64, u64)> {
    let used = histogram.buckets().filter(|(_, count)| *count > 0);
    used.map(|(bound, count)| (nanos(bound), count)).collect()
}

/// Those that were seen most, first.
fn places(seen: &Seen) -> Vec<PlaceLine> {
    let mut places: Vec<_> = seen.places.iter().collect();
    places.sort_unstable_by_key(|(_, place)| Reverse((place.seen, place.longest)));
    let line = |((kind, origin), place): (&(RunningKind, Option<_>), &Place)| PlaceLine {
        kind: word(*kind),
        place: origin.map(|origin: &Location<'_>| origin.to_string()),
        seen: place.seen,
        longest_ns: nanos(place.longest),
    };
    places.into_iter().take(MOST_PLACES).map(line).collect()
}

impl Now {
    fn new(running: &Running) -> Now {
        Now {
            kind: word(running.kind),
            place: running.place.map(|place| place.to_string()),
            for_ns: nanos(running.lasted),
            is_exact: running.is_exact,
        }
    }
}

fn word(kind: RunningKind) -> &'static str {
    match kind {
        RunningKind::Message => "message",
        RunningKind::Fd => "fd",
        RunningKind::Idle => "idle",
        RunningKind::Hook => "hook",
        RunningKind::Task => "task",
        RunningKind::Other => "other",
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn line(value: &impl Serialize) -> Vec<u8> {
    // Nothing in these has a key that is no string, nor a `Serialize` that fails.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}
