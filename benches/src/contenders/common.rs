//! What the workloads are made of, the same for all contenders.

use std::{
    ops::Range,
    rc::Rc,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    sys::{
        eventfd::{EfdFlags, EventFd},
        resource::{Resource, getrlimit, setrlimit},
    },
    unistd::Pid,
};

use crate::{
    dice::Dice,
    meter::{Meter, Sample, timed},
    tally::{Round, Tally},
};

/// How many messages a thread posts in W2.
pub const FLOOD: usize = 250_000;
/// How many handlers X2 has.
pub const HANDLERS: usize = 10_000;
/// How many pairs of W6 a repetition has.
pub const CHURN: usize = 500;
const HOUR: Duration = Duration::from_secs(3600);

pub fn eventfd() -> Rc<EventFd> {
    Rc::new(plain_eventfd())
}

/// One that does not block.
pub fn plain_eventfd() -> EventFd {
    EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC).expect("an eventfd is made")
}

/// Makes eventfds that are not ready, after allowing that many.
pub fn eventfds(count: usize) -> Vec<Rc<EventFd>> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit can be read");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("the limit can be raised");
    (0..count).map(|_| eventfd()).collect()
}

/// Reads an eventfd that was made ready once.
#[inline]
pub fn read(fd: &EventFd) {
    assert_eq!(fd.read(), Ok(1));
}

/// Delays from one hour to a hundred: none comes due while it is measured, no two are alike.
pub fn far_delays(count: usize) -> Vec<Duration> {
    let mut dice = Dice::new();
    (0..count).map(|_| HOUR + Duration::from_nanos(dice.below(99 * HOUR.as_nanos() as u64))).collect()
}

/// Deadlines relative to the beginning of the insertions, in random order.
pub fn near_delays(count: usize, due: &Range<Duration>) -> Vec<Duration> {
    let mut dice = Dice::new();
    let spread = (due.end - due.start).as_nanos() as u64;
    (0..count).map(|_| due.start + Duration::from_nanos(dice.below(spread))).collect()
}

/// Blocks until all deadlines of [`near_delays`] have passed, and proves that none has been served before.
pub fn await_near_delays(begin: Instant, due: &Range<Duration>, tally: &Tally) {
    // Tokio counts whole milliseconds and rounds up.
    let end = begin + due.end + Duration::from_millis(3);
    thread::sleep(end.saturating_duration_since(Instant::now()));
    assert_eq!(tally.count(), 0, "timers were fired while others were inserted");
}

/// W2: each of `posts` posts from a thread of its own, while `drain` runs them on this thread.
pub fn flood(posts: Vec<impl Fn(u64) + Send>, tally: &Tally, drain: impl FnOnce(u64)) -> Round {
    let count = (posts.len() * FLOOD) as u64;
    let took = let_go(posts, FLOOD, || drain(count));
    tally.settle_below(took, count)
}

/// How many hops X7 has.
pub const HOPS: u64 = 300_000;

/// Ends what goes on for as long as this lives.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// X7: measures `chain` while another thread does `ask` without end.
pub fn questioned(tally: &Tally, ask: impl Fn() + Send, chain: impl FnOnce()) -> Round {
    let (is_over, gate) = (&AtomicBool::new(false), &Barrier::new(2));
    let took = thread::scope(|scope| {
        scope.spawn(move || {
            gate.wait();
            while !is_over.load(Relaxed) {
                ask();
            }
        });
        gate.wait();
        let _end = End(is_over);
        timed(chain)
    });
    tally.settle_below(took, HOPS)
}

/// Starts a thread for each of `posts`, lets them go at once to post `each` values, and measures `drain` from then on.
pub fn let_go(posts: Vec<impl Fn(u64) + Send>, each: usize, drain: impl FnOnce()) -> Duration {
    let gate = &Barrier::new(posts.len() + 1);
    thread::scope(|scope| {
        for (index, post) in posts.into_iter().enumerate() {
            scope.spawn(move || {
                gate.wait();
                gate.wait();
                (index * each..(index + 1) * each).for_each(|value| post(value as u64));
            });
        }
        // They have all come, so that the time does not begin after some of them have gone.
        gate.wait();
        let start = Instant::now();
        gate.wait();
        drain();
        start.elapsed()
    })
}

/// Which fds of W5 are made ready: at most 100 in a turn, evenly spread, other ones in each turn.
pub struct ReadyFds {
    pub fds: Vec<Rc<EventFd>>,
    /// How many are ready in a turn.
    pub ready: usize,
}

impl ReadyFds {
    pub fn new(count: usize) -> ReadyFds {
        ReadyFds { fds: eventfds(count), ready: count.min(100) }
    }

    /// How many turns a repetition has.
    pub fn turns(&self) -> usize {
        (2_000 / self.ready).min(500)
    }

    /// Gives the sum of the numbers of those that are ready now.
    pub fn make_ready(&self, turn: usize) -> u64 {
        let indices = (0..self.ready).map(|nth| (turn + nth * (self.fds.len() / self.ready)) % self.fds.len());
        indices.fold(0, |sum, index| {
            self.fds[index].write(1).expect("an eventfd is written");
            sum + index as u64
        })
    }

    /// W5: `turn` is told which count the tally is to reach. Making fds ready is not in the time.
    pub fn measure(&self, meter: &Meter, tally: &Tally, mut turn: impl FnMut(u64)) -> Sample {
        let count = self.turns() * self.ready;
        meter.repeat(count, || {
            let (mut sum, mut took) = (0, Duration::ZERO);
            for number in 0..self.turns() {
                sum += self.make_ready(number);
                took += timed(|| turn(((number + 1) * self.ready) as u64));
            }
            tally.settle(took, count as u64, sum)
        })
    }
}

/// Runs `work`, and the threads that it starts, on one core.
pub fn one_core<T>(work: impl FnOnce() -> T) -> T {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).expect("the affinity can be read");
    let core = (0..CpuSet::count()).rfind(|core| allowed.is_set(*core) == Ok(true)).expect("a core is allowed");
    let mut one = CpuSet::new();
    one.set(core).expect("the core exists");
    sched_setaffinity(this, &one).expect("the affinity can be set");
    work()
}
