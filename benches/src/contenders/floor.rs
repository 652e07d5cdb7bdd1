//! The floor: the plainest Rust that does the same work with epoll, eventfd and timerfd, and no library.
//!
//! Each workload has just what it needs, as one would write it by hand for this purpose alone.

mod fds;
mod inbox;
mod mix;
mod queue;
mod timers;

use std::{
    cell::Cell,
    collections::{BTreeMap, VecDeque},
    hint::black_box,
    rc::Rc,
    sync::{Arc, Barrier, Mutex},
    thread,
    time::{Duration, Instant},
};

use nix::sys::{
    epoll::EpollTimeout,
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};

pub use self::{fds::Fds, inbox::Inbox};
use self::{
    queue::{Callback, Queue},
    timers::{Heap, Timers, Tree},
};
use super::common::{
    CHURN, FLOOD, HANDLERS, HOPS, ReadyFds, await_near_delays, eventfd, eventfds, far_delays, flood, near_delays,
    one_core, questioned, read,
};
use crate::{
    dice::Dice,
    heap,
    meter::{Meter, Sample, timed},
    tally::{LargeWork, Tally, Work},
    workload::Kind,
};

pub fn run(kind: Kind, meter: &Meter) -> Option<Sample> {
    Some(match kind {
        Kind::BurstCallbacks => burst(meter, |tally, value| {
            let work = Work { tally, value };
            Callback::new(move |_| work.run())
        }),
        Kind::LargeCallbacks => burst(meter, |tally, value| {
            let work = LargeWork::new(tally, value);
            Callback::new(move |_| work.run())
        }),
        Kind::BurstMessages => burst_messages(meter),
        Kind::ChainCallbacks => chain_callbacks(meter),
        Kind::ChainMessages => chain_messages(meter),
        Kind::FloodCallbacks => flood_callbacks(meter),
        Kind::FloodMessages => flood_messages(meter),
        Kind::PingPong => ping_pong(meter),
        Kind::PingPongOneCore => one_core(|| ping_pong(meter)),
        Kind::TimersInsert => timers_insert::<Heap>(meter),
        Kind::TimersCancel => timers_cancel::<Heap>(meter),
        Kind::TimersFire => timers_fire::<Heap>(meter),
        Kind::TimerBytes => timer_bytes::<Heap>(meter),
        Kind::Fds => ready_fds(meter),
        Kind::FdChurn => fd_churn(meter),
        Kind::FdBytes => fd_bytes(meter),
        Kind::Lateness => lateness(meter),
        Kind::ManyHandlers => many_handlers(meter),
        Kind::Mix => mix::run(meter),
        Kind::Flooded { bounded, .. } => return super::flooded::floor::run(kind, meter, bounded),
        Kind::RemoteQuestion | Kind::RemoteCancel => return super::asked::floor::run(kind, meter),
        Kind::Made | Kind::IdleFds | Kind::IdleBytes => super::made::floor(kind, meter),
        Kind::ColdCallbacks => return run(Kind::BurstCallbacks, &meter.cold()),
        Kind::QuestionedChain => questioned_chain(meter),
        Kind::BurstHeap => burst_memory(meter, heap::growth),
        Kind::BurstResident => burst_memory(meter, heap::resident_growth),
        Kind::TaskWakes | Kind::TaskSpawns | Kind::TaskPair | Kind::Watched(_) => return None,
        Kind::BusyChain => return run(Kind::ChainCallbacks, meter),
        Kind::BusyBurst => return run(Kind::BurstCallbacks, meter),
        Kind::BusyRemote => busy_remote(meter),
    })
}

/// The floor with a `BTreeMap` in place of the heap.
pub fn run_btree(kind: Kind, meter: &Meter) -> Option<Sample> {
    match kind {
        Kind::TimersInsert => Some(timers_insert::<Tree>(meter)),
        Kind::TimersCancel => Some(timers_cancel::<Tree>(meter)),
        Kind::TimersFire => Some(timers_fire::<Tree>(meter)),
        Kind::TimerBytes => Some(timer_bytes::<Tree>(meter)),
        _ => None,
    }
}

