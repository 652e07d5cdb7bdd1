//! alooper: closures by `post`, messages by a `Handler`, timers by `post_delayed`, fds by `add_fd`. The looper is built
//! plainly and polled as in its examples.

use std::{
    cell::{Cell, OnceCell},
    hint::black_box,
    ops::ControlFlow,
    os::fd::BorrowedFd,
    rc::Rc,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use alooper::{FdNext, FdSource, Handler, Interest, Looper, Posted};
use nix::sys::eventfd::EventFd;

use super::{
    common::{
        CHURN, FLOOD, HANDLERS, HOPS, ReadyFds, await_near_delays, eventfd, eventfds, far_delays, flood, near_delays,
        one_core, questioned, read,
    },
    mixture::{FDS, Mixture, TIMERS, period},
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
        Kind::BurstCallbacks => burst(meter, |looper, tally, value| {
            let work = Work { tally, value };
            looper.post(move |_| work.run()).expect("the looper runs");
        }),
        Kind::LargeCallbacks => burst(meter, |looper, tally, value| {
            let work = LargeWork::new(tally, value);
            looper.post(move |_| work.run()).expect("the looper runs");
        }),
        Kind::BurstMessages => burst_messages(meter),
        Kind::ChainCallbacks => chain_callbacks(meter),
        Kind::ChainMessages => chain_messages(meter),
        Kind::FloodCallbacks => flood_callbacks(meter),
        Kind::FloodMessages => flood_messages(meter),
        Kind::PingPong => ping_pong(meter),
        Kind::PingPongOneCore => one_core(|| ping_pong(meter)),
        Kind::TimersInsert => timers_insert(meter),
        Kind::TimersCancel => timers_cancel(meter),
        Kind::TimersFire => timers_fire(meter),
        Kind::TimerBytes => timer_bytes(meter),
        Kind::Fds => ready_fds(meter),
        Kind::FdChurn => fd_churn(meter),
        Kind::FdBytes => fd_bytes(meter),
        Kind::Lateness => lateness(meter),
        Kind::ManyHandlers => many_handlers(meter),
        Kind::Mix => mix(meter),
        Kind::Flooded { bounded, .. } => return super::flooded::alooper::run(kind, meter, bounded),
        Kind::RemoteQuestion | Kind::RemoteCancel => return super::asked::alooper::run(kind, meter),
        Kind::Made | Kind::IdleFds | Kind::IdleBytes => super::made::alooper(kind, meter),
        Kind::Watched(watched) => super::observed::burst(watched, meter),
        Kind::ColdCallbacks => return run(Kind::BurstCallbacks, &meter.cold()),
        Kind::QuestionedChain => questioned_chain(meter),
        Kind::BurstHeap => burst_memory(meter, heap::growth),
        Kind::BurstResident => burst_memory(meter, heap::resident_growth),
        Kind::TaskWakes | Kind::TaskSpawns | Kind::TaskPair => return super::tasks::alooper::run(kind, meter),
        Kind::BusyChain => busy(meter, |looper, tally, count| busy_hop(Work { tally, value: count - 1 }, looper)),
        Kind::BusyBurst => busy(meter, |looper, tally, count| {
            for value in 0..count {
                let work = Work { tally, value };
                looper.post(move |_| work.run()).expect("the looper runs");
            }
            looper.post(|looper| looper.quit()).expect("the looper runs");
        }),
        Kind::BusyRemote => busy(meter, |looper, tally, count| {
            let handle = looper.handle();
            let other = thread::spawn(move || {
                for value in 0..count {
                    let work = Work { tally, value };
                    handle.post(move |_| work.run()).expect("the looper runs");
                }
                handle.post(|looper| looper.quit()).expect("the looper runs");
            });
            other.join().expect("the other thread does not panic");
        }),
    })
}

fn looper() -> Looper {
    Looper::new().expect("a looper is made")
}

/// Polls without waiting until `count` closures or messages have run.
fn drain(looper: &Looper, tally: &Tally, count: u64) {
    while tally.count() < count {
        looper.poll_once(Duration::ZERO).expect("the looper polls");
    }
}

