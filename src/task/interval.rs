//! Ticks at equal distances.

use std::{
    future::poll_fn,
    panic::Location,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use futures_core::Stream;

use crate::{
    looper::{Looper, handle::LooperHandle, repeat::MissedTicks},
    task::sleep::Sleep,
};

/// Ticks every period. Made by [`Looper::interval`].
///
/// Await [`tick`](Interval::tick), or use it as a [`Stream`] of the times at which the ticks were due, which ends when
/// the looper has quit. Each tick is a message of its own, as a [`Sleep`] is.
#[derive(Debug)]
#[must_use = "an interval does nothing unless it is awaited"]
pub struct Interval {
    next: Sleep,
    period: Duration,
    missed: MissedTicks,
}

impl Interval {
    fn new(next: Sleep, period: Duration, missed: MissedTicks) -> Interval {
        Interval { next, period, missed }
    }

    /// Waits for the next tick, and gives the time at which it was due.
    ///
    /// Dropping it before that loses no tick.
    pub async fn tick(&mut self) -> Instant {
        poll_fn(|context| self.poll_tick(context)).await
    }

    /// As [`tick`](Interval::tick), polled.
    pub fn poll_tick(&mut self, context: &mut Context<'_>) -> Poll<Instant> {
        ready!(Pin::new(&mut self.next).poll(context));
        let due = self.next.moment();
        let now = self.next.shared().clock.now();
        self.next.reset(self.missed.next(due, self.period, now));
        Poll::Ready(due.to_instant())
    }

    /// The time between two ticks.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period
    }
}

impl Stream for Interval {
    type Item = Instant;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Instant>> {
        match self.poll_tick(context) {
            Poll::Pending if self.next.shared().closed().is_some() => Poll::Ready(None),
            tick => tick.map(Some),
        }
    }
}

impl Looper {
    /// Ticks every `period`, for the first time one period from now. `missed` says what becomes of ticks that nobody
    /// awaited in time.
    ///
    /// The ticks are due at whole periods from now, however late each one is, unless `missed` is
    /// [`MissedTicks::Delay`]. A period of zero ticks again and again, as part of the turn's budget.
    ///
    /// # Examples
    /// ```
    /// # use alooper::{Looper, MissedTicks};
    /// # use std::time::Duration;
    /// # fn main() -> std::io::Result<()> {
    /// let looper = Looper::new()?;
    /// let mut interval = looper.interval(Duration::from_millis(1), MissedTicks::Burst);
    ///
    /// let apart = looper.block_on(async {
    ///     let first = interval.tick().await;
    ///     interval.tick().await - first
    /// })?;
    ///
    /// assert_eq!(apart, Duration::from_millis(1));
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn interval(&self, period: Duration, missed: MissedTicks) -> Interval {
        let first = self.clock().now().after(period);
        Interval::new(Sleep::new(self.shared(), first, false, Location::caller()), period, missed)
    }
}

impl LooperHandle {
    /// As [`Looper::interval`]. On a handle that is [`asynchronous`](LooperHandle::asynchronous), no barrier holds it up.
    #[track_caller]
    pub fn interval(&self, period: Duration, missed: MissedTicks) -> Interval {
        let first = self.shared.clock.now().after(period);
        Interval::new(Sleep::new(&self.shared, first, self.asynchronous, Location::caller()), period, missed)
    }
}