fn burst(meter: &Meter, make: impl Fn(&'static Tally, u64) -> Callback) -> Sample {
    let tally = Tally::leak();
    let queue = Queue::new();
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let took = timed(|| {
            for value in 0..count {
                queue.post(make(tally, value));
            }
            while let Some(callback) = queue.take() {
                callback.run(&queue);
            }
        });
        tally.settle_below(took, count)
    })
}

/// A handler that the compiler does not know, as one that was registered.
fn handler(tally: &'static Tally) -> Box<dyn FnMut(u64)> {
    black_box(Box::new(move |value| tally.add(value)))
}

fn burst_messages(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let queue = Queue::new();
    let mut handler = handler(tally);
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let took = timed(|| {
            for value in 0..count {
                queue.post(value);
            }
            while let Some(value) = queue.take() {
                handler(value);
            }
        });
        tally.settle_below(took, count)
    })
}

fn chain_callbacks(meter: &Meter) -> Sample {
    fn hop(work: Work, queue: &Queue<Callback>) {
        work.run();
        if let Some(value) = work.value.checked_sub(1) {
            queue.post(Callback::new(move |queue| hop(Work { value, ..work }, queue)));
        }
    }

    let tally = Tally::leak();
    let queue = Queue::new();
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let took = timed(|| {
            let first = Work { tally, value: count - 1 };
            queue.post(Callback::new(move |queue| hop(first, queue)));
            while let Some(callback) = queue.take() {
                callback.run(&queue);
            }
        });
        tally.settle_below(took, count)
    })
}

/// A handler that posts.
type Posting = dyn FnMut(&Queue<u64>, u64);

fn chain_messages(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let queue = Queue::new();
    let mut handler: Box<Posting> = black_box(Box::new(|queue: &Queue<u64>, value: u64| {
        tally.add(value);
        if let Some(value) = value.checked_sub(1) {
            queue.post(value);
        }
    }));
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let took = timed(|| {
            queue.post(count - 1);
            while let Some(value) = queue.take() {
                handler(&queue, value);
            }
        });
        tally.settle_below(took, count)
    })
}

fn many_handlers(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let queue = Queue::new();
    let mut handlers: Vec<_> = (0..HANDLERS).map(|_| handler(tally)).collect();
    meter.repeat(meter.size, || {
        let took = timed(|| {
            for value in 0..meter.size {
                queue.post((value % HANDLERS, value as u64));
            }
            while let Some((target, value)) = queue.take() {
                handlers[target](value);
            }
        });
        tally.settle_below(took, meter.size as u64)
    })
}

fn flood_callbacks(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let inbox = Inbox::<Box<dyn FnOnce() + Send>>::new();
    let post = |value| {
        let work = Work { tally, value };
        inbox.post(Box::new(move || work.run()));
    };
    meter.repeat(meter.size * FLOOD, || {
        flood(vec![post; meter.size], tally, |count| drain(&inbox, || tally.count() < count, |callback| callback()))
    })
}

fn flood_messages(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let inbox = Inbox::new();
    let post = |value: u64| inbox.post(value);
    let mut handler = handler(tally);
    meter.repeat(meter.size * FLOOD, || {
        flood(vec![post; meter.size], tally, |count| drain(&inbox, || tally.count() < count, &mut handler))
    })
}

/// A queue behind a mutex, and timers in a map.
fn questioned_chain(meter: &Meter) -> Sample {
    type Closure = Box<dyn FnOnce(&Shared) + Send>;
    #[derive(Default)]
    struct Shared {
        queue: Mutex<VecDeque<Closure>>,
        timers: Mutex<BTreeMap<u64, Closure>>,
    }

    fn hop(work: Work, shared: &Shared) {
        work.run();
        if let Some(value) = work.value.checked_sub(1) {
            let next = Box::new(move |shared: &Shared| hop(Work { value, ..work }, shared));
            shared.queue.lock().expect("nobody panics").push_back(next);
        }
    }

    let tally = Tally::leak();
    let shared = &Shared::default();
    meter.repeat(HOPS as usize, || {
        let cancels = meter.size == 2;
        let ask = move || {
            if cancels {
                shared.timers.lock().expect("nobody panics").insert(1, Box::new(|_| ()));
                assert!(shared.timers.lock().expect("nobody panics").remove(&1).is_some());
            } else {
                black_box(shared.queue.lock().expect("nobody panics").len());
            }
        };
        questioned(tally, ask, || {
            hop(Work { tally, value: HOPS - 1 }, shared);
            loop {
                // Before each closure, as what is due comes first.
                black_box(shared.timers.lock().expect("nobody panics").first_key_value().is_some());
                let next = shared.queue.lock().expect("nobody panics").pop_front();
                let Some(next) = next else { break };
                next(shared);
            }
        })
    })
}

