//! The two clocks beside the monotonic one: the wall clock, which somebody may set, and the one that counts suspend.
//!
//! A time on one of them becomes a moment by what the clocks show now. When they have leapt, it becomes another one.

#[cfg(feature = "testing")]
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use rustix::time::ClockId;

use super::{Clock, Moment, nanos_in, shown_by};

/// What a test's wall clock shows at the origin: the first second of 2020, in nanoseconds since 1970.
#[cfg(any(test, feature = "testing", alooper_fuzz))]
pub(super) const VIRTUAL_START: i64 = 1_577_836_800_000_000_000;

/// A time on a clock that can leap against the monotonic one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LeapTime {
    /// Of `CLOCK_REALTIME`.
    Wall(SystemTime),
    /// Of `CLOCK_BOOTTIME`: since the machine was started, suspend included.
    Boot(Duration),
}

impl Clock {
    /// The time on the wall.
    pub(crate) fn wall_time(&self) -> SystemTime {
        match self {
            Clock::System => SystemTime::now(),
            #[cfg(any(test, feature = "testing", alooper_fuzz))]
            Clock::Virtual(clock) => clock.wall_time(),
        }
    }

    /// For how long the machine has run, suspend included.
    pub(crate) fn boot_time(&self) -> Duration {
        match self {
            Clock::System => duration_of(shown_by(ClockId::Boottime).unwrap_or(i64::MAX)),
            #[cfg(any(test, feature = "testing", alooper_fuzz))]
            Clock::Virtual(clock) => clock.boot_time(),
        }
    }

    /// The moment at which `time` comes, if no clock leaps until then.
    pub(crate) fn moment_of(&self, time: LeapTime) -> Moment {
        // First, so that a pause between the two makes it too early, which is noticed, and not too late.
        let now = self.now();
        match self.until(time) {
            Ok(rest) => now.after(rest),
            Err(past) => now.before(past),
        }
    }

    /// Whether `time` has come.
    pub(crate) fn has_reached(&self, time: LeapTime) -> bool {
        self.until(time).map_or(true, |rest| rest.is_zero())
    }

    /// How long it is until `time`, or how long ago it was.
    fn until(&self, time: LeapTime) -> Result<Duration, Duration> {
        match time {
            LeapTime::Wall(time) => time.duration_since(self.wall_time()).map_err(|error| error.duration()),
            LeapTime::Boot(time) => {
                let now = self.boot_time();
                time.checked_sub(now).ok_or_else(|| now.saturating_sub(time))
            }
        }
    }
}

impl Moment {
    /// The moment `delay` earlier.
    fn before(self, delay: Duration) -> Moment {
        let earlier = nanos_in(delay).and_then(|nanos| self.0.checked_sub(nanos));
        earlier.map_or(Moment::EARLIEST, |nanos| Moment(nanos).max(Moment::EARLIEST))
    }
}

fn duration_of(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

#[cfg(any(test, feature = "testing", alooper_fuzz))]
impl super::VirtualClock {
    fn wall_time(&self) -> SystemTime {
        use std::sync::atomic::Ordering::Acquire;
        let nanos = self.wall_at_origin.load(Acquire).saturating_add(self.elapsed.load(Acquire));
        let distance = Duration::from_nanos(nanos.unsigned_abs());
        if nanos < 0 { SystemTime::UNIX_EPOCH - distance } else { SystemTime::UNIX_EPOCH + distance }
    }

    fn boot_time(&self) -> Duration {
        use std::sync::atomic::Ordering::Acquire;
        duration_of(self.elapsed.load(Acquire).saturating_add(self.suspended.load(Acquire)))
    }

    /// Sets the wall clock; what cannot be said in 64 bits of nanoseconds is the nearest that can.
    #[cfg(feature = "testing")]
    pub(crate) fn set_wall_time(&self, time: SystemTime) {
        let nanos = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => nanos_in(since).unwrap_or(i64::MAX),
            Err(error) => nanos_in(error.duration()).map_or(i64::MIN, |nanos| -nanos),
        };
        self.wall_at_origin.store(nanos.saturating_sub(self.elapsed.load(Ordering::Acquire)), Ordering::Release);
    }

    /// Lets the other two clocks go on by `duration`, and the monotonic one stand.
    #[cfg(feature = "testing")]
    pub(crate) fn suspend(&self, duration: Duration) {
        let nanos = nanos_in(duration).unwrap_or(i64::MAX);
        for clock in [&self.wall_at_origin, &self.suspended] {
            let later = |shown: i64| Some(shown.saturating_add(nanos));
            _ = clock.fetch_update(Ordering::AcqRel, Ordering::Acquire, later);
        }
    }
}
