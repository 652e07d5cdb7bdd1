//! Timers of 0 to 5 ms on the real clock: none early (C40), and at most two waits for one that is alone (C39).

use std::{cell::Cell, io, rc::Rc, thread, time::Duration};

use alooper::Looper;

use crate::{
    Failure,
    dice::Dice,
    plant::{self, Fault},
};

const LONGEST_NANOS: u64 = 5_000_000;
const MOST_WAITS: u64 = 2;
/// How much too early a planted timer is.
const PLANTED: Duration = Duration::from_secs(3600);
/// How many loopers have timers at the same time: they sleep nearly always.
const LOOPERS: u64 = 64;

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    timers: u64,
    early: u64,
    waits: u64,
    most_waits: u64,
    latest: Duration,
}

pub fn run(count: u64) -> Result<(), Failure> {
    let alone = alone(count)?;
    println!(
        "{} timers, each alone: {} early, {:.3} waits each, {} at most, {:?} late at most",
        alone.timers,
        alone.early,
        alone.waits as f64 / alone.timers.max(1) as f64,
        alone.most_waits,
        alone.latest
    );
    let together = together(count)?;
    println!(
        "{} timers of one looper: {} early, {:.3} waits each, {:?} late at most",
        together.timers,
        together.early,
        together.waits as f64 / together.timers.max(1) as f64,
        together.latest
    );
    if alone.early + together.early > 0 {
        return Err("a timer was early".into());
    }
    if alone.most_waits > MOST_WAITS || together.waits > MOST_WAITS * together.timers {
        return Err("a timer took more waits than two".into());
    }
    if (alone.timers, together.timers) != (count, count) {
        return Err("a timer is missing".into());
    }
    Ok(())
}

/// Each looper has one timer at a time.
fn alone(count: u64) -> io::Result<Seen> {
    thread::scope(|scope| {
        let loopers: Vec<_> = (0..LOOPERS)
            .map(|number| {
                let count = count / LOOPERS + u64::from(number < count % LOOPERS);
                scope.spawn(move || one_after_another(count, number))
            })
            .collect();
        let mut sum = Seen::default();
        for looper in loopers {
            let seen = looper.join().expect("a looper's thread ends")?;
            sum.timers += seen.timers;
            sum.early += seen.early;
            sum.waits += seen.waits;
            sum.most_waits = sum.most_waits.max(seen.most_waits);
            sum.latest = sum.latest.max(seen.latest);
        }
        Ok(sum)
    })
}

fn one_after_another(count: u64, seed: u64) -> io::Result<Seen> {
    let looper = Looper::new()?;
    let handle = looper.handle();
    let mut dice = Dice::of(39, seed);
    let seen = Rc::new(Cell::new(Seen::default()));
    // The first turn also gives back what making the looper took.
    looper.poll_once(Duration::from_millis(1))?;
    for _ in 0..count {
        post(&looper, &mut dice, &seen)?;
        let before = handle.stats().waits;
        while !looper.is_empty() {
            looper.poll_once(None)?;
        }
        let waits = handle.stats().waits - before;
        let so_far = seen.get();
        seen.set(Seen { waits: so_far.waits + waits, most_waits: so_far.most_waits.max(waits), ..so_far });
    }
    Ok(seen.get())
}

/// One looper has all of them, a burst after the other.
fn together(count: u64) -> io::Result<Seen> {
    const BURST: u64 = 1000;
    let looper = Looper::new()?;
    let handle = looper.handle();
    let mut dice = Dice::of(40, 0);
    let seen = Rc::new(Cell::new(Seen::default()));
    let mut left = count;
    while left > 0 {
        let burst = left.min(BURST);
        for _ in 0..burst {
            post(&looper, &mut dice, &seen)?;
        }
        while !looper.is_empty() {
            looper.poll_once(None)?;
        }
        left -= burst;
    }
    Ok(Seen { waits: handle.stats().waits, ..seen.get() })
}

fn post(looper: &Looper, dice: &mut Dice, seen: &Rc<Cell<Seen>>) -> io::Result<()> {
    let delay = Duration::from_nanos(dice.below(LONGEST_NANOS));
    let planted = if plant::is_due(Fault::Early) { PLANTED } else { Duration::ZERO };
    let (due, seen) = (looper.now() + delay + planted, seen.clone());
    looper.post_delayed(delay, move |looper| {
        let now = looper.now();
        let so_far = seen.get();
        seen.set(Seen {
            timers: so_far.timers + 1,
            early: so_far.early + u64::from(now < due),
            latest: so_far.latest.max(now.saturating_duration_since(due)),
            ..so_far
        });
    })?;
    Ok(())
}