/// The loop of a thread that only runs what is posted to it.
pub fn drain<T>(inbox: &Inbox<T>, goes_on: impl Fn() -> bool, mut run: impl FnMut(T)) {
    let mut fds = Fds::new();
    let wake = inbox.wake.clone();
    fds.add(&inbox.wake, move || read(&wake));
    let mut batch = Vec::new();
    while goes_on() {
        inbox.collect(&mut batch);
        if batch.is_empty() {
            fds.turn(EpollTimeout::NONE);
        }
        batch.drain(..).for_each(&mut run);
    }
}

fn ping_pong(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let [near, far] = [(); 2].map(|()| Arc::new(Inbox::new()));
        let gate = Arc::new(Barrier::new(2));
        let echo = thread::spawn({
            let (near, far, gate) = (near.clone(), far.clone(), gate.clone());
            move || {
                gate.wait();
                let last = Cell::new(count);
                drain(
                    &far,
                    || last.get() > 0,
                    |value| {
                        last.set(value);
                        near.post(value);
                    },
                );
            }
        });
        gate.wait();
        let took = timed(|| {
            far.post(count - 1);
            drain(
                &near,
                || tally.count() < count,
                |value: u64| {
                    tally.add(value);
                    if let Some(value) = value.checked_sub(1) {
                        far.post(value);
                    }
                },
            );
        });
        echo.join().expect("the other thread does not panic");
        tally.settle_below(took, count)
    })
}

fn boxed(tally: &'static Tally, value: usize) -> timers::Callback {
    let work = Work { tally, value: value as u64 };
    Box::new(move || work.run())
}

fn timers_insert<T: Timers>(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let delays = far_delays(meter.size);
    let mut timers = T::default();
    let mut keys = Vec::with_capacity(meter.size);
    meter.repeat(meter.size, || {
        let took = timed(|| {
            for (value, delay) in delays.iter().enumerate() {
                keys.push(timers.insert_after(*delay, boxed(tally, value)));
            }
        });
        cancel_all(&mut timers, &mut keys, tally);
        timers.forget_cancelled();
        tally.settle_below(took, meter.size as u64)
    })
}

fn timers_cancel<T: Timers>(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let delays = far_delays(meter.size);
    let mut timers = T::default();
    let mut keys = Vec::with_capacity(meter.size);
    meter.repeat(meter.size, || {
        for (value, delay) in delays.iter().enumerate() {
            keys.push(timers.insert_after(*delay, boxed(tally, value)));
        }
        Dice::new().shuffle(&mut keys);
        let took = timed(|| {
            cancel_all(&mut timers, &mut keys, tally);
        });
        timers.forget_cancelled();
        tally.settle_below(took, meter.size as u64)
    })
}

/// Counts those that were pending.
fn cancel_all<T: Timers>(timers: &mut T, keys: &mut Vec<T::Key>, tally: &Tally) {
    for (value, key) in keys.drain(..).enumerate() {
        if timers.cancel(key) {
            tally.add(value as u64);
        }
    }
}

fn timers_fire<T: Timers>(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let due = meter.due();
    let delays = near_delays(meter.size, &due);
    let mut timers = T::default();
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let (begin, base) = (Instant::now(), timers::now());
        for (value, delay) in delays.iter().enumerate() {
            timers.insert(base + delay.as_nanos() as u64, boxed(tally, value));
        }
        await_near_delays(begin, &due, tally);
        let took = timed(|| {
            while tally.count() < count {
                timers.fire(timers::now());
            }
        });
        tally.settle_below(took, count)
    })
}

