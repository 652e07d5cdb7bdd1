//! What cancelling costs a thread that has many loopers: as much for the last of them as for the first.
//!
//! Holds R5. What is compared is the time of this thread on its processor, as in `handler/cost.rs`.

use std::{ops::ControlFlow, time::Duration};

use alooper::Looper;

use crate::support::{alone::alone, costs::assert_in_proportion};

/// How many loopers there are. Each has three fds, of the 1024 that a process has at least.
const MANY: usize = 300;
/// How many times as much it may cost. What is seen is less than 2; a look at each looper is dozens.
const SLACK: u32 = 6;

type Work = fn(&Looper);

#[test]
fn r5_cancelling_is_no_dearer_for_other_loopers_of_the_thread() {
    alone("r5_cancelling_is_no_dearer_for_other_loopers_of_the_thread", || {
        fn posts(looper: &Looper) {
            for _ in 0..1000 {
                let posted = looper.post_delayed(Duration::from_secs(3600), |_| ()).unwrap();
                assert!(posted.is_pending() && posted.cancel());
            }
        }
        fn idles(looper: &Looper) {
            for _ in 0..1000 {
                assert!(looper.add_idle(|_| ControlFlow::Continue(())).unwrap().remove());
            }
        }
        let works: [(&str, Work); 2] = [("a message", posts), ("an idle handler", idles)];
        let loopers: Vec<Looper> = (0..MANY).map(|_| Looper::new().unwrap()).collect();

        for (name, work) in works {
            assert_in_proportion(name, SLACK, || work(&loopers[0]), || work(&loopers[MANY - 1]));
        }
    });
}
