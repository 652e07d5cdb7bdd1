//! tokio, on a runtime that stays on its thread: closures and messages by an unbounded channel, which a loop receives;
//! a timer is a task that sleeps, and is aborted to cancel it; an fd is a task that awaits its `AsyncFd`. That is how
//! its documentation tells to write an actor, a timeout and a source that it does not know.

use std::{
    cell::Cell,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    rc::Rc,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nix::sys::eventfd::EventFd;
use tokio::{
    io::{Interest, unix::AsyncFd},
    runtime::{Builder, LocalOptions, LocalRuntime},
    sync::{
        Notify,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
    task::{JoinHandle, spawn_local, yield_now},
    time::{sleep, sleep_until},
};

use super::{
    common::{
        CHURN, FLOOD, HANDLERS, ReadyFds, await_near_delays, eventfd, eventfds, far_delays, flood, let_go, near_delays,
        one_core, read,
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
        Kind::BurstCallbacks => burst(meter, |sender, tally, value| {
            let work = Work { tally, value };
            sender.post(move |_| work.run());
        }),
        Kind::LargeCallbacks => burst(meter, |sender, tally, value| {
            let work = LargeWork::new(tally, value);
            sender.post(move |_| work.run());
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
        Kind::Flooded { bounded, .. } => return super::flooded::tokio::run(kind, meter, bounded),
        Kind::RemoteQuestion | Kind::RemoteCancel => return super::asked::tokio::run(kind, meter),
        Kind::Made | Kind::IdleFds | Kind::IdleBytes => super::made::tokio(kind, meter),
        Kind::ColdCallbacks => return run(Kind::BurstCallbacks, &meter.cold()),
        Kind::QuestionedChain | Kind::Watched(_) => return None,
        Kind::BurstHeap => burst_memory(meter, heap::growth),
        Kind::BurstResident => burst_memory(meter, heap::resident_growth),
        Kind::TaskWakes | Kind::TaskSpawns | Kind::TaskPair => return super::tasks::tokio::run(kind, meter),
        Kind::BusyChain => return run(Kind::ChainCallbacks, meter),
        Kind::BusyBurst => return run(Kind::BurstCallbacks, meter),
        Kind::BusyRemote => busy_remote(meter),
    })
}

fn runtime() -> LocalRuntime {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).expect("a runtime is made")
}

/// A posted closure, which may post.
struct Callback(Box<dyn FnOnce(&Poster) + Send>);

#[derive(Clone)]
struct Poster(UnboundedSender<Callback>);

impl Poster {
    fn post(&self, callback: impl FnOnce(&Poster) + Send + 'static) {
        assert!(self.0.send(Callback(Box::new(callback))).is_ok(), "the loop runs");
    }
}

fn callbacks() -> (Poster, UnboundedReceiver<Callback>) {
    let (sender, receiver) = unbounded_channel();
    (Poster(sender), receiver)
}

/// The loop that runs closures, until `count` have run.
async fn run_callbacks(poster: &Poster, receiver: &mut UnboundedReceiver<Callback>, tally: &Tally, count: u64) {
    while tally.count() < count {
        let Callback(callback) = receiver.recv().await.expect("there is a sender");
        callback(poster);
    }
}

/// The loop that hands messages to a handler, until `count` have been.
async fn handle(receiver: &mut UnboundedReceiver<u64>, mut handler: impl FnMut(u64), tally: &Tally, count: u64) {
    while tally.count() < count {
        handler(receiver.recv().await.expect("there is a sender"));
    }
}

fn burst(meter: &Meter, post: impl Fn(&Poster, &'static Tally, u64)) -> Sample {
    let tally = Tally::leak();
    let runtime = runtime();
    let (poster, mut receiver) = callbacks();
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let took = timed(|| {
            for value in 0..count {
                post(&poster, tally, value);
            }
            runtime.block_on(run_callbacks(&poster, &mut receiver, tally, count));
        });
        tally.settle_below(took, count)
    })
}

fn burst_messages(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let runtime = runtime();
    let (sender, mut receiver) = unbounded_channel();
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let took = timed(|| {
            for value in 0..count {
                sender.send(value).expect("the loop runs");
            }
            runtime.block_on(handle(&mut receiver, |value| tally.add(value), tally, count));
        });
        tally.settle_below(took, count)
    })
}

fn hop(work: Work, poster: &Poster) {
    work.run();
    if let Some(value) = work.value.checked_sub(1) {
        poster.post(move |poster| hop(Work { value, ..work }, poster));
    }
}

