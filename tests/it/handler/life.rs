//! How long handlers live, and what keeps them: fronts, messages, and themselves.
//!
//! Holds H2, M9, M10, X1, C60.

use std::{
    cell::RefCell,
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    sync::mpsc,
    thread,
    time::Duration,
};

use alooper::{Handler, Looper, RejectReason, WeakHandler, testing::TestLooper};

use crate::support::{
    HOUR,
    handlers::{Told, assert_report, elsewhere, keeper, told},
    until_polling, watched,
};

#[test]
fn h2_pending_messages_keep_the_handler_alive_and_run() {
    let looper = TestLooper::new().unwrap();
    let (own, dropped) = told();
    let ran = Rc::new(RefCell::new(Vec::new()));
    let list = ran.clone();
    let handler = Handler::new(&looper, move |_, word| {
        own.hold();
        list.borrow_mut().push(word);
    });
    let weak = handler.downgrade();
    handler.send("now").unwrap();
    handler.send_delayed(HOUR, "later").unwrap();

    drop(handler);

    assert!(weak.upgrade().is_none());
    assert_eq!(looper.run_until_idle(), 1);
    assert_eq!((looper.len(), dropped.try_iter().count()), (1, 0), "dropped before the last message");
    assert_eq!(looper.advance(HOUR), 1);
    assert_eq!(*ran.borrow(), ["now", "later"]);
    assert_eq!(dropped.try_iter().collect::<Vec<_>>(), [thread::current().id()]);
}

#[test]
fn h2_the_closure_is_dropped_with_the_last_front_if_nothing_is_pending() {
    let looper = TestLooper::new().unwrap();
    let (own, dropped) = told();
    let handler = Handler::new(&looper, move |_, ()| own.hold());
    let clone = handler.clone();
    handler.send(()).unwrap();
    looper.run_until_idle();

    drop(handler);
    looper.run_until_idle();
    assert_eq!(dropped.try_iter().count(), 0, "a front is left");
    drop(clone);
    looper.run_until_idle();

    assert_eq!(dropped.try_iter().count(), 1);
}

/// The last thing that keeps the handler alive is a message that does not run.
#[test]
fn h2_the_closure_is_dropped_when_the_last_message_is_cancelled() {
    watched(|| {
        for at_home in [true, false] {
            let looper = TestLooper::new().unwrap();
            let (own, dropped) = told();
            let handler = Handler::new(&looper, move |_, ()| own.hold());
            let posted = handler.send_delayed(HOUR, ()).unwrap();
            drop(handler);
            looper.run_until_idle();
            assert_eq!(dropped.try_iter().count(), 0, "a message is left");

            assert!(if at_home { posted.cancel() } else { elsewhere(|| posted.cancel()) });
            looper.run_until_idle();

            assert_eq!(dropped.try_iter().collect::<Vec<_>>(), [thread::current().id()], "at home: {at_home}");
        }
    });
}

#[test]
fn h2_a_weak_front_keeps_nothing_alive_and_sends_while_a_front_is_left() {
    let looper = TestLooper::new().unwrap();
    let (handler, kept) = keeper(&looper);
    let weak = handler.downgrade();

    weak.upgrade().unwrap().send(1).unwrap();
    let clone = weak.clone();
    drop(handler);

    assert!(weak.upgrade().is_none() && clone.upgrade().is_none());
    assert_eq!(looper.run_until_idle(), 1);
    assert_eq!(kept.take(), [1]);
}

#[test]
fn x1_a_panic_in_the_last_message_of_a_handler_without_fronts_drops_the_closure_once() {
    let looper = TestLooper::new().unwrap();
    let (own, dropped) = told();
    let handler = Handler::new(&looper, move |_, ()| {
        own.hold();
        panic!("the last one");
    });
    handler.send(()).unwrap();
    drop(handler);

    assert!(panic::catch_unwind(AssertUnwindSafe(|| looper.run_until_idle())).is_err());
    looper.run_until_idle();

    assert_eq!(dropped.try_iter().count(), 1);
    assert_report(looper.message_counts(), 1, 1, 0, 0);
}

/// M10: nothing but the front leaves the looper's thread.
#[test]
fn h2_a_last_front_that_is_dropped_elsewhere_leaves_the_closure_to_the_sleeping_looper() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (own, dropped) = told();
        let own = Rc::new(own);
        let handler = Handler::new(&looper, move |_, _: u32| own.hold());
        let handle = looper.handle();
        let home = thread::current().id();
        let last = thread::spawn(move || {
            until_polling(&handle);
            drop(handler);
            // Nothing else wakes the looper for it.
            assert_eq!(dropped.recv(), Ok(home));
            handle.post(|_| ()).unwrap();
            dropped
        });

        let turn = looper.poll_once(None).unwrap();

        assert_eq!((turn.messages, turn.woken), (1, false));
        assert_eq!(last.join().unwrap().try_iter().count(), 0);
    });
}

