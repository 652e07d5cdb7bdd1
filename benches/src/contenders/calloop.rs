//! calloop: closures and messages by its channel, which is its documented way to post from any thread; timers are
//! `Timer` sources, fds are `Generic` sources, both registered with the handle of the loop.
//!
//! `calloop_own` is what one who knows it does on the loop's own thread: closures are idle callbacks, messages are a
//! queue of one's own with a `Ping`. (An idle callback that adds the next one takes a whole turn for each.)

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use calloop::{
    EventLoop, Interest, LoopHandle, Mode, PostAction, RegistrationToken,
    channel::{Event, Sender, channel},
    generic::Generic,
    ping::make_ping,
    timer::{TimeoutAction, Timer},
};
use nix::sys::eventfd::EventFd;

use super::{
    common::{
        CHURN, FLOOD, ReadyFds, await_near_delays, eventfd, eventfds, far_delays, flood, near_delays, one_core, read,
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

/// Inserting a source looks at all others, and so does removing a timer: a hundred thousand take a minute.
const MOST_TIMERS: usize = 10_000;

pub fn run(kind: Kind, meter: &Meter) -> Option<Sample> {
    Some(match kind {
        Kind::TimersInsert | Kind::TimersCancel | Kind::TimersFire | Kind::TimerBytes if meter.size > MOST_TIMERS => {
            return None;
        }
        Kind::BurstCallbacks => burst(meter, |sender, tally, value| {
            let work = Work { tally, value };
            sender.send(Callback(Box::new(move |_| work.run()))).expect("the loop runs");
        }),
        Kind::LargeCallbacks => burst(meter, |sender, tally, value| {
            let work = LargeWork::new(tally, value);
            sender.send(Callback(Box::new(move |_| work.run()))).expect("the loop runs");
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
        Kind::ManyHandlers => return None,
        Kind::Mix => mix(meter),
        Kind::Flooded { bounded, .. } => return super::flooded::calloop::run(kind, meter, bounded),
        Kind::RemoteQuestion | Kind::RemoteCancel => return None,
        Kind::Made | Kind::IdleFds | Kind::IdleBytes => super::made::calloop(kind, meter),
        Kind::ColdCallbacks => return run(Kind::BurstCallbacks, &meter.cold()),
        Kind::QuestionedChain | Kind::Watched(_) => return None,
        Kind::BurstHeap => burst_memory(meter, heap::growth),
        Kind::BurstResident => burst_memory(meter, heap::resident_growth),
        Kind::TaskWakes | Kind::TaskSpawns | Kind::TaskPair => return super::tasks::calloop::run(kind, meter),
        Kind::BusyChain => return run(Kind::ChainCallbacks, meter),
        Kind::BusyBurst => return run(Kind::BurstCallbacks, meter),
        Kind::BusyRemote => busy_remote(meter),
    })
}

pub fn run_own(kind: Kind, meter: &Meter) -> Option<Sample> {
    match kind {
        Kind::BurstCallbacks => Some(own_burst(meter, |handle, tally, value| {
            let work = Work { tally, value };
            handle.insert_idle(move |_| work.run());
        })),
        Kind::LargeCallbacks => Some(own_burst(meter, |handle, tally, value| {
            let work = LargeWork::new(tally, value);
            handle.insert_idle(move |_| work.run());
        })),
        Kind::BurstMessages => Some(own_burst_messages(meter)),
        Kind::ChainMessages => Some(own_chain_messages(meter)),
        _ => None,
    }
}

/// A posted closure, which may post.
struct Callback(Box<Posted>);

type Posted = dyn FnOnce(&Sender<Callback>) + Send;

fn event_loop<D>() -> EventLoop<'static, D> {
    EventLoop::try_new().expect("a loop is made")
}

fn drain<D>(event_loop: &mut EventLoop<'static, D>, data: &mut D, tally: &Tally, count: u64) {
    while tally.count() < count {
        event_loop.dispatch(Some(Duration::ZERO), data).expect("the loop polls");
    }
}

fn await_all<D>(event_loop: &mut EventLoop<'static, D>, data: &mut D, tally: &Tally, count: u64) {
    while tally.count() < count {
        event_loop.dispatch(None, data).expect("the loop polls");
    }
}

/// A loop that runs the closures that are sent to it; they find the sender in its data.
fn callbacks() -> (EventLoop<'static, Sender<Callback>>, Sender<Callback>) {
    let event_loop = event_loop();
    let (sender, receiver) = channel();
    let run = |event, _: &mut (), sender: &mut Sender<Callback>| {
        if let Event::Msg(Callback(callback)) = event {
            callback(sender);
        }
    };
    event_loop.handle().insert_source(receiver, run).expect("the channel is added");
    (event_loop, sender)
}

/// A loop that hands what is sent to it to a handler.
fn messages(mut handler: impl FnMut(u64) + 'static) -> (EventLoop<'static, ()>, Sender<u64>) {
    let event_loop = event_loop();
    let (sender, receiver) = channel();
    let run = move |event, _: &mut (), _: &mut ()| {
        if let Event::Msg(value) = event {
            handler(value);
        }
    };
    event_loop.handle().insert_source(receiver, run).expect("the channel is added");
    (event_loop, sender)
}

fn burst(meter: &Meter, post: impl Fn(&Sender<Callback>, &'static Tally, u64)) -> Sample {
    let tally = Tally::leak();
    let (mut event_loop, mut sender) = callbacks();
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let took = timed(|| {
            for value in 0..count {
                post(&sender, tally, value);
            }
            drain(&mut event_loop, &mut sender, tally, count);
        });
        tally.settle_below(took, count)
    })
}

fn burst_messages(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let (mut event_loop, sender) = messages(|value| tally.add(value));
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let took = timed(|| {
            for value in 0..count {
                sender.send(value).expect("the loop runs");
            }
            drain(&mut event_loop, &mut (), tally, count);
        });
        tally.settle_below(took, count)
    })
}

