//! Virtual time at its edges: loopers that go while the clock moves, misuse, and a great many messages.
//!
//! Holds L2, V1, V2, V3.

use std::{
    cell::{Cell, RefCell},
    io::ErrorKind,
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    time::Duration,
};

use alooper::{
    Looper,
    testing::{TestClock, TestLooper},
};

use crate::support::{
    diary::{Diary, two_on_one_clock},
    ms, watched,
};

/// A way to let time pass, and its name.
type Move = (&'static str, fn(&TestClock));

#[test]
fn v3_a_looper_that_is_dropped_in_its_own_message_leaves_the_clock_to_the_others() {
    let (clock, first, second) = two_on_one_clock();
    let diary = Diary::new(&second);
    let (gone, owner) = (diary.note("gone"), Rc::new(RefCell::new(None)));
    let own = owner.clone();
    let drop_it = move |looper: &Looper| {
        drop(own.take());
        gone(looper);
    };
    first.post(drop_it).unwrap();
    owner.replace(Some(first));
    second.post_delayed(ms(1), diary.note("other")).unwrap();

    assert_eq!(clock.advance(ms(2)), 2);

    assert_eq!(diary.take(), [("gone", Duration::ZERO), ("other", ms(1))]);
}

/// Of the two things that are wrong, it is told the one that it asked for.
#[test]
fn l2_v2_a_looper_with_work_that_cannot_become_the_threads_own_is_an_error_and_no_panic() {
    let own = TestLooper::prepare().unwrap();
    let second = TestLooper::new().unwrap();
    second.post(|_| ()).unwrap();

    let refused = panic::catch_unwind(AssertUnwindSafe(|| second.into_current().unwrap_err().kind()));

    assert_eq!(refused.ok(), Some(ErrorKind::AlreadyExists));
    assert_eq!(Looper::current().map(|current| current.has_quit()), Some(false));
    assert_eq!(own.run_until_idle(), 0);
}

/// The clock has not moved by then, and what is left runs later.
#[test]
fn v1_each_way_to_let_time_pass_from_inside_a_callback_is_a_clear_panic() {
    let moves: [Move; 2] =
        [("idle", |clock| _ = clock.run_until_idle()), ("advance", |clock| _ = clock.advance(ms(5)))];
    for (name, let_pass) in moves {
        let clock = TestClock::new();
        let looper = clock.build(Looper::builder()).unwrap();
        let (start, inner) = (clock.now(), clock.clone());
        looper.post(move |_| let_pass(&inner)).unwrap();
        looper.post(|_| ()).unwrap();

        let panic = panic::catch_unwind(AssertUnwindSafe(|| clock.advance(ms(1)))).unwrap_err();

        let text = panic.downcast_ref::<String>().unwrap();
        assert!(text.contains("being polled already"), "{name}: {text}");
        assert_eq!((clock.now(), looper.len()), (start, 1), "{name}");
        assert_eq!(clock.advance(ms(1)), 1);
    }
}

/// So many as are said to be without end, if they come about meanwhile: these were there before.
#[test]
fn v1_idle_runs_all_that_was_pending_however_much_it_is() {
    const COUNT: usize = 1_001_000;
    watched(|| {
        let looper = TestLooper::new().unwrap();
        let ran = Rc::new(Cell::new(0));
        for _ in 0..COUNT {
            let ran = ran.clone();
            looper.post(move |_| ran.set(ran.get() + 1)).unwrap();
        }

        assert_eq!(looper.run_until_idle(), COUNT);

        assert_eq!(ran.get(), COUNT);
    });
}
