//! X6: a loop that four threads flood for a while, as fast as they can, and so for ever as far as it knows. How long do
//! an fd that is ready and a timer that is due wait meanwhile, how much runs, and how much memory does that take?

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::{
    eventfd::EventFd,
    resource::{UsageWho, getrusage},
};

use super::common::{plain_eventfd, read};
use crate::{
    meter::{Meter, Sample},
    tally::{Tally, Work},
    workload::{Flood, Kind},
};

const THREADS: u64 = 4;
/// Of the timer that the loop sets again whenever it was fired.
pub const PERIOD: Duration = Duration::from_millis(1);
/// How much a bounded queue has room for.
pub const ROOM: usize = 1024;

/// What the loop's callbacks share with the threads.
pub struct Flooded {
    pub fd: EventFd,
    base: Instant,
    tally: Tally,
    /// When the fd was made ready last, in nanoseconds after the base.
    written: AtomicU64,
    served: AtomicU64,
    fd_waits: Mutex<Vec<Duration>>,
    timer_waits: Mutex<Vec<Duration>>,
    is_over: AtomicBool,
}

impl Flooded {
    pub fn leak() -> &'static Flooded {
        Box::leak(Box::new(Flooded {
            fd: plain_eventfd(),
            base: Instant::now(),
            tally: Tally::default(),
            written: AtomicU64::new(0),
            served: AtomicU64::new(0),
            fd_waits: Mutex::default(),
            timer_waits: Mutex::default(),
            is_over: AtomicBool::new(false),
        }))
    }

    /// What a closure does.
    pub fn work(&'static self, value: u64) -> Work {
        Work { tally: &self.tally, value }
    }

    /// What the fd's callback does.
    pub fn serve(&self) {
        read(&self.fd);
        let wait = self.now().saturating_sub(self.written.load(Relaxed));
        lock(&self.fd_waits).push(Duration::from_nanos(wait));
        self.served.fetch_add(1, Release);
    }

    /// What the timer does that was due at `deadline`. Gives its next deadline.
    pub fn fire(&self, deadline: Instant) -> Instant {
        let now = Instant::now();
        lock(&self.timer_waits).push(now.saturating_duration_since(deadline));
        now + PERIOD
    }

    fn now(&self) -> u64 {
        self.base.elapsed().as_nanos() as u64
    }

    /// Makes the fd ready as soon as it was served, again and again, and ends the flood. How many ran until then.
    fn ping(&self, length: Duration) -> u64 {
        let start = Instant::now();
        while start.elapsed() < length {
            let served = self.served.load(Acquire);
            self.written.store(self.now(), Relaxed);
            self.fd.write(1).expect("an eventfd is written");
            while self.served.load(Acquire) == served && start.elapsed() < length {
                thread::yield_now();
            }
        }
        let ran = self.tally.count();
        self.is_over.store(true, Relaxed);
        ran
    }

    /// Floods the loop that `turn` turns, by what `post` makes for each thread, and proves that everything ran.
    pub fn measure<P>(&self, kind: Kind, meter: &Meter, post: impl Fn() -> P, mut turn: impl FnMut()) -> Option<Sample>
    where
        P: Fn(u64) + Send,
    {
        let Kind::Flooded { what, .. } = kind else { return None };
        let before = resident();
        let (ran, posted) = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    let post = post();
                    scope.spawn(move || {
                        let values = (0..).take_while(|_| !self.is_over.load(Relaxed));
                        values.map(post).count() as u64
                    })
                })
                .collect();
            let pinging = scope.spawn(|| self.ping(meter.flood()));
            // The timer ends each sleep.
            while !(pinging.is_finished() && threads.iter().all(|thread| thread.is_finished())) {
                turn();
            }
            let counts: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect();
            (pinging.join().expect("it does not panic"), counts)
        });
        let count = posted.iter().sum();
        while self.tally.count() < count {
            turn();
        }
        let sum = posted.iter().map(|count| crate::tally::sum_below(*count)).sum::<u64>();
        assert_eq!((self.tally.count(), self.tally.sum()), (count, sum), "count and sum of what ran");
        let value = match what {
            Flood::Fd => percentile(&self.fd_waits, meter.size),
            Flood::Timer => percentile(&self.timer_waits, meter.size),
            Flood::Ran => meter.flood().as_nanos() as f64 / ran.max(1) as f64,
            Flood::Memory => resident() - before,
        };
        Some(Sample::of(value, meter.size))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn percentile(waits: &Mutex<Vec<Duration>>, percent: usize) -> f64 {
    let mut waits = lock(waits);
    waits.sort_unstable();
    let at = waits.len().saturating_sub(1) * percent / 100;
    waits.get(at).map_or(f64::INFINITY, |wait| wait.as_nanos() as f64)
}

