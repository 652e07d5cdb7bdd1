//! What time is it: the system's monotonic clock, or one that a test moves.
//!
//! Inside the library a time is a [`Moment`], nanoseconds on one axis for the whole process; users see `Instant` and
//! `Duration`. This folder alone reads time: `wall` has the wall clock.

#[cfg(feature = "wall-clock")]
pub(crate) mod wall;

#[cfg(any(test, feature = "testing", alooper_fuzz))]
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering},
};
use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Where the axis of all moments has its zero: the first use of the clock in this process.
static ORIGIN: LazyLock<Instant> = LazyLock::new(read_system_clock);

/// Begins the axis, and finds out how the clocks are read, unless that was done.
pub(crate) fn begin() {
    LazyLock::force(&ORIGIN);
    LazyLock::force(&ZERO);
    LazyLock::force(&COARSE);
}

/// A point in time, in nanoseconds since [`ORIGIN`]; `i64` reaches 292 years to both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Moment(i64);

impl Moment {
    /// Before every time that a clock can show: where at-front messages stand.
    pub(crate) const FRONT: Moment = Moment(i64::MIN);
    /// The earliest moment that stands for a time. What lies further back is this moment.
    pub(crate) const EARLIEST: Moment = Moment(i64::MIN + 1);
    /// After every time that a clock can show: a deadline that does not come.
    pub(crate) const NEVER: Moment = Moment(i64::MAX);

    /// The moment in nanoseconds, for an atomic.
    pub(crate) const fn as_nanos(self) -> i64 {
        self.0
    }

    /// The moment that [`as_nanos`](Moment::as_nanos) said.
    pub(crate) const fn from_nanos(nanos: i64) -> Moment {
        Moment(nanos)
    }

    /// The moment `delay` later; [`Moment::NEVER`] when that overflows.
    #[inline]
    pub(crate) fn after(self, delay: Duration) -> Moment {
        let later = nanos_in(delay).and_then(|nanos| self.0.checked_add(nanos));
        later.map_or(Moment::NEVER, Moment)
    }

    /// How long it is from this moment until `later`; zero when `later` has passed.
    pub(crate) fn until(self, later: Moment) -> Duration {
        Duration::from_nanos(later.nanos_since(self))
    }

    /// How many nanoseconds after `earlier` this moment is; zero if it is not.
    #[inline]
    pub(crate) fn nanos_since(self, earlier: Moment) -> u64 {
        if self > earlier { self.0.abs_diff(earlier.0) } else { 0 }
    }

    /// The first moment that is a whole number of `period`s later, at least one, and is after `now`; `now` if the period
    /// is zero.
    pub(crate) fn next_on_grid(self, period: Duration, now: Moment) -> Moment {
        let next = self.after(period);
        if period.is_zero() {
            return next.max(now);
        }
        if next > now {
            return next;
        }
        let behind = next.until(now).as_nanos();
        let periods = behind / period.as_nanos() + 1;
        let skipped = u64::try_from(periods * period.as_nanos()).map_or(Duration::MAX, Duration::from_nanos);
        next.after(skipped)
    }

    /// The moment as users see it. What no `Instant` can say is the nearest that one can.
    #[inline]
    pub(crate) fn to_instant(self) -> Instant {
        let origin = *ORIGIN;
        let later = u64::try_from(self.0).ok().and_then(|later| origin.checked_add(Duration::from_nanos(later)));
        later.unwrap_or_else(|| self.to_instant_of_the_past(origin))
    }

    #[cold]
    fn to_instant_of_the_past(self, origin: Instant) -> Instant {
        let earlier = Duration::from_nanos(self.0.min(0).unsigned_abs());
        origin.checked_sub(earlier).unwrap_or(origin)
    }

    fn from_instant(instant: Instant) -> Moment {
        let origin = *ORIGIN;
        match instant.checked_duration_since(origin) {
            Some(later) => Moment(0).after(later),
            None => {
                let earlier = origin.saturating_duration_since(instant).as_nanos();
                i64::try_from(earlier).map_or(Moment::EARLIEST, |nanos| Moment(-nanos))
            }
        }
    }
}

/// The clock of a looper.
#[derive(Clone, Debug)]
pub(crate) enum Clock {
    /// `CLOCK_MONOTONIC`, as `std::time::Instant` reads it.
    System,
    /// Stands still until a test, or the fake kernel's sleep, moves it.
    #[cfg(any(test, feature = "testing", alooper_fuzz))]
    Virtual(Arc<VirtualClock>),
}

