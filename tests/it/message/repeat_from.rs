//! Repeating posts with a start of their own, and what becomes of missed runs.
//!
//! Holds K3, M13, E1.

use std::{cell::RefCell, ops::ControlFlow, rc::Rc};

use alooper::{Looper, MissedTicks, RejectReason, testing::TestLooper};

use crate::support::ms;

#[test]
fn k3_a_start_that_has_passed_runs_at_once_and_keeps_its_grid() {
    let looper = TestLooper::new().unwrap();
    looper.advance(ms(100));
    let start = looper.now();
    let times = Rc::new(RefCell::new(Vec::new()));
    let noted = times.clone();
    let tick = move |looper: &Looper| {
        noted.borrow_mut().push((looper.now() - start).as_millis() as u64);
        ControlFlow::Continue(())
    };
    let posted = looper.post_every_from(start - ms(7), ms(10), MissedTicks::Skip, tick).unwrap();

    looper.advance(ms(20));

    assert_eq!(times.take(), [0, 3, 13]);
    posted.cancel();
}

#[test]
fn k3_e1_from_another_thread_and_after_a_quit() {
    let looper = TestLooper::new().unwrap();
    let handle = looper.handle();
    let start = looper.now() + ms(3);
    let tick = |_: &Looper| ControlFlow::<()>::Break(());
    let far = handle.post_every_from(start, ms(10), MissedTicks::Delay, tick).unwrap();
    assert_eq!((looper.advance(ms(3)), far.is_pending()), (1, false));

    looper.quit();

    let refused = handle.post_every_from(start, ms(10), MissedTicks::Delay, tick).unwrap_err();
    assert_eq!(refused.reason(), RejectReason::Quit);
    assert!(looper.post_every_from(start, ms(10), MissedTicks::Skip, tick).unwrap_err().into_value().is_some());
}