/// As [`drain`], waiting for them.
fn await_all(looper: &Looper, tally: &Tally, count: u64) {
    while tally.count() < count {
        looper.poll_once(None).expect("the looper polls");
    }
}

fn burst(meter: &Meter, post: impl Fn(&Looper, &'static Tally, u64)) -> Sample {
    let tally = Tally::leak();
    let looper = looper();
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let took = timed(|| {
            for value in 0..count {
                post(&looper, tally, value);
            }
            drain(&looper, tally, count);
        });
        tally.settle_below(took, count)
    })
}

fn handler(looper: &Looper, tally: &'static Tally) -> Handler<u64> {
    Handler::new(looper, move |_, value| tally.add(value))
}

fn burst_messages(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let looper = looper();
    let handler = handler(&looper, tally);
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let took = timed(|| {
            for value in 0..count {
                handler.send(value).expect("the looper runs");
            }
            drain(&looper, tally, count);
        });
        tally.settle_below(took, count)
    })
}

fn hop(work: Work, looper: &Looper) {
    work.run();
    if let Some(value) = work.value.checked_sub(1) {
        looper.post(move |looper| hop(Work { value, ..work }, looper)).expect("the looper runs");
    }
}

fn chain_callbacks(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let looper = looper();
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let took = timed(|| {
            let first = Work { tally, value: count - 1 };
            looper.post(move |looper| hop(first, looper)).expect("the looper runs");
            drain(&looper, tally, count);
        });
        tally.settle_below(took, count)
    })
}

/// A handler that sends itself the next smaller number.
fn counting_down(looper: &Looper, tally: &'static Tally) -> Handler<u64> {
    let own = Rc::new(OnceCell::new());
    let handler = Handler::new(looper, {
        let own = own.clone();
        move |_, value: u64| {
            tally.add(value);
            if let (Some(value), Some(handler)) = (value.checked_sub(1), own.get()) {
                Handler::send(handler, value).expect("the looper runs");
            }
        }
    });
    own.get_or_init(|| handler.clone());
    handler
}

fn chain_messages(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let looper = looper();
    let handler = counting_down(&looper, tally);
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let took = timed(|| {
            handler.send(count - 1).expect("the looper runs");
            drain(&looper, tally, count);
        });
        tally.settle_below(took, count)
    })
}

fn many_handlers(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let looper = looper();
    let handlers: Vec<_> = (0..HANDLERS).map(|_| handler(&looper, tally)).collect();
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let took = timed(|| {
            for value in 0..meter.size {
                handlers[value % HANDLERS].send(value as u64).expect("the looper runs");
            }
            drain(&looper, tally, count);
        });
        tally.settle_below(took, count)
    })
}

fn flood_callbacks(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let looper = looper();
    meter.repeat(meter.size * FLOOD, || {
        let handles = (0..meter.size).map(|_| looper.handle());
        let posts = handles.map(|handle| {
            move |value| {
                let work = Work { tally, value };
                handle.post(move |_| work.run()).expect("the looper runs");
            }
        });
        flood(posts.collect(), tally, |count| await_all(&looper, tally, count))
    })
}

fn flood_messages(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let looper = looper();
    let handler = handler(&looper, tally);
    meter.repeat(meter.size * FLOOD, || {
        let handlers = (0..meter.size).map(|_| handler.clone());
        let posts = handlers.map(|handler| move |value| drop(handler.send(value).expect("the looper runs")));
        flood(posts.collect(), tally, |count| await_all(&looper, tally, count))
    })
}

fn questioned_chain(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let looper = looper();
    meter.repeat(HOPS as usize, || {
        let handle = looper.handle();
        let cancels = meter.size == 2;
        let ask = move || {
            if cancels {
                let hour = Duration::from_secs(3600);
                assert!(handle.post_delayed(hour, |_| ()).expect("the looper runs").cancel());
            } else {
                black_box(handle.len());
            }
        };
        questioned(tally, ask, || {
            let first = Work { tally, value: HOPS - 1 };
            looper.post(move |looper| hop(first, looper)).expect("the looper runs");
            drain(&looper, tally, HOPS);
        })
    })
}