fn hop(work: Work, sender: &Sender<Callback>) {
    work.run();
    if let Some(value) = work.value.checked_sub(1) {
        let next = Work { value, ..work };
        sender.send(Callback(Box::new(move |sender| hop(next, sender)))).expect("the loop runs");
    }
}

fn chain_callbacks(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let (mut event_loop, mut sender) = callbacks();
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let took = timed(|| {
            let first = Work { tally, value: count - 1 };
            sender.send(Callback(Box::new(move |sender| hop(first, sender)))).expect("the loop runs");
            drain(&mut event_loop, &mut sender, tally, count);
        });
        tally.settle_below(took, count)
    })
}

fn chain_messages(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let next = Rc::new(RefCell::new(None::<Sender<u64>>));
    let own = next.clone();
    let (mut event_loop, sender) = messages(move |value: u64| {
        tally.add(value);
        if let (Some(value), Some(sender)) = (value.checked_sub(1), &*own.borrow()) {
            sender.send(value).expect("the loop runs");
        }
    });
    *next.borrow_mut() = Some(sender.clone());
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let took = timed(|| {
            sender.send(count - 1).expect("the loop runs");
            drain(&mut event_loop, &mut (), tally, count);
        });
        tally.settle_below(took, count)
    })
}

fn own_burst(meter: &Meter, post: impl Fn(&LoopHandle<'static, ()>, &'static Tally, u64)) -> Sample {
    let tally = Tally::leak();
    let mut event_loop = event_loop();
    let handle = event_loop.handle();
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let took = timed(|| {
            for value in 0..count {
                post(&handle, tally, value);
            }
            drain(&mut event_loop, &mut (), tally, count);
        });
        tally.settle_below(took, count)
    })
}

/// What a message does on the own queue, given the queue.
type Handle = Box<dyn FnMut(&RefCell<VecDeque<u64>>, u64)>;

