//! Tasks against threads that wake, cancel, await and let them go, and against a quit.
//!
//! Holds A2, A4.

use std::{
    cell::Cell,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use loom::{sync::atomic::AtomicBool, thread};

use super::{check, looper};
use crate::{
    error::TaskError,
    looper::Looper,
    sys::sync::{Condvar, Mutex},
    task::Task,
};

/// Wakes a thread that waits.
struct Bell {
    has_rung: Mutex<bool>,
    rung: Condvar,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.has_rung.lock() = true;
        self.rung.notify_all();
    }
}

/// Awaits `future` on this thread.
fn wait_for<F: Future>(future: F) -> F::Output {
    let bell = Arc::new(Bell { has_rung: Mutex::new(false), rung: Condvar::new() });
    let waker = Waker::from(bell.clone());
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        let mut has_rung = bell.has_rung.lock();
        while !*has_rung {
            has_rung = bell.rung.wait(has_rung);
        }
        *has_rung = false;
    }
}

/// A task that ends when `may_end` is set, and was polled once; with its waker.
fn waiting(looper: &Looper, may_end: &Arc<AtomicBool>) -> (Task<()>, Waker) {
    let (may_end, kept) = (may_end.clone(), Rc::new(Cell::new(None)));
    let waker = kept.clone();
    let task = looper.spawn(poll_fn(move |context| {
        waker.set(Some(context.waker().clone()));
        if may_end.load(Relaxed) { Poll::Ready(()) } else { Poll::Pending }
    }));
    looper.poll_once(Duration::ZERO).unwrap();
    (task.unwrap(), kept.take().unwrap())
}

/// C81: what is done before a wake is seen by a poll after it, also if the wake finds another one on its way.
#[test]
fn a2_a_wake_against_the_beginning_and_the_end_of_a_poll_is_not_lost() {
    check(|| {
        let (looper, _) = looper();
        let may_end = Arc::new(AtomicBool::new(false));
        let (task, waker) = waiting(&looper, &may_end);
        waker.wake_by_ref();
        let other = thread::spawn(move || {
            may_end.store(true, Relaxed);
            waker.wake();
        });

        while !task.is_finished() {
            looper.poll_once(None).unwrap();
        }

        other.join().unwrap();
    });
}

#[test]
fn a2_a_wake_ends_a_sleep() {
    check(|| {
        let (looper, _) = looper();
        let may_end = Arc::new(AtomicBool::new(false));
        let (task, waker) = waiting(&looper, &may_end);
        let other = thread::spawn(move || {
            may_end.store(true, Relaxed);
            waker.wake();
        });

        while !task.is_finished() {
            looper.poll_once(None).unwrap();
        }

        other.join().unwrap();
    });
}

/// C82.
#[test]
fn a4_a_wake_against_a_quit_and_the_end_of_the_looper_does_no_harm() {
    check(|| {
        let (looper, _) = looper();
        let may_end = Arc::new(AtomicBool::new(true));
        let (_, waker) = waiting(&looper, &may_end);
        let (task, other_waker) = waiting(&looper, &Arc::new(AtomicBool::new(false)));
        let other = thread::spawn(move || {
            other_waker.wake();
            waker.wake();
        });

        looper.quit();
        assert!(looper.poll_once(None).unwrap().quit);
        let handle = looper.handle();
        drop(looper);

        other.join().unwrap();
        let counts = handle.message_counts();
        assert_eq!(counts.posted, counts.run + counts.removed + counts.dropped);
        assert_eq!(wait_for(task), Err(TaskError::Quit));
    });
}

/// C83: who begins to wait just now is released, too, by the quit alone: nobody polls the looper.
#[test]
fn a4_a_quit_releases_who_waits_on_another_thread() {
    check(|| {
        let (looper, _) = looper();
        let (task, _waker) = waiting(&looper, &Arc::new(AtomicBool::new(false)));
        let waiter = thread::spawn(move || wait_for(task));

        looper.quit();

        assert_eq!(waiter.join().unwrap(), Err(TaskError::Quit));
    });
}

#[test]
fn a4_who_waits_on_another_thread_is_told_the_end() {
    check(|| {
        let (looper, _) = looper();
        let task = looper.spawn(async { 7 }).unwrap();
        let waiter = thread::spawn(move || wait_for(task));

        looper.poll_once(None).unwrap();

        assert_eq!(waiter.join().unwrap(), Ok(7));
    });
}

