//! X1, T3, T7.
use alooper::{DispatchInfo, Looper, Observer, Posted, testing::TestClock};
use std::{
    cell::RefCell,
    ops::ControlFlow,
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    time::Duration,
};

use crate::support::{ms, watched};

struct Cancels(RefCell<Option<Posted>>);
impl Observer for Cancels {
    fn started(&self, _: &DispatchInfo) {
        if let Some(posted) = self.0.borrow_mut().take() {
            posted.cancel();
        }
    }
}
struct Bomb;
impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("bomb")
        }
    }
}

#[test]
fn x1_a_panic_of_a_cancelled_repetition_hides_no_later_message() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let bomb = Bomb;
        let posted = looper
            .post_every(ms(1), move |_| {
                let _ = &bomb;
                ControlFlow::Continue(())
            })
            .unwrap();
        looper.set_observer(Some(Rc::new(Cancels(RefCell::new(Some(posted))))));
        let r = panic::catch_unwind(AssertUnwindSafe(|| looper.poll_once(None)));
        assert!(r.is_err());
        looper.post(|_| ()).unwrap();
        assert_eq!(looper.poll_once(Duration::ZERO).unwrap().messages, 1);
    });
}

/// T7: what is skipped does not count, however many may run.
#[test]
fn t7_x1_a_message_that_is_skipped_makes_room_for_another_whatever_the_budget_is() {
    for budget in [1, 2, usize::MAX - 1, usize::MAX] {
        let clock = TestClock::new();
        let looper = clock.build(Looper::builder().budget(budget)).unwrap();
        let repeating = looper.post_every(ms(1), |_| ControlFlow::Continue(())).unwrap();
        looper.set_observer(Some(Rc::new(Cancels(RefCell::new(Some(repeating))))));
        clock.pass(ms(1));
        looper.post(|_| ()).unwrap();

        assert_eq!(looper.poll_once(Duration::ZERO).unwrap().messages, 1, "{budget}");

        let counts = looper.message_counts();
        assert_eq!((counts.run, counts.removed), (1, 1), "{budget}");
    }
}
