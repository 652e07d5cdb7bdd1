//! What waits for the wall clock, when a leap of that is told late.
//!
//! Holds G3.

use std::time::SystemTime;

use super::*;
use crate::sys::time::{Clock, VirtualClock};

/// Sets the wall clock of a looper, which is not told.
fn set_untold(looper: &Looper, time: SystemTime) {
    let Clock::Virtual(clock) = looper.clock() else { panic!("a test's looper is on a test's clock") };
    VirtualClock::set_wall_time(clock, time);
}

/// As in a turn in which the message comes before the fd that tells.
#[test]
fn g3_a_message_that_is_due_too_early_is_posted_again_for_the_rest() {
    let (looper, _kernel) = fake();
    let (start, wall) = (looper.now(), looper.wall_time());
    let value = Rc::new(());
    let kept = value.clone();
    let posted = looper.post_at_wall(wall + ms(10), move |_| drop(kept)).unwrap();
    set_untold(&looper, wall - ms(5));

    assert_eq!(looper.poll_once(None).unwrap().messages, 1);
    assert!(posted.is_pending());
    assert_eq!((looper.now() - start, Rc::strong_count(&value)), (ms(10), 2));
    looper.poll_once(None).unwrap();

    assert_eq!((looper.now() - start, Rc::strong_count(&value)), (ms(15), 1));
    assert!(!posted.is_pending() && !posted.cancel());
}

#[test]
fn g3_one_that_was_posted_again_is_cancelled_and_follows_as_before() {
    let (looper, _kernel) = fake();
    let wall = looper.wall_time();
    let [cancelled, follows] = [(); 2].map(|()| looper.post_at_wall(wall + ms(10), |_| ()).unwrap());
    set_untold(&looper, wall - ms(5));
    looper.poll_once(None).unwrap();

    assert!(cancelled.cancel());
    assert_eq!(looper.len(), 1);
    set_untold(&looper, wall + DAY);
    looper.shared().wall_clock_timers.reschedule_all(looper.shared());

    assert_eq!(looper.poll_once(Duration::ZERO).unwrap(), ran(1));
    assert!(!follows.is_pending());
}
