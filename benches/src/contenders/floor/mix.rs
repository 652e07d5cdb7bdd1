//! The floor's loop for X4: what is posted, then the timers, then the fds, over and over.

use std::{cell::Cell, cmp::Reverse, collections::BinaryHeap, rc::Rc, time::Duration};

use nix::sys::{
    epoll::EpollTimeout,
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};

use super::{
    fds::Fds,
    inbox::Inbox,
    timers::{When, now},
};
use crate::{
    contenders::{
        common::read,
        mixture::{FDS, Mixture, TIMERS, period},
    },
    meter::{Meter, Sample},
};

pub fn run(meter: &Meter) -> Sample {
    let mixture = Mixture::leak(meter.size);
    let inbox = Inbox::<Box<dyn FnOnce() + Send>>::new();
    let mut timers = Timers::new(mixture);
    let mut fds = Fds::new();
    for index in 0..FDS {
        fds.add(mixture.fd(index), move || mixture.serve(index));
    }
    let wake = inbox.wake.clone();
    fds.add(&inbox.wake, move || read(&wake));
    timers.watch(&mut fds);

    let mut batch = Vec::new();
    let post = || |value| inbox.post(Box::new(move || mixture.close(value)));
    mixture.measure(meter, post, || {
        inbox.collect(&mut batch);
        let is_idle = batch.is_empty();
        batch.drain(..).for_each(|closure| closure());
        timers.fire();
        fds.turn(if is_idle { timers.arm() } else { EpollTimeout::ZERO });
    })
}

/// Timers that repeat, and the timerfd that ends a sleep for them.
struct Timers {
    heap: BinaryHeap<Reverse<(When, usize)>>,
    callbacks: Vec<(Duration, Box<dyn FnMut()>)>,
    timer: Rc<TimerFd>,
    /// For when the timerfd is set.
    armed: Rc<Cell<When>>,
}

impl Timers {
    fn new(mixture: &'static Mixture) -> Timers {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC);
        let callbacks = (0..TIMERS).map(|index| (period(index), Box::new(|| mixture.fire()) as Box<dyn FnMut()>));
        let heap = (0..TIMERS).map(|index| Reverse((now() + period(index).as_nanos() as u64, index)));
        Timers {
            heap: heap.collect(),
            callbacks: callbacks.collect(),
            timer: Rc::new(timer.expect("a timerfd is made")),
            armed: Rc::default(),
        }
    }

    fn watch(&self, fds: &mut Fds) {
        let (timer, armed) = (self.timer.clone(), self.armed.clone());
        fds.add(&*self.timer, move || {
            // One that was set anew since it expired has nothing to read.
            if let Err(error) = timer.wait() {
                assert_eq!(error, nix::errno::Errno::EAGAIN);
            }
            armed.set(0);
        });
    }

    fn fire(&mut self) {
        let now = now();
        while let Some(mut first) = self.heap.peek_mut() {
            let Reverse((when, index)) = *first;
            if when > now {
                return;
            }
            let (period, callback) = &mut self.callbacks[index];
            callback();
            *first = Reverse((now + period.as_nanos() as u64, index));
        }
    }

    /// Sets the timerfd for the first of them.
    fn arm(&self) -> EpollTimeout {
        if let Some(Reverse((when, _))) = self.heap.peek().filter(|first| first.0.0 != self.armed.get()) {
            let expiration = Expiration::OneShot(TimeSpec::from_duration(Duration::from_nanos(*when)));
            self.timer.set(expiration, TimerSetTimeFlags::TFD_TIMER_ABSTIME).expect("the timer is set");
            self.armed.set(*when);
        }
        EpollTimeout::NONE
    }
}