fn own_messages(meter: &Meter, tally: &'static Tally, mut handle: Handle, initial: std::ops::Range<u64>) -> Sample {
    let mut event_loop = event_loop();
    let queue = Rc::new(RefCell::new(VecDeque::new()));
    let (ping, source) = make_ping().expect("a ping is made");
    let own = queue.clone();
    let run = move |(), _: &mut (), _: &mut ()| {
        let next = || own.borrow_mut().pop_front();
        while let Some(value) = next() {
            handle(&own, value);
        }
    };
    event_loop.handle().insert_source(source, run).expect("the ping is added");
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let took = timed(|| {
            for value in initial.clone() {
                let was_empty = {
                    let mut queue = queue.borrow_mut();
                    queue.push_back(value);
                    queue.len() == 1
                };
                if was_empty {
                    ping.ping();
                }
            }
            drain(&mut event_loop, &mut (), tally, count);
        });
        tally.settle_below(took, count)
    })
}

fn own_burst_messages(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    own_messages(meter, tally, Box::new(|_, value| tally.add(value)), 0..meter.size as u64)
}

fn own_chain_messages(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let handle = |queue: &RefCell<VecDeque<u64>>, value: u64| {
        tally.add(value);
        if let Some(value) = value.checked_sub(1) {
            queue.borrow_mut().push_back(value);
        }
    };
    let count = meter.size as u64;
    own_messages(meter, tally, Box::new(handle), count - 1..count)
}

fn flood_callbacks(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let (mut event_loop, mut own) = callbacks();
    meter.repeat(meter.size * FLOOD, || {
        let posts = (0..meter.size).map(|_| {
            let sender = own.clone();
            move |value| {
                let work = Work { tally, value };
                sender.send(Callback(Box::new(move |_| work.run()))).expect("the loop runs");
            }
        });
        flood(posts.collect(), tally, |count| await_all(&mut event_loop, &mut own, tally, count))
    })
}

fn flood_messages(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let (mut event_loop, sender) = messages(|value| tally.add(value));
    meter.repeat(meter.size * FLOOD, || {
        let senders = (0..meter.size).map(|_| sender.clone());
        let posts = senders.map(|sender| move |value| sender.send(value).expect("the loop runs"));
        flood(posts.collect(), tally, |count| await_all(&mut event_loop, &mut (), tally, count))
    })
}

fn ping_pong(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let forth = Rc::new(RefCell::new(None::<Sender<u64>>));
    let own = forth.clone();
    let (mut near, near_sender) = messages(move |value| {
        tally.add(value);
        if let (Some(value), Some(sender)) = (value.checked_sub(1), &*own.borrow()) {
            sender.send(value).expect("the other loop runs");
        }
    });
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let (to_near, from_far) = mpsc::channel();
        let back = near_sender.clone();
        let echo = thread::spawn(move || {
            let last = Rc::new(Cell::new(count));
            let seen = last.clone();
            let (mut far, sender) = messages(move |value| {
                seen.set(value);
                back.send(value).expect("the other loop runs");
            });
            to_near.send(sender).expect("the other thread waits");
            while last.get() > 0 {
                far.dispatch(None, &mut ()).expect("the loop polls");
            }
        });
        let sender = from_far.recv().expect("the other thread has a loop");
        *forth.borrow_mut() = Some(sender.clone());
        let took = timed(|| {
            sender.send(count - 1).expect("the other loop runs");
            await_all(&mut near, &mut (), tally, count);
        });
        echo.join().expect("the other thread does not panic");
        tally.settle_below(took, count)
    })
}

fn timer(handle: &LoopHandle<'static, ()>, timer: Timer, work: Work) -> RegistrationToken {
    let fire = move |_, _: &mut (), _: &mut ()| {
        work.run();
        TimeoutAction::Drop
    };
    handle.insert_source(timer, fire).expect("the timer is added")
}

