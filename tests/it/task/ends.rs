//! How tasks end, and what those are told who wait.
//!
//! Holds A4, A5.

use std::{
    cell::{Cell, RefCell},
    future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    sync::{Arc, mpsc},
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use alooper::{
    Looper,
    task::{Task, TaskError, TaskGuard},
};

use crate::support::{
    Elsewhere, panic_of,
    tasks::{Hung, Tattler, Wakers, settle, wait_for, yield_now},
    watched,
};

#[test]
fn a4_a_task_that_is_dropped_goes_on() {
    let looper = Looper::new().unwrap();
    let said = Rc::new(RefCell::new(Vec::new()));
    let words = said.clone();

    drop(
        looper
            .spawn(async move {
                yield_now().await;
                words.borrow_mut().push("ran");
            })
            .unwrap(),
    );
    settle(&looper);

    assert_eq!(*said.borrow(), ["ran"]);
}

#[test]
fn a4_the_value_of_a_task_comes_to_who_awaits_it_and_is_dropped_otherwise() {
    let looper = Looper::new().unwrap();
    let value = Rc::new(());
    let task = |value: &Rc<()>| {
        let value = value.clone();
        looper.spawn(async move { value }).unwrap()
    };

    let awaited = task(&value);
    assert!(Rc::ptr_eq(&looper.block_on(awaited).unwrap().unwrap(), &value));
    let let_go = task(&value);
    drop(let_go);
    let ended = task(&value);
    settle(&looper);
    assert_eq!(Rc::strong_count(&value), 2, "the one that was let go is gone");
    assert!(ended.is_finished());
    drop(ended);
    assert_eq!(Rc::strong_count(&value), 1);

    let large = looper.spawn(async { [7_u64; 100] }).unwrap();
    assert_eq!(looper.block_on(large).unwrap(), Ok([7; 100]));
}

#[test]
fn a4_a_task_is_send_and_sync_exactly_if_its_value_is_send() {
    fn is_both<T: Send + Sync>() {}
    is_both::<Task<u32>>();
    is_both::<Task<std::cell::Cell<u32>>>();
    is_both::<TaskGuard<u32>>();
    is_both::<TaskError>();
}

#[test]
fn a4_a_cancel_before_the_first_poll_drops_the_future_and_its_message() {
    let looper = Looper::new().unwrap();
    let (tattler, dropped) = Tattler::new();
    let task = looper.spawn(tattler.hang()).unwrap();

    assert!(task.cancel());
    assert!(!task.cancel(), "once");

    assert_eq!(dropped.try_recv(), Ok(thread::current().id()));
    assert!(looper.is_empty());
    assert_eq!(looper.message_counts().removed, 1);
    assert_eq!(looper.block_on(task).unwrap(), Err(TaskError::Cancelled));
}

#[test]
fn a4_a_cancel_says_whether_it_kept_the_task_from_ending() {
    let looper = Looper::new().unwrap();
    let (ended, hung) = (looper.spawn(async { 1 }).unwrap(), looper.spawn(Hung(Wakers::default())).unwrap());
    settle(&looper);

    assert!(!ended.cancel());
    assert!(hung.cancel());

    assert_eq!(looper.block_on(ended).unwrap(), Ok(1));
    assert_eq!(looper.block_on(hung).unwrap(), Err(TaskError::Cancelled));
}

#[test]
fn a4_a_guard_cancels_when_it_is_dropped_unless_it_is_told_not_to() {
    let looper = Looper::new().unwrap();
    let wakers = Wakers::default();
    let cancelled = looper.spawn(Hung(wakers.clone())).unwrap().guard();
    let kept = looper.spawn(Hung(wakers)).unwrap().guard();
    settle(&looper);
    let (tattler, dropped) = Tattler::new();
    let awaited = looper.spawn(async { drop(tattler) }).unwrap().guard();

    drop(cancelled);
    let kept = kept.keep();

    assert!(!kept.is_finished());
    assert_eq!(looper.block_on(awaited).unwrap(), Ok(()));
    assert!(dropped.try_recv().is_ok());
}

#[test]
fn a4_a_cancel_from_another_thread_drops_the_future_at_home() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let home = elsewhere.handle.call(|_| thread::current().id()).unwrap();
        let (tattler, dropped) = Tattler::new();
        let task = elsewhere.handle.spawn(tattler.hang()).unwrap();
        elsewhere.handle.call(|_| ()).unwrap();

        assert!(task.cancel());

        assert_eq!(dropped.recv(), Ok(home));
        assert_eq!(wait_for(task), Err(TaskError::Cancelled));
        elsewhere.handle.quit();
        elsewhere.join();
    });
}