fn chain_callbacks(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let runtime = runtime();
    let (poster, mut receiver) = callbacks();
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let took = timed(|| {
            let first = Work { tally, value: count - 1 };
            poster.post(move |poster| hop(first, poster));
            runtime.block_on(run_callbacks(&poster, &mut receiver, tally, count));
        });
        tally.settle_below(took, count)
    })
}

/// What a handler does that sends the next smaller number to `sender`.
fn count_down(tally: &Tally, sender: &UnboundedSender<u64>, value: u64) {
    tally.add(value);
    if let Some(value) = value.checked_sub(1) {
        sender.send(value).expect("the loop runs");
    }
}

fn chain_messages(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let runtime = runtime();
    let (sender, mut receiver) = unbounded_channel();
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let took = timed(|| {
            sender.send(count - 1).expect("the loop runs");
            runtime.block_on(handle(&mut receiver, |value| count_down(tally, &sender, value), tally, count));
        });
        tally.settle_below(took, count)
    })
}

/// Tells when as much has run as is wanted, where no single loop knows.
struct Goal {
    tally: &'static Tally,
    count: Cell<u64>,
    reached: Notify,
}

impl Goal {
    fn new(tally: &'static Tally) -> Rc<Goal> {
        Rc::new(Goal { tally, count: Cell::new(0), reached: Notify::new() })
    }

    fn add(&self, value: u64) {
        self.tally.add(value);
        if self.tally.count() == self.count.get() {
            self.reached.notify_one();
        }
    }

    async fn reach(&self, count: u64) {
        self.count.set(count);
        self.reached.notified().await;
    }
}

/// Each handler is an actor: a task with a channel.
fn many_handlers(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let goal = Goal::new(tally);
    runtime().block_on(async {
        let senders: Vec<_> = (0..HANDLERS)
            .map(|_| {
                let (sender, mut receiver) = unbounded_channel();
                let goal = goal.clone();
                spawn_local(async move {
                    while let Some(value) = receiver.recv().await {
                        goal.add(value);
                    }
                });
                sender
            })
            .collect();
        settled().await;
        let count = meter.size as u64;
        meter
            .repeat_async(meter.size, async || {
                let start = Instant::now();
                for value in 0..meter.size {
                    senders[value % HANDLERS].send(value as u64).expect("the loop runs");
                }
                goal.reach(count).await;
                tally.settle_below(start.elapsed(), count)
            })
            .await
    })
}

fn flood_callbacks(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let runtime = runtime();
    let (poster, mut receiver) = callbacks();
    meter.repeat(meter.size * FLOOD, || {
        let posts = (0..meter.size).map(|_| {
            let poster = poster.clone();
            move |value| {
                let work = Work { tally, value };
                poster.post(move |_| work.run());
            }
        });
        flood(posts.collect(), tally, |count| {
            runtime.block_on(run_callbacks(&poster, &mut receiver, tally, count));
        })
    })
}

fn flood_messages(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let runtime = runtime();
    let (sender, mut receiver) = unbounded_channel();
    meter.repeat(meter.size * FLOOD, || {
        let senders = (0..meter.size).map(|_| sender.clone());
        let posts = senders.map(|sender| move |value| sender.send(value).expect("the loop runs"));
        flood(posts.collect(), tally, |count| {
            runtime.block_on(handle(&mut receiver, |value| tally.add(value), tally, count));
        })
    })
}

fn ping_pong(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let near = runtime();
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let (back, mut receiver) = unbounded_channel();
        let (to_near, from_far) = mpsc::channel();
        let echo = thread::spawn(move || {
            let (sender, mut receiver) = unbounded_channel();
            let far = runtime();
            to_near.send(sender).expect("the other thread waits");
            far.block_on(async {
                while let Some(value) = receiver.recv().await {
                    back.send(value).expect("the other loop runs");
                    if value == 0 {
                        return;
                    }
                }
            });
        });
        let forth: UnboundedSender<u64> = from_far.recv().expect("the other thread has a loop");
        let took = timed(|| {
            forth.send(count - 1).expect("the other loop runs");
            near.block_on(handle(&mut receiver, |value| count_down(tally, &forth, value), tally, count));
        });
        echo.join().expect("the other thread does not panic");
        tally.settle_below(took, count)
    })
}

/// Ends when every task that was spawned or woken before has run.
async fn settled() {
    spawn_local(async {}).await.expect("it does not panic");
}

fn timer(deadline: Instant, work: Work) -> JoinHandle<()> {
    spawn_local(async move {
        sleep_until(deadline.into()).await;
        work.run();
    })
}