impl Clock {
    /// The time now, for comparing with deadlines.
    #[inline]
    pub(crate) fn now(&self) -> Moment {
        match self {
            Clock::System => precise_now(),
            #[cfg(any(test, feature = "testing", alooper_fuzz))]
            Clock::Virtual(_) => Moment::from_instant(self.instant()),
        }
    }

    /// The time now, for users.
    pub(crate) fn instant(&self) -> Instant {
        match self {
            Clock::System => read_system_clock(),
            #[cfg(any(test, feature = "testing", alooper_fuzz))]
            Clock::Virtual(clock) => *ORIGIN + Duration::from_nanos(clock.elapsed()),
        }
    }

    /// About what time it is, for a quarter of what reading the clock costs: no earlier than the first moment, no later
    /// than the second.
    pub(crate) fn about_now(&self) -> (Moment, Moment) {
        match self {
            Clock::System => Coarse::now().unwrap_or_else(|| {
                let now = self.now();
                (now, now)
            }),
            #[cfg(any(test, feature = "testing", alooper_fuzz))]
            Clock::Virtual(_) => (self.now(), self.now()),
        }
    }

    /// Whether a tick of the coarse clock lies between `moment` and now, which takes a quarter of reading the clock. A
    /// test's clock stands still otherwise.
    #[inline]
    pub(crate) fn has_ticked_since(&self, moment: Moment) -> bool {
        match self {
            Clock::System => Coarse::now().is_none_or(|(least, _)| least > moment),
            #[cfg(any(test, feature = "testing", alooper_fuzz))]
            Clock::Virtual(_) => self.now() != moment,
        }
    }

    /// Whether a wait moves it to its deadline, and does not sleep until then.
    pub(crate) fn advances_by_itself(&self) -> bool {
        match self {
            Clock::System => false,
            #[cfg(any(test, feature = "testing", alooper_fuzz))]
            Clock::Virtual(clock) => clock.auto_advance.load(Ordering::Relaxed),
        }
    }

    /// Whether it moves only when told.
    pub(crate) fn is_virtual(&self) -> bool {
        match self {
            Clock::System => false,
            #[cfg(any(test, feature = "testing", alooper_fuzz))]
            Clock::Virtual(_) => true,
        }
    }

    /// Moves it to `moment`, if it moves when told.
    pub(crate) fn skip_to(&self, moment: Moment) {
        match self {
            Clock::System => {}
            #[cfg(any(test, feature = "testing", alooper_fuzz))]
            Clock::Virtual(clock) => clock.advance_to(moment),
        }
        #[cfg(not(any(test, feature = "testing", alooper_fuzz)))]
        let _ = moment;
    }

