//! What X4 consists of: repeating timers, fds, and closures of a posting thread, some of which make an fd ready.

use std::{
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use nix::sys::eventfd::EventFd;

use super::common::{let_go, plain_eventfd};
use crate::{
    meter::{Meter, Sample},
    tally::{Round, Tally, sum_below},
};

pub const TIMERS: usize = 1_000;
pub const FDS: usize = 1_000;
/// Each so-manieth closure makes an fd ready.
const READY: u64 = 10;

/// The callbacks, and the proof that they ran. Its methods are called on the loop's thread.
pub struct Mixture {
    fds: Vec<EventFd>,
    /// How many closures are posted in a repetition.
    count: u64,
    closures: Tally,
    /// How often fds were made ready, as was read from them.
    events: Tally,
    timers: Tally,
}

/// From 1 to 10 ms, so that about 250 come due in a millisecond.
pub fn period(timer: usize) -> Duration {
    Duration::from_micros(1_000 + (timer as u64 * 7_919) % 9_000)
}

impl Mixture {
    pub fn leak(count: usize) -> &'static Mixture {
        Box::leak(Box::new(Mixture {
            fds: (0..FDS).map(|_| plain_eventfd()).collect(),
            count: count as u64,
            closures: Tally::default(),
            events: Tally::default(),
            timers: Tally::default(),
        }))
    }

    pub fn fd(&'static self, index: usize) -> BorrowedFd<'static> {
        self.fds[index].as_fd()
    }

    /// What a closure does.
    pub fn close(&self, value: u64) {
        self.closures.add(value);
        if value.is_multiple_of(READY) {
            self.fds[(value / READY) as usize % FDS].write(1).expect("an eventfd is written");
        }
    }

    /// What an fd's callback does.
    pub fn serve(&self, index: usize) {
        self.events.add(self.fds[index].read().expect("the eventfd is ready"));
    }

    /// What a timer does.
    pub fn fire(&self) {
        self.timers.add(1);
    }

    pub fn is_done(&self) -> bool {
        self.closures.count() == self.count && self.events.sum() == self.count / READY
    }

    /// How often the timers have to fire before a repetition ends, which may be after its time was taken.
    pub fn is_time_served(&self) -> bool {
        self.timers.count() as usize >= TIMERS
    }

    /// How many closures and fd events a repetition has.
    pub fn ops(&self) -> usize {
        (self.count + self.count / READY) as usize
    }

    /// `post` makes what posts on the other thread; `turn` waits for something and serves it.
    pub fn measure<P: Fn(u64) + Send>(&self, meter: &Meter, post: impl Fn() -> P, mut turn: impl FnMut()) -> Sample {
        meter.repeat(self.ops(), || {
            let took = let_go(vec![post()], meter.size, || {
                while !self.is_done() {
                    turn();
                }
            });
            while !self.is_time_served() {
                turn();
            }
            self.settle(took)
        })
    }

    pub fn settle(&self, took: Duration) -> Round {
        assert_eq!(self.closures.sum(), sum_below(self.count));
        assert_eq!(self.events.sum(), self.count / READY);
        assert!(self.is_time_served());
        [&self.closures, &self.events, &self.timers].into_iter().for_each(Tally::reset);
        Round { took, checksum: self.count }
    }
}