fn timer_bytes<T: Timers>(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let delays = far_delays(meter.size);
    let mut timers = T::default();
    let bytes = heap::growth(&mut || {
        for (value, delay) in delays.iter().enumerate() {
            timers.insert_after(*delay, boxed(tally, value));
        }
    });
    assert_eq!(timers.len(), meter.size);
    Sample::of(bytes / meter.size as f64, meter.size)
}

fn watched(fds: &mut Fds, fd: &Rc<nix::sys::eventfd::EventFd>, work: Work) -> usize {
    let source = fd.clone();
    fds.add(fd, move || {
        read(&source);
        work.run();
    })
}

fn ready_fds(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let ready = ReadyFds::new(meter.size);
    let mut fds = Fds::new();
    for (value, fd) in ready.fds.iter().enumerate() {
        watched(&mut fds, fd, Work { tally, value: value as u64 });
    }
    ready.measure(meter, tally, |count| {
        while tally.count() < count {
            fds.turn(EpollTimeout::NONE);
        }
    })
}

fn fd_churn(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let others = eventfds(meter.size);
    let mut fds = Fds::new();
    for fd in &others {
        watched(&mut fds, fd, Work { tally, value: 0 });
    }
    let fd = eventfd();
    meter.repeat(CHURN, || {
        let took = timed(|| {
            for _ in 0..CHURN {
                let key = watched(&mut fds, &fd, Work { tally, value: 1 });
                fds.remove(key, &fd);
            }
        });
        let key = watched(&mut fds, &fd, Work { tally, value: 1 });
        fd.write(1).expect("an eventfd is written");
        fds.turn(EpollTimeout::ZERO);
        fds.remove(key, &fd);
        tally.settle(took, 1, 1)
    })
}

fn fd_bytes(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let sources = eventfds(meter.size);
    let mut fds = Fds::new();
    let bytes = heap::growth(&mut || {
        for (value, fd) in sources.iter().enumerate() {
            watched(&mut fds, fd, Work { tally, value: value as u64 });
        }
    });
    Sample::of(bytes / meter.size as f64, meter.size)
}

fn lateness(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let delay = meter.size as u64 * 1_000;
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC);
    let timer = Rc::new(timer.expect("a timerfd is made"));
    let late = Rc::new(Cell::new(Duration::ZERO));
    let deadline = Rc::new(Cell::new(0));
    let mut fds = Fds::new();
    fds.add(&*timer, {
        let (timer, late, deadline) = (timer.clone(), late.clone(), deadline.clone());
        move || {
            let now = timers::now();
            timer.wait().expect("the timer has expired");
            late.set(Duration::from_nanos(now.checked_sub(deadline.get()).expect("never early")));
            tally.add(0);
        }
    });
    meter.repeat(1, || {
        let when = timers::now() + delay;
        deadline.set(when);
        let expiration = Expiration::OneShot(TimeSpec::from_duration(Duration::from_nanos(when)));
        timer.set(expiration, TimerSetTimeFlags::TFD_TIMER_ABSTIME).expect("the timer is set");
        fds.turn(EpollTimeout::NONE);
        tally.settle(late.get(), 1, 0)
    })
}

fn burst_memory(meter: &Meter, growth: fn(&mut dyn FnMut()) -> f64) -> Sample {
    let tally = Tally::leak();
    let queue = Queue::new();
    let count = meter.size as u64;
    let value = growth(&mut || {
        for value in 0..count {
            let work = Work { tally, value };
            queue.post(Callback::new(move |_| work.run()));
        }
        while let Some(callback) = queue.take() {
            callback.run(&queue);
        }
    });
    tally.settle_below(Duration::ZERO, count);
    Sample::of(value, meter.size)
}

fn busy_remote(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let inbox = Arc::new(Inbox::<Box<dyn FnOnce() + Send>>::new());
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let own = inbox.clone();
        let work = Box::new(move || {
            let post = |value| own.post(Box::new(move || Work { tally, value }.run()));
            thread::scope(|scope| drop(scope.spawn(|| (0..count).for_each(post)).join()));
        });
        let took = timed(|| {
            inbox.post(work);
            drain(&inbox, || tally.count() < count, |callback| callback());
        });
        tally.settle_below(took, count)
    })
}