/// As a posted closure that is `Send` (M10).
#[test]
fn a4_one_that_was_not_polled_yet_is_dropped_by_who_cancels_it() {
    let looper = Looper::new().unwrap();
    let (tattler, dropped) = Tattler::new();
    let task = looper.handle().spawn(tattler.hang()).unwrap();

    let canceller = thread::spawn(move || (task.cancel(), thread::current().id()));

    let (cancelled, there) = canceller.join().unwrap();
    assert!(cancelled);
    assert_eq!(dropped.try_recv(), Ok(there));
    assert!(looper.is_empty());
}

#[test]
fn a4_a_task_that_cancels_itself_is_dropped_after_its_poll() {
    let looper = Looper::new().unwrap();
    let own = Rc::new(RefCell::new(None::<Task<()>>));
    let (tattler, dropped) = Tattler::new();
    let task = {
        let own = own.clone();
        looper.spawn(async move {
            let tattler = tattler;
            let task = own.take().expect("it is there");
            assert!(task.cancel());
            assert!(task.is_finished());
            tattler.hang().await;
        })
    };
    own.replace(Some(task.unwrap()));

    settle(&looper);

    assert!(dropped.try_recv().is_ok());
}

#[test]
fn a4_a_quit_drops_all_tasks_at_home_and_polls_none() {
    let looper = Looper::new().unwrap();
    let wakers = Wakers::default();
    let (tattler, dropped) = Tattler::new();
    let waits = looper.spawn(tattler.hang()).unwrap();
    settle(&looper);
    let pending = looper.spawn(Hung(wakers.clone())).unwrap();
    let from_afar = looper.handle().spawn(async { 1 }).unwrap();

    looper.quit();
    assert!(looper.poll_once(None).unwrap().quit);

    assert_eq!(dropped.try_recv(), Ok(thread::current().id()));
    assert_eq!(wakers.count(), 0);
    let quit = Err(TaskError::Quit);
    assert_eq!((wait_for(waits), wait_for(pending)), (quit, quit));
    assert_eq!(wait_for(from_afar), Err(TaskError::Quit));
}

#[test]
fn a4_a_safe_quit_polls_what_is_due_and_drops_the_rest() {
    let looper = Looper::new().unwrap();
    let due = looper.spawn(async { 1 }).unwrap();
    let long = looper
        .spawn(async {
            yield_now().await;
            2
        })
        .unwrap();

    looper.quit_safely();
    looper.run().unwrap();

    assert_eq!(wait_for(due), Ok(1));
    assert_eq!(wait_for(long), Err(TaskError::Quit), "its second poll comes too late");
}

/// C83: the looper is in a callback all the while.
#[test]
fn a4_who_waits_elsewhere_is_released_by_the_quit_itself() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let waits = elsewhere.handle.spawn(future::pending::<()>()).unwrap();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        elsewhere
            .handle
            .post(move |_| {
                begun.send(()).unwrap();
                let _ = may_go_on.recv();
            })
            .unwrap();
        has_begun.recv().unwrap();
        let late = elsewhere.handle.spawn(future::pending::<()>()).unwrap();
        let handle = elsewhere.handle.clone();
        let waiter = thread::spawn(move || wait_for(waits));

        let quitter = thread::spawn(move || handle.quit());

        quitter.join().unwrap();
        assert_eq!(waiter.join().unwrap(), Err(TaskError::Quit));
        assert_eq!(wait_for(late), Err(TaskError::Quit), "who comes after the quit, too");
        drop(go_on);
        elsewhere.join();
    });
}

#[test]
fn a4_a_dropped_looper_drops_its_tasks_and_says_so() {
    let looper = Looper::new().unwrap();
    let (tattler, dropped) = Tattler::new();
    let waits = looper.spawn(tattler.hang()).unwrap();
    settle(&looper);
    let from_afar = looper.handle().spawn(async { 1 }).unwrap();

    drop(looper);

    assert_eq!(dropped.try_recv(), Ok(thread::current().id()));
    assert_eq!(wait_for(waits), Err(TaskError::Dropped));
    assert_eq!(wait_for(from_afar), Err(TaskError::Dropped));
}

/// L2: a task with an `Rc` of its own looper leaves nothing behind.
#[test]
fn l2_a_task_that_has_its_own_looper_goes_with_the_thread() {
    watched(|| {
        let (tattler, dropped) = Tattler::new();
        let thread = thread::spawn(move || {
            let looper = Looper::prepare().unwrap();
            let own = looper.clone();
            looper
                .spawn(async move {
                    tattler.hang().await;
                    drop(own);
                })
                .unwrap();
            settle(&looper);
            thread::current().id()
        });

        let home = thread.join().unwrap();
        assert_eq!(dropped.recv(), Ok(home));
    });
}