fn insert(
    handle: &LoopHandle<'static, ()>,
    delays: &[Duration],
    tally: &'static Tally,
    tokens: &mut Vec<RegistrationToken>,
) {
    for (value, delay) in delays.iter().enumerate() {
        tokens.push(timer(handle, Timer::from_duration(*delay), Work { tally, value: value as u64 }));
    }
}

/// Removing does not tell whether the timer was pending: here alone, it is taken on trust.
fn cancel_all(handle: &LoopHandle<'static, ()>, tokens: &mut Vec<RegistrationToken>, tally: &Tally) {
    for (value, token) in tokens.drain(..).enumerate() {
        handle.remove(token);
        tally.add(value as u64);
    }
}

fn timers_insert(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let delays = far_delays(meter.size);
    let mut event_loop = event_loop::<()>();
    let handle = event_loop.handle();
    let mut tokens = Vec::with_capacity(meter.size);
    meter.repeat(meter.size, || {
        let took = timed(|| {
            insert(&handle, &delays, tally, &mut tokens);
        });
        cancel_all(&handle, &mut tokens, tally);
        event_loop.dispatch(Some(Duration::ZERO), &mut ()).expect("the loop polls");
        tally.settle_below(took, meter.size as u64)
    })
}

fn timers_cancel(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let delays = far_delays(meter.size);
    let mut event_loop = event_loop::<()>();
    let handle = event_loop.handle();
    let mut tokens = Vec::with_capacity(meter.size);
    meter.repeat(meter.size, || {
        insert(&handle, &delays, tally, &mut tokens);
        Dice::new().shuffle(&mut tokens);
        let took = timed(|| {
            cancel_all(&handle, &mut tokens, tally);
        });
        event_loop.dispatch(Some(Duration::ZERO), &mut ()).expect("the loop polls");
        tally.settle_below(took, meter.size as u64)
    })
}

fn timers_fire(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let due = meter.due();
    let delays = near_delays(meter.size, &due);
    let mut event_loop = event_loop::<()>();
    let handle = event_loop.handle();
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let begin = Instant::now();
        for (value, delay) in delays.iter().enumerate() {
            timer(&handle, Timer::from_deadline(begin + *delay), Work { tally, value: value as u64 });
        }
        await_near_delays(begin, &due, tally);
        let took = timed(|| {
            drain(&mut event_loop, &mut (), tally, count);
        });
        tally.settle_below(took, count)
    })
}

fn timer_bytes(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let delays = far_delays(meter.size);
    let event_loop = event_loop::<()>();
    let handle = event_loop.handle();
    let bytes = heap::growth(&mut || {
        for (value, delay) in delays.iter().enumerate() {
            timer(&handle, Timer::from_duration(*delay), Work { tally, value: value as u64 });
        }
    });
    Sample::of(bytes / meter.size as f64, meter.size)
}

fn watch(handle: &LoopHandle<'static, ()>, fd: &Rc<EventFd>, work: Work) -> RegistrationToken {
    let callback = move |_, fd: &mut calloop::generic::NoIoDrop<Rc<EventFd>>, _: &mut ()| {
        read(fd);
        work.run();
        Ok(PostAction::Continue)
    };
    handle.insert_source(Generic::new(fd.clone(), Interest::READ, Mode::Level), callback).expect("the fd is added")
}

fn ready_fds(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let ready = ReadyFds::new(meter.size);
    let mut event_loop = event_loop::<()>();
    for (value, fd) in ready.fds.iter().enumerate() {
        watch(&event_loop.handle(), fd, Work { tally, value: value as u64 });
    }
    ready.measure(meter, tally, |count| await_all(&mut event_loop, &mut (), tally, count))
}