    /// The moment that the user's `instant` names.
    pub(crate) fn moment(&self, instant: Instant) -> Moment {
        Moment::from_instant(instant)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
fn read_system_clock() -> Instant {
    Instant::now()
}

/// What the system's clock shows now.
#[inline]
fn precise_now() -> Moment {
    if let Some(zero) = *ZERO
        && let Some(shown) = shown_by(ClockId::Monotonic)
    {
        return Moment(shown - zero);
    }
    // Before the clock is read, so that what it shows is not earlier.
    let origin = *ORIGIN;
    Moment(0).after(read_system_clock().saturating_duration_since(origin))
}

/// What `CLOCK_MONOTONIC` shows at [`ORIGIN`], to the nanosecond: with it, the clock is read without an `Instant`, whose
/// arithmetic takes longer than the kernel's look at the clock. `None` if an `Instant` is something else on this system.
static ZERO: LazyLock<Option<i64>> = LazyLock::new(|| {
    let before = shown_by(ClockId::Monotonic)?;
    let instant = read_system_clock();
    let after = shown_by(ClockId::Monotonic)?;
    Some(shown_at(instant, before, after)? - Moment::from_instant(instant).0)
});

/// What the clock showed at `instant`, which lies between what it showed `before` and `after`; `None` if that is not
/// so.
///
/// An `Instant` hides its number. This searches for the longest span that `checked_add` accepts: the kernel's latest
/// time without that span is the number.
fn shown_at(instant: Instant, before: i64, after: i64) -> Option<i64> {
    let latest = Duration::new(i64::MAX.cast_unsigned(), 999_999_999);
    let fits = |shown: i64| {
        let missing = u64::try_from(shown).ok().map(|shown| latest - Duration::from_nanos(shown));
        missing.is_some_and(|missing| instant.checked_add(missing).is_some())
    };
    let (mut low, mut high) = (before - 1, after);
    if fits(low) || !fits(high) {
        return None;
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        *(if fits(middle) { &mut high } else { &mut low }) = middle;
    }
    Some(high)
}

/// The system's coarse clock, which the kernel moves with its timer ticks, and which costs a quarter of the precise
/// one.
struct Coarse {
    /// What `CLOCK_MONOTONIC` shows at [`ORIGIN`] at least, and at most.
    origin: (i64, i64),
}

/// By how much the coarse clock lags at most. The kernel promises no bound: four ticks have been seen where other
/// guests take the CPU that keeps the time. This is far beyond that.
const COARSE_LAG: i64 = 1_000_000_000;

/// `None` if its numbers are beyond the axis.
static COARSE: LazyLock<Option<Coarse>> = LazyLock::new(|| {
    let before = Moment::from_instant(read_system_clock());
    let shown = shown_by(ClockId::Monotonic)?;
    let after = Moment::from_instant(read_system_clock());
    Some(Coarse { origin: (shown - after.0, shown - before.0) })
});

impl Coarse {
    /// A moment that is not after now, and one that is not before.
    fn now() -> Option<(Moment, Moment)> {
        let coarse = COARSE.as_ref()?;
        Some(coarse.around(shown_by(ClockId::MonotonicCoarse)?))
    }

    /// What [`now`](Coarse::now) is when the clock shows this.
    fn around(&self, shown: i64) -> (Moment, Moment) {
        let (least, most) = self.origin;
        (Moment(shown - most), Moment(shown - least + COARSE_LAG))
    }
}

/// The length of a time, unless it is longer than the axis.
#[inline]
fn nanos_in(duration: Duration) -> Option<i64> {
    // In less time than `as_nanos`, which has 128 bits.
    i64::try_from(duration.as_secs()).ok()?.checked_mul(1_000_000_000)?.checked_add(i64::from(duration.subsec_nanos()))
}

/// What `clock` shows, in nanoseconds.
#[inline]
fn shown_by(clock: ClockId) -> Option<i64> {
    nanos_of(clock_gettime(clock))
}

fn nanos_of(time: Timespec) -> Option<i64> {
    time.tv_sec.checked_mul(1_000_000_000)?.checked_add(time.tv_nsec)
}

/// A clock that moves only when told.
#[cfg(any(test, feature = "testing", alooper_fuzz))]
#[derive(Debug)]
pub(crate) struct VirtualClock {
    /// Nanoseconds since [`ORIGIN`]; only ever grows, so that no reader sees time go back.
    elapsed: AtomicI64,
    /// A wait that would sleep moves it. Written and read by the test's thread.
    auto_advance: AtomicBool,
    /// What the wall clock shows at [`ORIGIN`], in nanoseconds since 1970. Written by the test's thread.
    #[cfg(feature = "wall-clock")]
    wall_at_origin: AtomicI64,
    /// How long the machine was suspended, in nanoseconds. Written by the test's thread.
    #[cfg(feature = "wall-clock")]
    suspended: AtomicI64,
    /// How often it was read.
    #[cfg(any(test, alooper_fuzz))]
    readings: AtomicI64,
}

#[cfg(any(test, feature = "testing", alooper_fuzz))]
impl VirtualClock {
    /// A clock that starts an hour after the origin, so that tests can also name the past.
    pub(crate) fn new() -> Arc<VirtualClock> {
        Arc::new(VirtualClock {
            elapsed: AtomicI64::new(3_600_000_000_000),
            auto_advance: AtomicBool::new(true),
            #[cfg(feature = "wall-clock")]
            wall_at_origin: AtomicI64::new(wall::VIRTUAL_START),
            #[cfg(feature = "wall-clock")]
            suspended: AtomicI64::new(0),
            #[cfg(any(test, alooper_fuzz))]
            readings: AtomicI64::new(0),
        })
    }

    fn elapsed(&self) -> u64 {
        #[cfg(any(test, alooper_fuzz))]
        self.readings.fetch_add(1, Ordering::Relaxed);
        u64::try_from(self.elapsed.load(Ordering::Acquire)).unwrap_or(0)
    }

    /// Sets whether a wait moves it; gives what was set before.
    #[cfg(feature = "testing")]
    pub(crate) fn set_auto_advance(&self, on: bool) -> bool {
        self.auto_advance.swap(on, Ordering::Relaxed)
    }

    /// Moves the clock to `moment`, unless it is there already.
    pub(crate) fn advance_to(&self, moment: Moment) {
        self.elapsed.fetch_max(moment.0, Ordering::AcqRel);
    }

    /// How often it was read.
    #[cfg(any(test, alooper_fuzz))]
    pub(crate) fn readings(&self) -> i64 {
        self.readings.load(Ordering::Relaxed)
    }

    /// Moves the clock by `delay`.
    #[cfg(any(test, alooper_fuzz))]
    pub(crate) fn advance(&self, delay: Duration) {
        self.advance_to(Moment(self.elapsed.load(Ordering::Acquire)).after(delay));
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use super::*;

    #[test]
    fn m4_a_delay_that_overflows_is_never() {
        let now = Clock::System.now();

        assert_eq!(now.after(Duration::MAX), Moment::NEVER);
        assert_eq!(Moment::NEVER.after(Duration::from_secs(1)), Moment::NEVER);
    }

    #[test]
    fn m1_past_instants_sort_by_their_time() {
        let now = Clock::System.instant();
        let past = now.checked_sub(Duration::from_secs(5)).unwrap();

        assert!(Moment::from_instant(past) < Moment::from_instant(now));
        assert!(Moment::from_instant(past) > Moment::FRONT);
        assert_eq!(Moment::from_instant(past).until(Moment::from_instant(now)), Duration::from_secs(5));
    }

    #[test]
    fn m13_a_grid_does_not_drift_and_skips_what_was_missed() {
        let start = Clock::System.now();
        let ms = |count| start.after(Duration::from_millis(count));
        let period = Duration::from_millis(10);

        assert_eq!(start.next_on_grid(period, ms(3)), ms(10), "late by less than a period");
        assert_eq!(start.next_on_grid(period, ms(10)), ms(20), "late by a period exactly: one was missed");
        assert_eq!(start.next_on_grid(period, ms(35)), ms(40), "two were missed");
        assert_eq!(start.next_on_grid(period, ms(40)), ms(50), "three were missed");
        assert_eq!(start.next_on_grid(Duration::ZERO, ms(3)), ms(3));
        assert_eq!(start.next_on_grid(Duration::MAX, ms(3)), Moment::NEVER);
    }

    /// W1, M2: what is told in `Instant`s and what is measured without them are of one clock.
    #[test]
    fn w1_the_clock_shows_what_instants_show_to_the_nanosecond() {
        assert!(ZERO.is_some());
        for _ in 0..1000 {
            let before = Moment::from_instant(read_system_clock());
            let now = Clock::System.now();
            let after = Moment::from_instant(read_system_clock());

            assert!(before <= now && now <= after, "{before:?} {now:?} {after:?}");
        }
    }

    #[test]
    fn what_an_instant_shows_is_found_or_nothing_is() {
        let instant = read_system_clock();
        let shown = shown_at(instant, 1, i64::MAX).unwrap();

        assert_eq!(shown_at(instant, shown, shown), Some(shown));
        assert_eq!(shown_at(instant, shown - 3, shown + 5), Some(shown));
        assert_eq!(shown_at(instant + Duration::from_nanos(7), shown, shown + 9), Some(shown + 7));
        assert_eq!(shown_at(instant, shown - 9, shown - 1), None);
        assert_eq!(shown_at(instant, shown + 1, shown + 9), None);
    }

    /// M2: a post without a delay is spared the clock only if nothing can have become due.
    #[test]
    fn m2_about_now_is_about_now() {
        for _ in 0..1000 {
            let before = Clock::System.now();
            let (least, most) = Clock::System.about_now();
            let after = Clock::System.now();

            assert!(least <= after && most >= before);
            assert!(least.after(Duration::from_secs(1)) > before && most < after.after(Duration::from_secs(2)));
        }
    }

    /// M2: as above, however long ago the origin was.
    #[test]
    fn m2_about_now_is_as_far_off_as_the_origin_is_uncertain_and_the_coarse_clock_lags() {
        let coarse = Coarse { origin: (7_000, 7_010) };

        let (least, most) = coarse.around(60_000_000_000);

        assert_eq!((least, most), (Moment(59_999_992_990), Moment(60_999_993_000)));
    }

    /// M2: as above, however long the machine has run.
    #[test]
    fn m2_what_the_coarse_clock_shows_is_taken_to_the_nanosecond() {
        assert_eq!(nanos_of(Timespec { tv_sec: 3, tv_nsec: 4 }), Some(3_000_000_004));
        assert_eq!(nanos_of(Timespec { tv_sec: i64::MAX / 1_000_000_000 + 1, tv_nsec: 0 }), None);
    }

    #[test]
    fn the_virtual_clock_moves_only_when_told() {
        let clock = VirtualClock::new();
        let reader = Clock::Virtual(clock.clone());
        let before = reader.now();

        clock.advance(Duration::from_nanos(7));

        assert_eq!(before.until(reader.now()), Duration::from_nanos(7));
        clock.advance_to(before);
        assert_eq!(before.until(reader.now()), Duration::from_nanos(7));
    }
}