#[test]
fn a4_awaited_on_tokio() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let handle = elsewhere.handle.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();

        let (sum, told) = runtime.block_on(async move {
            let sum = handle.spawn(async { 2 + 3 }).unwrap().await;
            let hung = handle.spawn(future::pending::<()>()).unwrap();
            let waits = tokio::task::spawn(hung);
            tokio::task::yield_now().await;
            handle.quit();
            (sum, waits.await.unwrap())
        });

        assert_eq!((sum, told), (Ok(5), Err(TaskError::Quit)));
        elsewhere.join();
    });
}

/// X4: tasks that each own the guard of the next are dropped without deep recursion.
#[test]
fn x4_a_chain_of_tasks_that_own_each_other_is_dropped() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let mut last = None::<TaskGuard<()>>;
        for _ in 0..50_000 {
            let next = last.take();
            last = Some(
                looper
                    .spawn(async move {
                        let _next = next;
                        future::pending::<()>().await;
                    })
                    .unwrap()
                    .guard(),
            );
        }
        settle(&looper);
        drop(last);

        let again = looper.spawn(async {}).unwrap();
        assert_eq!(looper.block_on(again).unwrap(), Ok(()));
    });
}

#[test]
fn a5_x1_a_panic_ends_the_task_and_goes_through_the_poll() {
    let looper = Looper::new().unwrap();
    let (tattler, dropped) = Tattler::new();
    let task = looper
        .spawn(async move {
            let _tattler = tattler;
            yield_now().await;
            panic!("in a task");
        })
        .unwrap();
    let other = looper.spawn(async { 1 }).unwrap();

    assert_eq!(panic_of(|| while looper.poll_once(Duration::ZERO).unwrap().messages > 0 {}), "in a task");

    assert!(dropped.try_recv().is_ok());
    let told: Result<(), TaskError> = looper.block_on(task).unwrap();
    assert_eq!(told, Err(TaskError::Panicked));
    assert_eq!(looper.block_on(other).unwrap(), Ok(1), "all else is as it was");
}

#[test]
fn a5_a_panic_where_the_future_is_made_is_the_tasks_end() {
    let looper = Looper::new().unwrap();
    let task = looper.handle().spawn_with(|| -> future::Ready<()> { panic!("no future") }).unwrap();

    assert_eq!(panic_of(|| settle(&looper)), "no future");

    assert_eq!(looper.block_on(task).unwrap(), Err(TaskError::Panicked));
}

/// X3: of two panics the first goes on, and nothing aborts.
#[test]
fn x3_tasks_that_panic_when_they_are_dropped_are_all_dropped() {
    struct Bomb(mpsc::Sender<()>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            let _ = self.0.send(());
            panic!("a bomb");
        }
    }
    let (sender, dropped) = mpsc::channel();
    let looper = Looper::new().unwrap();
    for _ in 0..3 {
        let bomb = Bomb(sender.clone());
        let hang = async move {
            let _bomb = bomb;
            future::pending::<()>().await;
        };
        looper.spawn(hang).unwrap();
    }
    settle(&looper);
    looper.quit();

    assert_eq!(panic_of(|| looper.poll_once(None)), "a bomb");
    assert_eq!(dropped.try_iter().count(), 3);

    let looper = Looper::new().unwrap();
    let bomb = Bomb(sender);
    looper
        .spawn(async move {
            let bomb = bomb;
            catch_unwind(AssertUnwindSafe(|| drop(bomb))).unwrap_err();
            panic!("after it");
        })
        .unwrap();
    assert_eq!(panic_of(|| settle(&looper)), "after it");
}

/// X3: a future and its value that both panic when they are dropped, of a task that nobody awaits, of one that cancels itself
/// in its last poll, and of one whose observer panics.
#[test]
fn x3_a_future_and_its_value_that_both_panic_when_they_are_dropped_do_not_abort() {
    struct Clumsy;
    impl alooper::Observer for Clumsy {
        fn wants(&self) -> alooper::Wants {
            alooper::Wants::TASKS
        }

        fn ended(&self, _: &alooper::RunInfo, _: Duration, _: bool) {
            panic!("an observer");
        }
    }
    for (cancels, observed, first) in
        [(false, false, "the value"), (true, false, "the value"), (false, true, "an observer")]
    {
        let looper = Looper::new().unwrap();
        let task = Rc::new(Cell::new(None::<Task<Bomb>>));
        let (own, held) = (task.clone(), Bomb("the future"));
        let spawned = looper.spawn(future::poll_fn(move |_| {
            let _ = &held;
            own.take().inspect(|task| assert!(task.cancel()));
            Poll::Ready(Bomb("the value"))
        }));
        task.set(Some(spawned.unwrap()).filter(|_| cancels));
        if observed {
            looper.set_observer(Some(Rc::new(Clumsy)));
        }

        assert_eq!(panic_of(|| settle(&looper)), first);

        looper.set_observer(None);
        assert_eq!(looper.block_on(looper.spawn(async { 7 }).unwrap()).unwrap(), Ok(7));
    }
}