fn fd_churn(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let others = eventfds(meter.size);
    let mut event_loop = event_loop::<()>();
    let handle = event_loop.handle();
    for fd in &others {
        watch(&handle, fd, Work { tally, value: 0 });
    }
    let fd = eventfd();
    meter.repeat(CHURN, || {
        let took = timed(|| {
            for _ in 0..CHURN {
                handle.remove(watch(&handle, &fd, Work { tally, value: 1 }));
            }
        });
        let token = watch(&handle, &fd, Work { tally, value: 1 });
        fd.write(1).expect("an eventfd is written");
        await_all(&mut event_loop, &mut (), tally, 1);
        handle.remove(token);
        tally.settle(took, 1, 1)
    })
}

fn fd_bytes(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let sources = eventfds(meter.size);
    let event_loop = event_loop::<()>();
    let bytes = heap::growth(&mut || {
        for (value, fd) in sources.iter().enumerate() {
            watch(&event_loop.handle(), fd, Work { tally, value: value as u64 });
        }
    });
    Sample::of(bytes / meter.size as f64, meter.size)
}

fn lateness(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let delay = Duration::from_micros(meter.size as u64);
    let mut event_loop = event_loop::<()>();
    let late = Rc::new(Cell::new(Duration::ZERO));
    meter.repeat(1, || {
        let deadline = Instant::now() + delay;
        let seen = late.clone();
        let fire = move |_, _: &mut (), _: &mut ()| {
            seen.set(Instant::now().checked_duration_since(deadline).expect("never early"));
            tally.add(0);
            TimeoutAction::Drop
        };
        event_loop.handle().insert_source(Timer::from_duration(delay), fire).expect("the timer is added");
        await_all(&mut event_loop, &mut (), tally, 1);
        tally.settle(late.get(), 1, 0)
    })
}

fn mix(meter: &Meter) -> Sample {
    let mixture = Mixture::leak(meter.size);
    let (mut event_loop, mut own) = callbacks();
    let handle = event_loop.handle();
    for index in 0..TIMERS {
        let fire = move |_, _: &mut (), _: &mut Sender<Callback>| {
            mixture.fire();
            TimeoutAction::ToDuration(period(index))
        };
        handle.insert_source(Timer::from_duration(period(index)), fire).expect("the timer is added");
    }
    for index in 0..FDS {
        let source = Generic::new(mixture.fd(index), Interest::READ, Mode::Level);
        let callback = move |_, _: &mut _, _: &mut Sender<Callback>| {
            mixture.serve(index);
            Ok(PostAction::Continue)
        };
        handle.insert_source(source, callback).expect("the fd is added");
    }
    let sender = own.clone();
    let post = || {
        let sender = sender.clone();
        move |value| sender.send(Callback(Box::new(move |_| mixture.close(value)))).expect("the loop runs")
    };
    mixture.measure(meter, post, || event_loop.dispatch(None, &mut own).expect("the loop polls"))
}

fn burst_memory(meter: &Meter, growth: fn(&mut dyn FnMut()) -> f64) -> Sample {
    let tally = Tally::leak();
    let (mut event_loop, mut sender) = callbacks();
    let count = meter.size as u64;
    let value = growth(&mut || {
        for value in 0..count {
            let work = Work { tally, value };
            sender.send(Callback(Box::new(move |_| work.run()))).expect("the loop runs");
        }
        drain(&mut event_loop, &mut sender, tally, count);
    });
    tally.settle_below(Duration::ZERO, count);
    Sample::of(value, meter.size)
}

fn busy_remote(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let (mut event_loop, mut sender) = callbacks();
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let work = move |sender: &Sender<Callback>| {
            let post = |value| {
                let work = Work { tally, value };
                sender.send(Callback(Box::new(move |_| work.run()))).expect("the loop runs");
            };
            thread::scope(|scope| drop(scope.spawn(|| (0..count).for_each(post)).join()));
        };
        let took = timed(|| {
            sender.send(Callback(Box::new(work))).expect("the loop runs");
            await_all(&mut event_loop, &mut sender, tally, count);
        });
        tally.settle_below(took, count)
    })
}