#[test]
fn h2_a_last_front_that_is_dropped_elsewhere_leaves_what_is_pending_to_be_handled() {
    watched(|| {
        for made_at_home in [true, false] {
            let looper = TestLooper::new().unwrap();
            let (own, dropped) = told();
            let (sender, handled) = mpsc::channel();
            let callback = move |_: &Looper, number: u32| {
                own.hold();
                sender.send(number).unwrap();
            };
            let handle = looper.handle();
            let handler = match made_at_home {
                true => Handler::new(&looper, callback),
                false => elsewhere(move || handle.handler(callback).unwrap()),
            };
            handler.send_delayed(HOUR, 2).unwrap();

            elsewhere(|| {
                handler.send(1).unwrap();
                drop(handler);
            });
            assert_eq!((looper.run_until_idle(), dropped.try_iter().count()), (1, 0));
            assert_eq!(looper.advance(HOUR), 1);

            assert_eq!(handled.try_iter().collect::<Vec<_>>(), [1, 2]);
            assert_eq!(dropped.try_iter().collect::<Vec<_>>(), [thread::current().id()]);
        }
    });
}

/// What becomes of a looper and a front.
type End = fn(Looper, Handler<u32>);

#[test]
fn h2_a_closure_is_dropped_once_and_at_home_whatever_ends_it() {
    let ends: [(&str, End); 11] = [
        ("the front at home", |looper, handler| {
            drop(handler);
            looper.poll_once(Duration::ZERO).unwrap();
        }),
        ("the front elsewhere", |looper, handler| {
            elsewhere(|| drop(handler));
            looper.poll_once(Duration::ZERO).unwrap();
        }),
        ("the front elsewhere, and then the looper without a turn", |looper, handler| {
            elsewhere(|| drop(handler));
            drop(looper);
        }),
        ("the front and then the looper", |looper, handler| {
            drop(handler);
            drop(looper);
        }),
        ("the looper and then the front", |looper, handler| {
            drop(looper);
            elsewhere(|| drop(handler));
        }),
        ("the last message", |looper, handler| {
            handler.send(1).unwrap();
            drop(handler);
            looper.poll_once(None).unwrap();
        }),
        ("the last message removed elsewhere", |looper, handler| {
            let posted = handler.send_delayed(HOUR, 1).unwrap();
            drop(handler);
            assert!(elsewhere(|| posted.cancel()));
            looper.poll_once(Duration::ZERO).unwrap();
        }),
        ("quit with a front", |looper, handler| {
            handler.send(1).unwrap();
            looper.quit();
            looper.run().unwrap();
            elsewhere(|| drop(handler));
        }),
        ("quit without a front", |looper, handler| {
            handler.send(1).unwrap();
            drop(handler);
            elsewhere({
                let handle = looper.handle();
                move || handle.quit()
            });
            looper.run().unwrap();
        }),
        ("quit safely without a front", |looper, handler| {
            handler.send(1).unwrap();
            handler.send_delayed(HOUR, 2).unwrap();
            drop(handler);
            looper.quit_safely();
            assert_report(looper.run().unwrap(), 2, 1, 0, 1);
        }),
        ("the looper with messages and no front", |looper, handler| {
            handler.send(1).unwrap();
            elsewhere(|| handler.send_delayed(HOUR, 2).unwrap());
            drop(handler);
            drop(looper);
        }),
    ];
    watched(move || {
        for (name, end) in ends {
            for made_at_home in [true, false] {
                let looper = Looper::new().unwrap();
                let (own, dropped) = told();
                let callback = move |_: &Looper, _: u32| own.hold();
                let handle = looper.handle();
                let handler = match made_at_home {
                    true => Handler::new(&looper, callback),
                    false => elsewhere(move || handle.handler(callback).unwrap()),
                };

                end(looper, handler);

                let drops = dropped.try_iter().collect::<Vec<_>>();
                assert_eq!(drops, [thread::current().id()], "{name}, made at home: {made_at_home}");
            }
        }
    });
}