/// The value is dropped once, by one of the two, though a waker lives on. What `let_go` gives is reached by nobody else then.
fn let_go_against_the_end<T: Send + Sync + 'static>(let_go: fn(Task<Arc<()>>) -> Arc<T>) {
    check(move || {
        let (looper, _) = looper();
        let value = Arc::new(());
        let held = value.clone();
        let may_end = Rc::new(Cell::new(false));
        let kept = Rc::new(Cell::new(None));
        let (waker, may) = (kept.clone(), may_end.clone());
        let task = looper.spawn(poll_fn(move |context| {
            waker.set(Some(context.waker().clone()));
            if may.get() { Poll::Ready(held.clone()) } else { Poll::Pending }
        }));
        looper.poll_once(Duration::ZERO).unwrap();
        let waker = kept.take().unwrap();
        may_end.set(true);
        waker.wake_by_ref();
        let task = task.unwrap();
        let other = thread::spawn(move || let_go(task));

        looper.poll_once(Duration::ZERO).unwrap();

        let left = other.join().unwrap();
        assert_eq!((Arc::strong_count(&value), Arc::strong_count(&left)), (1, 1));
        drop(waker);
    });
}

#[test]
fn a4_who_lets_a_task_go_against_its_end_leaves_no_value_behind() {
    let_go_against_the_end(|task| {
        drop(task);
        Arc::new(())
    });
}

/// The same of one that was spawned by another thread than the looper's, which may end it anywhere.
#[test]
fn a4_who_lets_a_task_of_a_handle_go_against_its_end_leaves_no_value_behind() {
    check(|| {
        let (looper, _) = looper();
        let value = Arc::new(());
        let (held, kept) = (value.clone(), Arc::new(Mutex::new(None)));
        let waker = kept.clone();
        let task = looper.handle().spawn(poll_fn(move |context| {
            *waker.lock() = Some(context.waker().clone());
            Poll::Ready(held.clone())
        }));
        let task = task.unwrap();
        let other = thread::spawn(move || drop(task));

        looper.poll_once(Duration::ZERO).unwrap();

        other.join().unwrap();
        assert_eq!(Arc::strong_count(&value), 1);
        assert!(kept.lock().is_some());
    });
}

/// Nor the waker that is to be woken at the end.
#[test]
fn a4_who_has_awaited_a_task_and_lets_it_go_leaves_nothing_behind() {
    let_go_against_the_end(|mut task| {
        let bell = Arc::new(Bell { has_rung: Mutex::new(false), rung: Condvar::new() });
        let waker = Waker::from(bell.clone());
        _ = Pin::new(&mut task).poll(&mut Context::from_waker(&waker));
        drop((task, waker));
        bell
    });
}

/// What a task and its wakers share goes to the next task only when no waker is left.
#[test]
fn a2_a_waker_of_a_task_that_has_ended_wakes_no_other() {
    check(|| {
        let (looper, _) = looper();
        let kept = Rc::new(Cell::new(None));
        let polls = Rc::new(Cell::new(0));
        // All of them are spawned here.
        let spawn = |ends: bool| {
            let (kept, polls) = (kept.clone(), polls.clone());
            drop(looper.spawn(poll_fn(move |context| {
                kept.set(Some(context.waker().clone()));
                polls.set(polls.get() + 1);
                if ends { Poll::Ready(()) } else { Poll::Pending }
            })));
        };
        spawn(true);
        looper.poll_once(Duration::ZERO).unwrap();
        let waker = kept.take().unwrap();
        let other = thread::spawn(move || waker.wake());

        spawn(true);
        looper.poll_once(Duration::ZERO).unwrap();
        kept.take();
        spawn(false);
        looper.poll_once(Duration::ZERO).unwrap();
        other.join().unwrap();
        looper.poll_once(Duration::ZERO).unwrap();

        assert_eq!(polls.get(), 3);
    });
}

#[test]
fn a4_a_task_is_either_cancelled_or_ends_with_its_value() {
    check(|| {
        let (looper, _) = looper();
        let task = looper.handle().spawn(async { 7 }).unwrap();
        let canceller = thread::spawn(move || (task.cancel(), task));

        looper.poll_once(Duration::ZERO).unwrap();

        let (cancelled, task) = canceller.join().unwrap();
        looper.poll_once(Duration::ZERO).unwrap();
        let told = wait_for(task);
        assert_eq!(told, if cancelled { Err(TaskError::Cancelled) } else { Ok(7) });
        assert!(looper.is_empty());
    });
}

/// One that comes home just when it is cancelled is dropped there, and not kept for ever.
#[test]
fn a4_a_cancel_against_the_arrival_of_a_task_leaves_nothing_behind() {
    check(|| {
        let (looper, _) = looper();
        let value = Arc::new(());
        let held = value.clone();
        let task = looper.handle().spawn(async move {
            std::future::pending::<()>().await;
            drop(held);
        });
        let task = task.unwrap();
        let canceller = thread::spawn(move || assert!(task.cancel()));

        looper.poll_once(Duration::ZERO).unwrap();
        canceller.join().unwrap();
        looper.poll_once(Duration::ZERO).unwrap();

        assert_eq!(Arc::strong_count(&value), 1);
    });
}
