//! W15 and W16: what another thread asks of a loop that sleeps, and cancels there. calloop and libuv have neither.

use std::{fs, thread, time::Duration};

use nix::unistd::{Pid, gettid};

use crate::{
    meter::{Meter, Sample, timed},
    tally::{Round, Tally},
    workload::Kind,
};

/// How many questions a repetition has.
const QUESTIONS: usize = 10_000;
/// How many timers are pending meanwhile.
const PENDING: usize = 8;
const HOUR: Duration = Duration::from_secs(3600);

/// How long `work` takes on another thread while this one sleeps in `sleep`, which `wake` ends.
fn from_another_thread(work: impl FnOnce() + Send, wake: impl FnOnce() + Send, sleep: impl FnOnce()) -> Duration {
    let this = gettid();
    thread::scope(|scope| {
        let other = scope.spawn(move || {
            await_sleep(this);
            let took = timed(work);
            wake();
            took
        });
        sleep();
        other.join().expect("the other thread does not panic")
    })
}

/// Waits until the kernel says that `thread` sleeps.
fn await_sleep(thread: Pid) {
    let path = format!("/proc/self/task/{thread}/stat");
    loop {
        let stat = fs::read_to_string(&path).expect("procfs is mounted");
        // The state comes after the name, which is in brackets.
        if stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('S')) {
            return;
        }
        thread::yield_now();
    }
}

/// The same for all contenders; `work` has asserted what it was answered.
fn asked(took: Duration, count: usize) -> Round {
    Round { took, checksum: count as u64 }
}

pub mod alooper {
    use ::alooper::{Handler, Looper};

    use super::*;

    pub fn run(kind: Kind, meter: &Meter) -> Option<Sample> {
        let looper = Looper::new().expect("a looper is made");
        let woken = Tally::leak();
        let handle = looper.handle();
        let wake = || drop(handle.post(|_| woken.add(0)).expect("the looper runs"));
        let sleep = || {
            while woken.count() == 0 {
                looper.poll_once(None).expect("the looper polls");
            }
            woken.reset();
        };
        if kind == Kind::RemoteCancel {
            return Some(meter.repeat(meter.size, || {
                let post = |_| looper.handle().post_delayed(HOUR, |_| ()).expect("the looper runs");
                let posted: Vec<_> = (0..meter.size).map(post).collect();
                let work = || assert!(posted.into_iter().all(|posted| posted.cancel()));
                asked(from_another_thread(work, wake, sleep), meter.size)
            }));
        }
        let handler = Handler::new(&looper, |_, _: u64| ());
        for what in 1..=PENDING as i32 {
            handler.message(0).what(what).send_delayed(HOUR).expect("the looper runs");
        }
        Some(meter.repeat(QUESTIONS, || {
            let (handle, handler) = (looper.handle(), handler.clone());
            let work = move || match meter.size {
                1 => assert!((0..QUESTIONS).all(|_| handle.len() == PENDING)),
                _ => assert!((0..QUESTIONS).all(|_| handler.has(PENDING as i32))),
            };
            asked(from_another_thread(work, wake, sleep), QUESTIONS)
        }))
    }
}

pub mod floor {
    use std::{
        collections::BTreeMap,
        sync::{Mutex, PoisonError},
    };

    use super::*;
    use crate::contenders::floor::{Inbox, drain};

    /// Timers in a map behind a mutex.
    pub fn run(kind: Kind, meter: &Meter) -> Option<Sample> {
        let timers = Mutex::new(BTreeMap::<u64, Box<dyn FnOnce() + Send>>::new());
        let timers = || timers.lock().unwrap_or_else(PoisonError::into_inner);
        let fill = |count: usize| (0..count as u64).for_each(|key| drop(timers().insert(key, Box::new(|| ()))));
        let (inbox, woken) = (Inbox::new(), Tally::leak());
        let wake = || inbox.post(0);
        let sleep = || {
            drain(&inbox, || woken.count() == 0, |value| woken.add(value));
            woken.reset();
        };
        if kind == Kind::RemoteCancel {
            return Some(meter.repeat(meter.size, || {
                fill(meter.size);
                let work = || assert!((0..meter.size as u64).all(|key| timers().remove(&key).is_some()));
                asked(from_another_thread(work, wake, sleep), meter.size)
            }));
        }
        fill(PENDING);
        Some(meter.repeat(QUESTIONS, || {
            let work = || match meter.size {
                1 => assert!((0..QUESTIONS).all(|_| timers().len() == PENDING)),
                _ => assert!((0..QUESTIONS).all(|_| timers().contains_key(&(PENDING as u64 - 1)))),
            };
            asked(from_another_thread(work, wake, sleep), QUESTIONS)
        }))
    }
}

pub mod tokio {
    use ::tokio::{
        runtime::{Builder, LocalOptions},
        sync::Notify,
        task::{JoinHandle, spawn_local, yield_now},
        time::sleep,
    };

    use super::*;

    /// A timer is a task that sleeps. Whether one is there is asked of its handle; how many there are, nobody tells.
    pub fn run(kind: Kind, meter: &Meter) -> Option<Sample> {
        if kind == Kind::RemoteQuestion && meter.size == 1 {
            return None;
        }
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let runtime = runtime.expect("a runtime is made");
        let woken = Notify::new();
        let wake = || woken.notify_one();
        let sleep_all = async |count: usize| -> Vec<JoinHandle<()>> {
            let tasks = (0..count).map(|_| spawn_local(async { sleep(HOUR).await })).collect();
            yield_now().await;
            tasks
        };
        let sleep = || runtime.block_on(woken.notified());
        if kind == Kind::RemoteCancel {
            return Some(meter.repeat(meter.size, || {
                let tasks = runtime.block_on(sleep_all(meter.size));
                let work = || tasks.iter().for_each(JoinHandle::abort);
                let took = from_another_thread(work, wake, sleep);
                let aborted = |task: JoinHandle<()>| runtime.block_on(task).is_err_and(|error| error.is_cancelled());
                assert!(tasks.into_iter().all(aborted));
                asked(took, meter.size)
            }));
        }
        let tasks = runtime.block_on(sleep_all(PENDING));
        Some(meter.repeat(QUESTIONS, || {
            let work = || assert!((0..QUESTIONS).all(|_| !tasks[PENDING - 1].is_finished()));
            asked(from_another_thread(work, wake, sleep), QUESTIONS)
        }))
    }
}