fn ping_pong(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let near = looper();
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let (sender, receiver) = mpsc::channel();
        let (back_sender, back_receiver) = mpsc::channel::<Handler<u64>>();
        let echo = thread::spawn(move || {
            let far = looper();
            let back = Rc::new(Cell::new(None));
            let handler = Handler::new(&far, {
                let back = back.clone();
                move |looper, value: u64| {
                    let handler: Handler<u64> = back.take().expect("it was told where to");
                    handler.send(value).expect("the other looper runs");
                    back.set(Some(handler));
                    if value == 0 {
                        looper.quit();
                    }
                }
            });
            sender.send(handler).expect("the other thread waits");
            back.set(back_receiver.recv().ok());
            far.run().expect("the looper polls");
        });
        let far: Handler<u64> = receiver.recv().expect("the other thread has a looper");
        let forth = far.clone();
        let handler = Handler::new(&near, move |_, value: u64| {
            tally.add(value);
            if let Some(value) = value.checked_sub(1) {
                forth.send(value).expect("the other looper runs");
            }
        });
        back_sender.send(handler).expect("the other thread waits");
        let took = timed(|| {
            far.send(count - 1).expect("the other looper runs");
            await_all(&near, tally, count);
        });
        echo.join().expect("the other thread does not panic");
        tally.settle_below(took, count)
    })
}

fn insert(looper: &Looper, delays: &[Duration], tally: &'static Tally, posted: &mut Vec<Posted>) {
    for (value, delay) in delays.iter().enumerate() {
        let work = Work { tally, value: value as u64 };
        posted.push(looper.post_delayed(*delay, move |_| work.run()).expect("the looper runs"));
    }
}

/// Counts those that were pending.
fn cancel_all(posted: &mut Vec<Posted>, tally: &Tally) {
    for (value, posted) in posted.drain(..).enumerate() {
        if posted.cancel() {
            tally.add(value as u64);
        }
    }
}

fn timers_insert(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let delays = far_delays(meter.size);
    let looper = looper();
    let mut posted = Vec::with_capacity(meter.size);
    meter.repeat(meter.size, || {
        let took = timed(|| {
            insert(&looper, &delays, tally, &mut posted);
        });
        cancel_all(&mut posted, tally);
        looper.poll_once(Duration::ZERO).expect("the looper polls");
        tally.settle_below(took, meter.size as u64)
    })
}

fn timers_cancel(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let delays = far_delays(meter.size);
    let looper = looper();
    let mut posted = Vec::with_capacity(meter.size);
    meter.repeat(meter.size, || {
        insert(&looper, &delays, tally, &mut posted);
        Dice::new().shuffle(&mut posted);
        let took = timed(|| {
            cancel_all(&mut posted, tally);
        });
        looper.poll_once(Duration::ZERO).expect("the looper polls");
        tally.settle_below(took, meter.size as u64)
    })
}

fn timers_fire(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let due = meter.due();
    let delays = near_delays(meter.size, &due);
    let looper = looper();
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let begin = Instant::now();
        for (value, delay) in delays.iter().enumerate() {
            let work = Work { tally, value: value as u64 };
            looper.post_at(begin + *delay, move |_| work.run()).expect("the looper runs");
        }
        await_near_delays(begin, &due, tally);
        let took = timed(|| {
            drain(&looper, tally, count);
        });
        tally.settle_below(took, count)
    })
}

fn timer_bytes(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let delays = far_delays(meter.size);
    let looper = looper();
    let bytes = heap::growth(&mut || {
        for (value, delay) in delays.iter().enumerate() {
            let work = Work { tally, value: value as u64 };
            looper.post_delayed(*delay, move |_| work.run()).expect("the looper runs");
        }
    });
    assert_eq!(looper.len(), meter.size);
    Sample::of(bytes / meter.size as f64, meter.size)
}

fn watch(looper: &Looper, fd: &Rc<EventFd>, work: Work) -> FdSource<Rc<EventFd>> {
    let callback = move |_: &Looper, fd: &mut Rc<EventFd>, _| {
        read(fd);
        work.run();
        FdNext::Keep
    };
    looper.add_fd(fd.clone(), Interest::INPUT, callback).expect("the fd is added")
}