/// The most that this process has had resident, in bytes.
fn resident() -> f64 {
    getrusage(UsageWho::RUSAGE_SELF).expect("it can be asked").max_rss() as f64 * 1024.0
}

pub mod alooper {
    use std::os::fd::BorrowedFd;

    use ::alooper::{FdNext, Interest, Looper};

    use super::*;

    pub fn run(kind: Kind, meter: &Meter, bounded: bool) -> Option<Sample> {
        let flooded = Flooded::leak();
        let looper = Looper::new().expect("a looper is made");
        let serve = |_: &Looper, _: &mut BorrowedFd<'static>, _| {
            flooded.serve();
            FdNext::Keep
        };
        looper.add_fd(std::os::fd::AsFd::as_fd(&flooded.fd), Interest::INPUT, serve).expect("the fd is added");
        set(&looper, flooded, Instant::now() + PERIOD);
        let turn = || drop(looper.poll_once(None).expect("the looper polls"));
        if bounded {
            let handler = looper.bounded_handler(ROOM, |_, value| flooded.work(value).run());
            let handler = handler.expect("there is room for some");
            let post = || {
                let handler = handler.clone();
                move |value| drop(handler.send(value).expect("the looper runs"))
            };
            return flooded.measure(kind, meter, post, turn);
        }
        let post = || {
            let handle = looper.handle();
            move |value| {
                let work = flooded.work(value);
                handle.post(move |_| work.run()).expect("the looper runs");
            }
        };
        flooded.measure(kind, meter, post, turn)
    }

    fn set(looper: &Looper, flooded: &'static Flooded, deadline: Instant) {
        let fire = move |looper: &Looper| set(looper, flooded, flooded.fire(deadline));
        looper.post_at(deadline, fire).expect("the looper runs");
    }
}

pub mod calloop {
    use std::os::fd::{AsFd, BorrowedFd};

    use ::calloop::{
        EventLoop, Interest, Mode, PostAction,
        channel::{Event, channel, sync_channel},
        generic::{Generic, NoIoDrop},
        timer::{TimeoutAction, Timer},
    };

    use super::*;

    pub fn run(kind: Kind, meter: &Meter, bounded: bool) -> Option<Sample> {
        let flooded = Flooded::leak();
        let mut event_loop = EventLoop::<()>::try_new().expect("a loop is made");
        let handle = event_loop.handle();
        let serve = |_, _: &mut NoIoDrop<BorrowedFd<'static>>, _: &mut ()| {
            flooded.serve();
            Ok(PostAction::Continue)
        };
        let source = Generic::new(flooded.fd.as_fd(), Interest::READ, Mode::Level);
        handle.insert_source(source, serve).expect("the fd is added");
        let fire = |deadline, _: &mut (), _: &mut ()| TimeoutAction::ToInstant(flooded.fire(deadline));
        handle.insert_source(Timer::from_duration(PERIOD), fire).expect("the timer is added");
        if bounded {
            let (sender, receiver) = sync_channel(ROOM);
            let run = |event, _: &mut (), _: &mut ()| {
                if let Event::Msg(value) = event {
                    flooded.work(value).run();
                }
            };
            handle.insert_source(receiver, run).expect("the channel is added");
            let post = || {
                let sender = sender.clone();
                move |value| sender.send(value).expect("the loop runs")
            };
            return flooded.measure(kind, meter, post, || event_loop.dispatch(None, &mut ()).expect("the loop polls"));
        }
        let (sender, receiver) = channel::<Box<dyn FnOnce() + Send>>();
        let run = |event: Event<Box<dyn FnOnce() + Send>>, _: &mut (), _: &mut ()| {
            if let Event::Msg(closure) = event {
                closure();
            }
        };
        handle.insert_source(receiver, run).expect("the channel is added");
        let post = || {
            let sender = sender.clone();
            move |value| {
                let work = flooded.work(value);
                assert!(sender.send(Box::new(move || work.run())).is_ok(), "the loop runs");
            }
        };
        flooded.measure(kind, meter, post, || event_loop.dispatch(None, &mut ()).expect("the loop polls"))
    }
}