/// A timer is inserted when its task has been polled first.
async fn insert(delays: &[Duration], tally: &'static Tally, tasks: &mut Vec<JoinHandle<()>>) {
    for (value, delay) in delays.iter().enumerate() {
        tasks.push(timer(Instant::now() + *delay, Work { tally, value: value as u64 }));
    }
    settled().await;
}

/// A timer is cancelled when its task has been dropped.
async fn cancel_all(tasks: &mut Vec<JoinHandle<()>>, tally: &Tally) {
    for task in &*tasks {
        task.abort();
    }
    settled().await;
    for (value, task) in tasks.drain(..).enumerate() {
        if task.is_finished() {
            tally.add(value as u64);
        }
    }
}

fn timers_insert(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let delays = far_delays(meter.size);
    let mut tasks = Vec::with_capacity(meter.size);
    let repetition = meter.repeat_async(meter.size, async || {
        let start = Instant::now();
        insert(&delays, tally, &mut tasks).await;
        let took = start.elapsed();
        cancel_all(&mut tasks, tally).await;
        tally.settle_below(took, meter.size as u64)
    });
    runtime().block_on(repetition)
}

fn timers_cancel(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let delays = far_delays(meter.size);
    let mut tasks = Vec::with_capacity(meter.size);
    let repetition = meter.repeat_async(meter.size, async || {
        insert(&delays, tally, &mut tasks).await;
        Dice::new().shuffle(&mut tasks);
        let start = Instant::now();
        cancel_all(&mut tasks, tally).await;
        tally.settle_below(start.elapsed(), meter.size as u64)
    });
    runtime().block_on(repetition)
}

fn timers_fire(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let mut due = meter.due();
    let mut delays = near_delays(meter.size, &due);
    let goal = Goal::new(tally);
    let count = meter.size as u64;
    let repetition = meter.repeat_async(meter.size, async || {
        let begin = loop {
            // Reached by none that fires too early.
            goal.count.set(0);
            let begin = Instant::now();
            for (value, delay) in delays.iter().enumerate() {
                let (deadline, goal) = (begin + *delay, goal.clone());
                spawn_local(async move {
                    sleep_until(deadline.into()).await;
                    goal.add(value as u64);
                });
            }
            settled().await;
            if tally.count() == 0 {
                break begin;
            }
            // The runtime fires while it polls other tasks first. On a machine so busy the lead has to be longer.
            while tally.count() < count {
                yield_now().await;
            }
            tally.reset();
            let lead = due.start;
            due = due.start + lead..due.end + lead;
            delays.iter_mut().for_each(|delay| *delay += lead);
        };
        await_near_delays(begin, &due, tally);
        let start = Instant::now();
        goal.reach(count).await;
        tally.settle_below(start.elapsed(), count)
    });
    runtime().block_on(repetition)
}

fn timer_bytes(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let delays = far_delays(meter.size);
    let runtime = runtime();
    let bytes = heap::growth(&mut || {
        runtime.block_on(async {
            for (value, delay) in delays.iter().enumerate() {
                drop(timer(Instant::now() + *delay, Work { tally, value: value as u64 }));
            }
            settled().await;
        });
    });
    Sample::of(bytes / meter.size as f64, meter.size)
}

/// What `AsyncFd` takes.
struct Source<T>(T);

impl<T: AsFd> AsRawFd for Source<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Calls back whenever an eventfd is ready. A read empties it, so that one that fails need not tell.
pub fn watch<T: AsFd + 'static>(fd: T, mut callback: impl FnMut(&T) + 'static) -> JoinHandle<()> {
    // SAFETY: the source owns the fd or borrows it for ever, and is not exchanged.
    let fd = unsafe { AsyncFd::register_with_interest(Source(fd), Interest::READABLE) }.expect("the fd is added");
    spawn_local(async move {
        loop {
            let mut guard = fd.readable().await.expect("the fd is watched");
            callback(&fd.get_ref().0);
            guard.clear_ready();
        }
    })
}

fn ready_fds(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let ready = ReadyFds::new(meter.size);
    let goal = Goal::new(tally);
    runtime().block_on(async {
        for (value, fd) in ready.fds.iter().enumerate() {
            let goal = goal.clone();
            watch(fd.clone(), move |fd| {
                read(fd);
                goal.add(value as u64);
            });
        }
        settled().await;
        let count = ready.turns() * ready.ready;
        meter
            .repeat_async(count, async || {
                let (mut sum, mut took) = (0, Duration::ZERO);
                for number in 0..ready.turns() {
                    sum += ready.make_ready(number);
                    let start = Instant::now();
                    goal.reach(((number + 1) * ready.ready) as u64).await;
                    took += start.elapsed();
                }
                tally.settle(took, count as u64, sum)
            })
            .await
    })
}

