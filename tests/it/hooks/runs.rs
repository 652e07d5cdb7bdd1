//! Hooks before each wait and after it: when they run, what they may do, and how they end.
//!
//! Holds P1.

use std::{
    cell::{Cell, RefCell},
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    time::Duration,
};

use alooper::{FdNext, HandlerThread, Interest, Looper, RejectReason, Wait, testing::TestLooper};

use crate::support::{
    HOUR,
    fds::{poll_now, ready_stream},
    host::{drain, hosted, is_readable},
    watched,
};

type Order = Rc<RefCell<Vec<&'static str>>>;

fn note(order: &Order, word: &'static str) -> impl FnMut() + use<> {
    let order = order.clone();
    move || order.borrow_mut().push(word)
}

/// A hook before the wait that counts its runs, and says `wait`.
fn counting(looper: &Looper, wait: Wait) -> Rc<Cell<u32>> {
    let runs = Rc::new(Cell::new(0));
    let count = runs.clone();
    let hook = move |_: &Looper| {
        count.set(count.get() + 1);
        wait
    };
    looper.before_wait(hook).unwrap();
    runs
}

#[test]
fn p1_hooks_run_in_order_around_the_wait_before_messages_and_fds() {
    let looper = Looper::new().unwrap();
    let order = Order::default();
    let (mut first, mut second, mut after) = (note(&order, "first"), note(&order, "second"), note(&order, "after"));
    let before = move |_: &Looper| {
        first();
        Wait::MayBlock
    };
    looper.before_wait(before).unwrap();
    let before = move |_: &Looper| {
        second();
        Wait::MayBlock
    };
    looper.before_wait(before).unwrap();
    looper.after_wait(move |_| after()).unwrap();
    let mut message = note(&order, "message");
    looper.post(move |_| message()).unwrap();
    let mut fd = note(&order, "fd");
    let (stream, _peer) = ready_stream();
    let callback = move |_: &Looper, _: &mut _, _| {
        fd();
        FdNext::Remove
    };
    looper.add_fd(stream, Interest::INPUT, callback).unwrap();

    poll_now(&looper);

    assert_eq!(order.take(), ["first", "second", "after", "message", "fd"]);
}

/// A buffered connection: what callbacks have written is flushed before the looper sleeps, so that the answer can come.
#[test]
fn p1_what_callbacks_have_buffered_is_flushed_before_the_looper_sleeps() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        let buffered = Rc::new(RefCell::new(Vec::new()));
        let flush = {
            let buffered = buffered.clone();
            let mut near = near;
            move |_: &Looper| {
                near.write_all(&buffered.take()).unwrap();
                Wait::MayBlock
            }
        };
        looper.before_wait(flush).unwrap();
        let quit = |looper: &Looper, _: &mut _, _| {
            looper.quit();
            FdNext::Remove
        };
        looper.add_fd(far, Interest::INPUT, quit).unwrap();
        looper.post(move |_| buffered.borrow_mut().push(1)).unwrap();

        looper.run().unwrap();
    });
}

#[test]
fn p1_what_a_hook_posts_runs_in_the_same_turn() {
    let looper = Looper::new().unwrap();
    let ran = Rc::new(Cell::new(false));
    let runs = ran.clone();
    let mut hook = looper.before_wait(move |looper| {
        let runs = runs.clone();
        looper.post(move |_| runs.set(true)).unwrap();
        Wait::MayBlock
    });
    let hook = hook.as_mut().unwrap();

    let turn = looper.poll_once(None).unwrap();

    assert_eq!((turn.messages, ran.get()), (1, true));
    assert!(hook.is_added());
}

/// It would sleep for an hour otherwise.
#[test]
fn p1_a_hook_keeps_the_looper_from_blocking() {
    watched(|| {
        let looper = Looper::new().unwrap();
        looper.post_delayed(HOUR, |_| ()).unwrap();
        let runs = counting(&looper, Wait::DontBlock);
        let seen = runs.clone();
        looper
            .after_wait(move |looper| {
                if seen.get() == 3 {
                    looper.quit();
                }
            })
            .unwrap();

        looper.run().unwrap();

        assert_eq!(runs.get(), 3);
    });
}

#[test]
fn p1_a_hook_that_is_not_asked_again_does_not_keep_the_looper_awake() {
    let looper = TestLooper::new().unwrap();
    let mut is_hasty = true;
    looper.before_wait(move |_| if std::mem::take(&mut is_hasty) { Wait::DontBlock } else { Wait::MayBlock }).unwrap();
    looper.post_delayed(HOUR, |looper| looper.quit()).unwrap();

    assert_eq!(looper.run().unwrap().run, 1);
}

#[test]
fn p1_hooks_run_under_run_and_on_a_handler_thread() {
    watched(|| {
        let thread = HandlerThread::spawn("hooked").unwrap();
        let add = |looper: &Looper| {
            let runs = counting(looper, Wait::MayBlock);
            looper
                .after_wait(move |looper| {
                    if runs.get() == 2 {
                        looper.quit()
                    }
                })
                .map(drop)
                .unwrap();
        };
        thread.handle().post(add).unwrap();

        // The first wait is that of the post itself; each wake lets it wait once more.
        while !thread.handle().has_quit() {
            _ = thread.handle().wake();
        }
        thread.join().unwrap();
    });
}