#[test]
fn h2_a_closure_that_holds_its_own_front_lives_as_long_as_the_looper_and_a_weak_one_does_not() {
    let looper = TestLooper::new().unwrap();
    let (strong, strong_dropped) = told();
    let (weak, weak_dropped) = told();
    let own = Rc::new(RefCell::new(None::<Handler<u32>>));
    let front = own.clone();
    let holding = Handler::new(&looper, move |_, _| {
        strong.hold();
        assert!(front.borrow().is_some());
    });
    let own_weak = Rc::new(RefCell::new(None::<WeakHandler<u32>>));
    let weak_front = own_weak.clone();
    let released = Handler::new(&looper, move |_, number| {
        weak.hold();
        let last = weak_front.borrow().as_ref().unwrap().upgrade().is_none();
        assert_eq!(number, u32::from(last));
    });
    own_weak.replace(Some(released.downgrade()));
    released.send(0).unwrap();
    looper.run_until_idle();
    released.send(1).unwrap();
    own.replace(Some(holding.clone()));
    drop((holding, released, own));

    assert_eq!(looper.run_until_idle(), 1);
    assert_eq!((strong_dropped.try_iter().count(), weak_dropped.try_iter().count()), (0, 1));
    drop(looper);

    assert_eq!((strong_dropped.try_iter().count(), weak_dropped.try_iter().count()), (1, 0));
}

#[test]
fn h2_a_weak_front_outlives_the_looper_and_upgrades_while_a_front_is_left() {
    let looper = Looper::new().unwrap();
    let (handler, _kept) = keeper::<u32>(&looper);
    let weak = handler.downgrade();
    drop(looper);

    let upgraded = weak.upgrade().unwrap();
    assert_eq!(upgraded.send(7).unwrap_err().reason(), RejectReason::Dropped);
    drop((upgraded, handler));

    assert!(weak.upgrade().is_none());
}

/// A message that owns what it is sent to.
enum Owning {
    Front(
        #[expect(dead_code, reason = "is dropped")] Handler<Owning>,
        #[expect(dead_code, reason = "is dropped")] Told,
    ),
}

/// C60.
#[test]
fn m9_a_message_may_own_the_last_front_of_its_own_handler() {
    watched(|| {
        for end in ["handled", "cancelled", "cancelled elsewhere", "quit", "looper dropped"] {
            let looper = Looper::new().unwrap();
            let (value, dropped) = told();
            let (own, closure_dropped) = told();
            let handler = Handler::new(&looper, move |_, message: Owning| {
                own.hold();
                drop(message);
            });
            let posted = handler.clone().send(Owning::Front(handler, value)).unwrap();

            match end {
                "handled" => assert_eq!(looper.poll_once(None).unwrap().messages, 1),
                "cancelled" => assert!(posted.cancel()),
                "cancelled elsewhere" => assert!(elsewhere(|| posted.cancel())),
                "quit" => looper.quit(),
                _ => assert_eq!(end, "looper dropped"),
            }
            if end != "looper dropped" {
                looper.poll_once(Duration::ZERO).unwrap();
            }
            let ended_before = (dropped.try_iter().count(), closure_dropped.try_iter().count());
            drop(looper);
            let ended_with_it = (dropped.try_iter().count(), closure_dropped.try_iter().count());

            let expected = if end == "looper dropped" { ((0, 0), (1, 1)) } else { ((1, 1), (0, 0)) };
            assert_eq!((ended_before, ended_with_it), expected, "{end}");
        }
    });
}

/// C60: such a looper owns itself until it quits.
#[test]
fn m9_a_message_may_own_its_own_looper_or_another_one() {
    watched(|| {
        let looper = Rc::new(Looper::new().unwrap());
        let (handler, _kept) = keeper::<(Rc<Looper>, Told)>(&looper);
        let (value, dropped) = told();
        handler.send_delayed(HOUR, (looper.clone(), value)).unwrap();
        let inner = Rc::new(Looper::new().unwrap());
        let (inner_handler, _kept) = keeper::<Told>(&inner);
        let (inner_value, inner_dropped) = told();
        inner_handler.send(inner_value).unwrap();
        handler.send_delayed(HOUR, (inner, told().0)).unwrap();
        let handle = looper.handle();

        looper.quit();
        looper.run().unwrap();

        assert_eq!((dropped.try_iter().count(), inner_dropped.try_iter().count()), (1, 1));
        assert_eq!(inner_handler.send(told().0).unwrap_err().reason(), RejectReason::Dropped);
        drop(looper);
        assert_report(handle.message_counts(), 2, 0, 0, 2);
    });
}