pub mod tokio {
    use std::os::fd::AsFd;

    use ::tokio::{
        runtime::{Builder, LocalOptions},
        sync::mpsc::{channel, unbounded_channel},
        task::{spawn_local, yield_now},
        time::sleep_until,
    };

    use super::*;
    use crate::contenders::tokio::watch;

    /// Tasks: one watches the fd, one is the timer, one runs what is posted. A turn ends with the next timer.
    pub fn run(kind: Kind, meter: &Meter, bounded: bool) -> Option<Sample> {
        let flooded = Flooded::leak();
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let runtime = runtime.expect("a runtime is made");
        runtime.block_on(async {
            watch(flooded.fd.as_fd(), |_| flooded.serve());
            spawn_local(async {
                let mut deadline = Instant::now() + PERIOD;
                loop {
                    sleep_until(deadline.into()).await;
                    deadline = flooded.fire(deadline);
                }
            });
            yield_now().await;
        });
        let turn = || runtime.block_on(async { ::tokio::time::sleep(PERIOD).await });
        if bounded {
            let (sender, mut receiver) = channel(ROOM);
            runtime.block_on(async {
                spawn_local(async move {
                    while let Some(value) = receiver.recv().await {
                        flooded.work(value).run();
                    }
                });
            });
            let post = || {
                let sender = sender.clone();
                move |value| sender.blocking_send(value).expect("the loop runs")
            };
            return flooded.measure(kind, meter, post, turn);
        }
        let (sender, mut receiver) = unbounded_channel::<Box<dyn FnOnce() + Send>>();
        runtime.block_on(async {
            spawn_local(async move {
                while let Some(closure) = receiver.recv().await {
                    closure();
                }
            });
        });
        let post = || {
            let sender = sender.clone();
            move |value| {
                let work = flooded.work(value);
                assert!(sender.send(Box::new(move || work.run())).is_ok(), "the loop runs");
            }
        };
        flooded.measure(kind, meter, post, turn)
    }
}

pub mod floor {
    use std::{cell::Cell, rc::Rc, sync::Condvar};

    use nix::sys::{
        epoll::EpollTimeout,
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
    };

    use super::*;
    use crate::contenders::floor::{Fds, Inbox};

    /// Serves its fds, of which one is the timer, after each 256 closures.
    pub fn run(kind: Kind, meter: &Meter, bounded: bool) -> Option<Sample> {
        let flooded = Flooded::leak();
        let inbox = Inbox::<Box<dyn FnOnce() + Send>>::new();
        let (room, has_room) = (Mutex::new(if bounded { ROOM } else { usize::MAX }), Condvar::new());
        let mut fds = Fds::new();
        fds.add(&flooded.fd, || flooded.serve());
        let wake = inbox.wake.clone();
        // Where something else has ended the sleep, a second thread may write before the first one does.
        fds.add(&inbox.wake, move || _ = wake.read());
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC);
        let timer = Rc::new(timer.expect("a timerfd is made"));
        let set = |timer: &TimerFd| {
            let after = Expiration::OneShot(nix::sys::time::TimeSpec::from_duration(PERIOD));
            timer.set(after, TimerSetTimeFlags::empty()).expect("the timer is set");
        };
        let (own, deadline) = (timer.clone(), Cell::new(Instant::now() + PERIOD));
        set(&timer);
        fds.add(&*timer, move || {
            own.wait().expect("the timer has expired");
            deadline.set(flooded.fire(deadline.get()));
            set(&own);
        });
        let post = || {
            |value| {
                if bounded {
                    let mut room = has_room.wait_while(lock(&room), |room| *room == 0).expect("nobody panics");
                    *room -= 1;
                }
                let work = flooded.work(value);
                inbox.post(Box::new(move || work.run()));
            }
        };
        let mut batch = Vec::new();
        flooded.measure(kind, meter, post, || {
            inbox.collect(&mut batch);
            fds.turn(if batch.is_empty() { EpollTimeout::NONE } else { EpollTimeout::ZERO });
            if bounded && !batch.is_empty() {
                *lock(&room) += batch.len();
                has_room.notify_all();
            }
            let mut closures = batch.drain(..);
            while closures.by_ref().take(256).map(|closure| closure()).count() == 256 {
                fds.turn(EpollTimeout::ZERO);
            }
        })
    }
}