#[test]
fn p1_a_removed_hook_does_not_run_and_a_guard_removes() {
    let looper = Looper::new().unwrap();
    let runs = Rc::new(Cell::new(0));
    let count = |runs: &Rc<Cell<u32>>| {
        let runs = runs.clone();
        move |_: &Looper| runs.set(runs.get() + 1)
    };
    let hook = looper.after_wait(count(&runs)).unwrap();
    let guard = looper.after_wait(count(&runs)).unwrap().guard();
    let kept = looper.after_wait(count(&runs)).unwrap().guard().keep();
    poll_now(&looper);
    assert_eq!(runs.get(), 3);

    assert!(hook.remove() && !hook.remove() && !hook.is_added());
    drop(guard);
    poll_now(&looper);

    assert_eq!(runs.get(), 4, "the kept one has run");
    assert!(kept.is_added());
    assert_eq!(Rc::strong_count(&runs), 2, "the removed ones were dropped");
}

#[test]
fn p1_a_hook_may_remove_itself_and_add_others_which_run_from_the_next_wait_on() {
    let looper = Looper::new().unwrap();
    let order = Order::default();
    let own = Rc::new(RefCell::new(None::<alooper::Hook>));
    let hook = {
        let (own, order) = (own.clone(), order.clone());
        move |looper: &Looper| {
            note(&order, "once")();
            assert!(own.take().unwrap().remove());
            let mut noting = note(&order, "new");
            looper.after_wait(move |_| noting()).unwrap();
        }
    };
    *own.borrow_mut() = Some(looper.after_wait(hook).unwrap());

    poll_now(&looper);
    assert_eq!(order.take(), ["once"]);
    poll_now(&looper);
    assert_eq!(order.take(), ["new"]);
}

#[test]
fn p1_x1_a_panic_removes_the_hook_and_goes_on() {
    let looper = Looper::new().unwrap();
    looper.post(|_| ()).unwrap();
    let hook = looper.before_wait(|_| panic!("the hook's")).unwrap();
    let after = looper.after_wait(|_| panic!("the other's")).unwrap();

    for _ in 0..2 {
        let panic = catch_unwind(AssertUnwindSafe(|| looper.poll_once(Duration::ZERO)));
        assert!(panic.is_err());
    }

    assert!(!hook.is_added() && !after.is_added());
    assert_eq!(poll_now(&looper).messages, 1, "nothing was lost");
}

#[test]
fn p1_q2_after_a_quit_no_hook_runs_and_none_is_added() {
    let looper = Looper::new().unwrap();
    let runs = counting(&looper, Wait::MayBlock);

    looper.quit_safely();
    poll_now(&looper);

    let refused = looper.before_wait(|_| Wait::MayBlock).unwrap_err();
    assert_eq!(refused.reason(), RejectReason::Quit);
    assert_eq!(looper.after_wait(|_| ()).unwrap_err().reason(), RejectReason::Quit);
    assert_eq!(runs.get(), 0);
    drop(looper);
    assert_eq!(Rc::strong_count(&runs), 1, "it was dropped with its looper");
}

#[test]
fn p1_a_hook_that_quits_ends_the_run_before_the_next_hook() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let quit = |looper: &Looper| {
            looper.quit();
            Wait::MayBlock
        };
        looper.before_wait(quit).unwrap();
        let runs = counting(&looper, Wait::MayBlock);

        looper.run().unwrap();

        assert_eq!(runs.get(), 0);
    });
}

/// P1, O1: it is the host that waits; so the hooks run at the end of each poll, once for each wait.
#[test]
fn p1_o1_hooks_run_before_the_host_waits() {
    watched(|| {
        let looper = hosted();
        let order = Order::default();
        let mut before = note(&order, "before");
        let hook = move |_: &Looper| {
            before();
            Wait::MayBlock
        };
        looper.before_wait(hook).unwrap();
        let mut after = note(&order, "after");
        looper.after_wait(move |_| after()).unwrap();
        let mut message = note(&order, "message");
        looper.post(move |_| message()).unwrap();
        assert!(is_readable(&looper));

        drain(&looper);

        let order = order.take();
        assert_eq!(order.last(), Some(&"before"), "{order:?}");
        let pairs: Vec<_> = order.iter().filter(|word| **word != "message").collect();
        let is_paired = pairs.iter().zip(["before", "after"].iter().cycle()).all(|(one, other)| *one == other);
        assert!(is_paired, "{order:?}");
        assert!(!is_readable(&looper));
    });
}

#[test]
fn p1_o1_a_hook_that_forbids_to_block_keeps_the_host_polling() {
    watched(|| {
        let looper = hosted();
        counting(&looper, Wait::DontBlock);

        poll_now(&looper);

        assert!(is_readable(&looper));
    });
}