/// A waker that panics.
struct Angry(&'static str);

impl Wake for Angry {
    fn wake(self: Arc<Self>) {
        std::panic::panic_any(self.0);
    }
}

/// Panics when it is dropped.
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        std::panic::panic_any(self.0);
    }
}

fn ask_with<T>(task: &mut Task<T>, waker: &Waker) {
    assert!(Pin::new(task).poll(&mut Context::from_waker(waker)).is_pending());
}

/// X3: the poll's own panic goes on, and the others end where they are.
#[test]
fn x3_a_poll_its_future_and_who_waits_for_it_may_all_panic() {
    let looper = Looper::new().unwrap();
    let held = Bomb("the future");
    let mut task = looper
        .spawn(future::poll_fn(move |_| -> Poll<()> {
            let _ = &held;
            std::panic::panic_any("the poll");
        }))
        .unwrap();
    ask_with(&mut task, &Waker::from(Arc::new(Angry("who waits"))));

    assert_eq!(panic_of(|| settle(&looper)), "the poll");

    assert!(task.is_finished());
    assert_eq!(wait_for(task), Err(TaskError::Panicked));
}

/// X3, A4: a cancel drops the future, also if who waits panics.
#[test]
fn x3_a_cancel_goes_on_though_who_waits_panics() {
    let looper = Looper::new().unwrap();
    let held = Rc::new(());
    for polls in [false, true] {
        let future = held.clone();
        let mut task = looper.spawn(async move {
            future::pending::<()>().await;
            drop(future);
        });
        let task = task.as_mut().unwrap();
        if polls {
            settle(&looper);
        }
        ask_with(task, &Waker::from(Arc::new(Angry("who waits"))));

        assert_eq!(panic_of(|| task.cancel()), "who waits");

        assert_eq!((Rc::strong_count(&held), looper.is_empty()), (1, true), "polled before: {polls}");
    }
}

/// X3: a waker that panics when it is dropped does not abort what unwinds.
#[test]
fn x3_a_task_that_is_dropped_by_a_panic_may_have_the_last_of_a_waker() {
    struct Fragile(#[expect(dead_code, reason = "is dropped")] Bomb);
    impl Wake for Fragile {
        fn wake(self: Arc<Self>) {}
    }
    let looper = Looper::new().unwrap();
    let mut task = looper.spawn(future::pending::<()>()).unwrap();
    ask_with(&mut task, &Waker::from(Arc::new(Fragile(Bomb("a waker")))));

    let panics = move || {
        let _task = task;
        std::panic::panic_any("a caller");
    };

    assert_eq!(panic_of(panics), "a caller");
}

/// X3, A2: what such a task leaves is as good as another's.
#[test]
fn x3_a_task_of_the_same_type_follows_one_that_panics_in_its_ends() {
    struct Fuse(Option<&'static str>);
    impl Drop for Fuse {
        fn drop(&mut self) {
            if let Some(word) = self.0 {
                std::panic::panic_any(word);
            }
        }
    }
    let looper = Looper::new().unwrap();
    let polls = Rc::new(Cell::new(0));
    let spawn = |future: Option<&'static str>, value: Option<&'static str>| {
        let (polls, future) = (polls.clone(), Fuse(future));
        let task = looper.spawn(future::poll_fn(move |_| {
            let _ = &future;
            polls.set(polls.get() + 1);
            Poll::Ready(Fuse(value))
        }));
        drop(task.unwrap());
    };

    for (future, value) in [(Some("the future"), None), (None, Some("the value")), (Some("the future"), Some("both"))] {
        spawn(future, value);
        assert_eq!(panic_of(|| settle(&looper)), value.or(future).unwrap());
        assert_eq!(Rc::strong_count(&polls), 1, "its future is dropped");
    }
    (0..3).for_each(|_| spawn(None, None));
    settle(&looper);

    assert_eq!((polls.get(), Rc::strong_count(&polls)), (6, 1));
}

#[test]
fn a4_who_asks_twice_is_told_so() {
    let looper = Looper::new().unwrap();
    let mut task = looper.spawn(async {}).unwrap();

    assert_eq!(looper.block_on(&mut task).unwrap(), Ok(()));
    let again = panic_of(|| looper.block_on(&mut task));

    assert_eq!(again, "a task tells its end once: do not await it again");
}

#[test]
fn e1_the_errors_say_what_to_do() {
    let errors = [TaskError::Cancelled, TaskError::Quit, TaskError::Dropped, TaskError::Panicked, TaskError::Forked];
    for error in errors {
        let text = error.to_string();
        assert!(text.contains(':'), "{text}");
        assert_eq!(format!("{error:?}"), text);
        let wrapped = std::io::Error::from(error);
        assert!(format!("{wrapped:?}").contains(&text), "{wrapped:?}");
    }
}
