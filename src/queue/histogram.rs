//! How long things took, in powers of two: counted without an allocation, and read from any thread.

use std::{array, time::Duration};

use crate::queue::account::Counter;

/// How many buckets there are.
const BUCKETS: usize = 32;
/// The first bucket ends at two to the power of this, in nanoseconds: what a reading of the clock can tell apart.
const FIRST: u32 = 7;

/// How many durations there were of each magnitude: see [`Stats`](crate::Stats).
///
/// There are 32 buckets. The first counts what took less than 128 ns, each further one what took up to twice as long as
/// that before it, and the last one all that took longer than two minutes.
///
/// # Examples
/// ```
/// # use alooper::Looper;
/// # fn main() -> std::io::Result<()> {
/// let looper = Looper::builder().timed(true).build()?;
/// looper.post(|_| ())?;
/// looper.poll_once(None)?;
///
/// let run_times = looper.stats().run_times;
/// assert_eq!(run_times.total(), 1);
/// println!("half of all callbacks took less than {:?}", run_times.quantile(0.5));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
}

impl Histogram {
    /// How many durations there were of each magnitude, with what all of them are less than. The last bucket has no
    /// such bound, and says `Duration::MAX`.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        self.counts.iter().enumerate().map(|(bucket, count)| (bound(bucket), *count))
    }

    /// How many durations there were.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The bound that a `share` of all durations is below, such as 0.99: exact to a factor of two. `None` if there were
    /// none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = (self.total() as f64 * share.clamp(0.0, 1.0)).ceil().max(1.0) as u64;
        let mut seen = 0;
        self.buckets().find_map(|(bound, count)| {
            seen += count;
            (seen >= rank).then_some(bound)
        })
    }
}

fn bound(bucket: usize) -> Duration {
    if bucket + 1 < BUCKETS { Duration::from_nanos(1 << (FIRST + bucket as u32)) } else { Duration::MAX }
}

/// A histogram with one writer at a time.
#[derive(Debug)]
pub(crate) struct Recorder {
    counts: [Counter; BUCKETS],
}

impl Default for Recorder {
    fn default() -> Self {
        Recorder { counts: array::from_fn(|_| Counter::default()) }
    }
}

impl Recorder {
    pub(crate) fn add(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bits = u64::BITS - nanos.leading_zeros();
        let bucket = (bits.saturating_sub(FIRST) as usize).min(BUCKETS - 1);
        self.counts[bucket].add(1);
    }

    pub(crate) fn read(&self) -> Histogram {
        Histogram { counts: array::from_fn(|bucket| self.counts[bucket].get()) }
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use super::*;

    #[test]
    fn w10_each_duration_is_below_the_bound_of_its_bucket_and_not_below_the_one_before() {
        for nanos in [0, 1, 127, 128, 129, 255, 256, 1_000_000, (1 << 37) - 1, 1 << 37, u64::MAX] {
            let recorder = Recorder::default();
            let duration = Duration::from_nanos(nanos);
            recorder.add(duration);

            let buckets: Vec<_> = recorder.read().buckets().collect();
            let bucket = buckets.iter().position(|(_, count)| *count == 1).unwrap();

            assert!(duration < buckets[bucket].0, "{nanos}");
            assert!(bucket == 0 || duration >= buckets[bucket - 1].0, "{nanos}");
        }
    }

    #[test]
    fn w10_a_quantile_is_the_bound_that_so_many_are_below() {
        let recorder = Recorder::default();
        assert_eq!(recorder.read().quantile(0.5), None);
        for nanos in [100, 100, 100, 1000] {
            recorder.add(Duration::from_nanos(nanos));
        }
        let histogram = recorder.read();

        let bounds = [0.0, 0.5, 0.75, 0.76, 1.0].map(|share| histogram.quantile(share).unwrap().as_nanos());
        assert_eq!((histogram.total(), bounds), (4, [128, 128, 128, 1024, 1024]));
    }
}