fn counting(fd: &Rc<EventFd>, goal: &Rc<Goal>) -> JoinHandle<()> {
    let goal = goal.clone();
    watch(fd.clone(), move |fd: &Rc<EventFd>| {
        read(fd);
        goal.add(1);
    })
}

fn fd_churn(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let others = eventfds(meter.size);
    let goal = Goal::new(tally);
    let fd = eventfd();
    runtime().block_on(async {
        for fd in &others {
            counting(fd, &goal);
        }
        settled().await;
        meter
            .repeat_async(CHURN, async || {
                let start = Instant::now();
                for _ in 0..CHURN {
                    let task = counting(&fd, &goal);
                    yield_now().await;
                    task.abort();
                    let _ = task.await;
                }
                let took = start.elapsed();
                let task = counting(&fd, &goal);
                fd.write(1).expect("an eventfd is written");
                goal.reach(1).await;
                task.abort();
                let _ = task.await;
                tally.settle(took, 1, 1)
            })
            .await
    })
}

fn fd_bytes(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let sources = eventfds(meter.size);
    let runtime = runtime();
    let bytes = heap::growth(&mut || {
        runtime.block_on(async {
            for (value, fd) in sources.iter().enumerate() {
                let work = Work { tally, value: value as u64 };
                watch(fd.clone(), move |fd: &Rc<EventFd>| {
                    read(fd);
                    work.run();
                });
            }
            settled().await;
        });
    });
    Sample::of(bytes / meter.size as f64, meter.size)
}

fn lateness(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let delay = Duration::from_micros(meter.size as u64);
    let repetition = meter.repeat_async(1, async || {
        let deadline = Instant::now() + delay;
        sleep_until(deadline.into()).await;
        tally.add(0);
        tally.settle(Instant::now().checked_duration_since(deadline).expect("never early"), 1, 0)
    });
    runtime().block_on(repetition)
}

fn mix(meter: &Meter) -> Sample {
    let mixture = Mixture::leak(meter.size);
    let runtime = runtime();
    let (poster, mut receiver) = callbacks();
    let done = Rc::new(Notify::new());
    runtime.block_on(async {
        for index in 0..TIMERS {
            spawn_local(async move {
                loop {
                    sleep(period(index)).await;
                    mixture.fire();
                }
            });
        }
        for index in 0..FDS {
            let done = done.clone();
            watch(mixture.fd(index), move |_: &BorrowedFd<'static>| {
                mixture.serve(index);
                if mixture.is_done() {
                    done.notify_one();
                }
            });
        }
        let (own, done) = (poster.clone(), done.clone());
        spawn_local(async move {
            while let Some(Callback(callback)) = receiver.recv().await {
                callback(&own);
                if mixture.is_done() {
                    done.notify_one();
                }
            }
        });
    });
    meter.repeat(mixture.ops(), || {
        let poster = poster.clone();
        let post = move |value| poster.post(move |_| mixture.close(value));
        let took = let_go(vec![post], meter.size, || runtime.block_on(done.notified()));
        while !mixture.is_time_served() {
            runtime.block_on(sleep(Duration::from_millis(1)));
        }
        mixture.settle(took)
    })
}

fn burst_memory(meter: &Meter, growth: fn(&mut dyn FnMut()) -> f64) -> Sample {
    let tally = Tally::leak();
    let runtime = runtime();
    let (poster, mut receiver) = callbacks();
    let count = meter.size as u64;
    let value = growth(&mut || {
        for value in 0..count {
            let work = Work { tally, value };
            poster.post(move |_| work.run());
        }
        runtime.block_on(run_callbacks(&poster, &mut receiver, tally, count));
    });
    tally.settle_below(Duration::ZERO, count);
    Sample::of(value, meter.size)
}

fn busy_remote(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let runtime = runtime();
    let (poster, mut receiver) = callbacks();
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let took = timed(|| {
            poster.post(move |poster| {
                let post = |value| {
                    let work = Work { tally, value };
                    poster.post(move |_| work.run());
                };
                thread::scope(|scope| drop(scope.spawn(|| (0..count).for_each(post)).join()));
            });
            runtime.block_on(run_callbacks(&poster, &mut receiver, tally, count));
        });
        tally.settle_below(took, count)
    })
}