fn ready_fds(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let ready = ReadyFds::new(meter.size);
    let looper = looper();
    for (value, fd) in ready.fds.iter().enumerate() {
        watch(&looper, fd, Work { tally, value: value as u64 });
    }
    ready.measure(meter, tally, |count| await_all(&looper, tally, count))
}

fn fd_churn(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let others = eventfds(meter.size);
    let looper = looper();
    for fd in &others {
        watch(&looper, fd, Work { tally, value: 0 });
    }
    let fd = eventfd();
    meter.repeat(CHURN, || {
        let took = timed(|| {
            for _ in 0..CHURN {
                watch(&looper, &fd, Work { tally, value: 1 }).remove();
            }
        });
        let watched = watch(&looper, &fd, Work { tally, value: 1 });
        fd.write(1).expect("an eventfd is written");
        await_all(&looper, tally, 1);
        watched.remove();
        tally.settle(took, 1, 1)
    })
}

fn fd_bytes(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let sources = eventfds(meter.size);
    let looper = looper();
    let bytes = heap::growth(&mut || {
        for (value, fd) in sources.iter().enumerate() {
            watch(&looper, fd, Work { tally, value: value as u64 });
        }
    });
    Sample::of(bytes / meter.size as f64, meter.size)
}

fn lateness(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let delay = Duration::from_micros(meter.size as u64);
    let looper = looper();
    let late = Rc::new(Cell::new(Duration::ZERO));
    meter.repeat(1, || {
        let deadline = Instant::now() + delay;
        let seen = late.clone();
        let callback = move |_: &Looper| {
            seen.set(Instant::now().checked_duration_since(deadline).expect("never early"));
            tally.add(0);
        };
        looper.post_delayed(delay, callback).expect("the looper runs");
        await_all(&looper, tally, 1);
        tally.settle(late.get(), 1, 0)
    })
}

fn mix(meter: &Meter) -> Sample {
    let mixture = Mixture::leak(meter.size);
    let looper = looper();
    for index in 0..TIMERS {
        let callback = move |_: &Looper| {
            mixture.fire();
            ControlFlow::Continue(())
        };
        looper.post_every(period(index), callback).expect("the looper runs");
    }
    for index in 0..FDS {
        let callback = move |_: &Looper, _: &mut BorrowedFd<'static>, _| {
            mixture.serve(index);
            FdNext::Keep
        };
        looper.add_fd(mixture.fd(index), Interest::INPUT, callback).expect("the fd is added");
    }
    let post = || {
        let handle = looper.handle();
        move |value| drop(handle.post(move |_| mixture.close(value)).expect("the looper runs"))
    };
    mixture.measure(meter, post, || drop(looper.poll_once(None).expect("the looper polls")))
}

fn burst_memory(meter: &Meter, growth: fn(&mut dyn FnMut()) -> f64) -> Sample {
    let tally = Tally::leak();
    let looper = looper();
    let count = meter.size as u64;
    let value = growth(&mut || {
        for value in 0..count {
            let work = Work { tally, value };
            looper.post(move |_| work.run()).expect("the looper runs");
        }
        drain(&looper, tally, count);
        // A looper that rests gives back after a second what it keeps for the next burst.
        for _ in 0..2 {
            looper.poll_once(Duration::from_millis(1100)).expect("the looper polls");
        }
    });
    tally.settle_below(Duration::ZERO, count);
    Sample::of(value, meter.size)
}

/// `run` does all of it, beginning with `work`, whose last closure quits.
fn busy(meter: &Meter, work: fn(&Looper, &'static Tally, u64)) -> Sample {
    let tally = Tally::leak();
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let looper = looper();
        let took = timed(|| {
            looper.post(move |looper| work(looper, tally, count)).expect("the looper runs");
            looper.run().expect("the looper polls");
        });
        tally.settle_below(took, count)
    })
}

fn busy_hop(work: Work, looper: &Looper) {
    work.run();
    match work.value.checked_sub(1) {
        Some(value) => {
            looper.post(move |looper| busy_hop(Work { value, ..work }, looper)).expect("the looper runs");
        }
        None => looper.quit(),
    }
}
