//! What barriers that stand cost: a turn looks at the first of them alone.
//!
//! Holds B3, B4. What is compared is the time of this thread on its processor, the least of runs that take turns, with
//! much slack: a look at each barrier costs more than that.

use std::time::Duration;

use alooper::{Barrier, Looper};

use crate::support::{costs::assert_in_proportion, watched};

/// How many barriers stand.
const MANY: usize = 20_000;
/// How often something is done.
const ROUNDS: usize = 20;
/// How many times as much it may cost. What is seen is less than 2; a look at all of the many is a hundred and more.
const SLACK: u32 = 20;

fn put_up(looper: &Looper, count: usize) -> Vec<Barrier> {
    (0..count).map(|_| looper.barrier().unwrap()).collect()
}

/// What is done to a looper on which barriers stand.
type Act = fn(&Looper);

const ACTS: [(&str, Act); 4] = [
    ("a turn", |looper| assert!(looper.poll_once(Duration::ZERO).unwrap().timed_out)),
    ("a turn with a message that passes", |looper| {
        looper.handle().asynchronous().post(|_| ()).unwrap();
        assert_eq!(looper.poll_once(Duration::ZERO).unwrap().messages, 1);
    }),
    ("a message that is held up", |looper| assert!(looper.post(|_| ()).unwrap().cancel())),
    ("one more barrier", |looper| drop(looper.barrier().unwrap())),
];

#[test]
fn b3_b4_a_looper_on_which_many_barriers_stand_works_no_slower_than_with_one() {
    watched(|| {
        let (one, many) = (Looper::new().unwrap(), Looper::new().unwrap());
        let _one_stands = put_up(&one, 1);
        let _many_stand = put_up(&many, MANY);

        for (name, act) in ACTS {
            let acting = |looper: &Looper| (0..ROUNDS).for_each(|_| act(looper));
            assert_in_proportion(name, SLACK, || acting(&one), || acting(&many));
        }
    });
}

/// In whatever order, and at whichever end.
#[test]
fn b3_the_end_of_a_barrier_is_no_dearer_for_the_others() {
    watched(|| {
        let looper = Looper::new().unwrap();
        for (name, reversed) in [("from the first on", false), ("from the last on", true)] {
            let few = || drop(put_up(&looper, ROUNDS));
            let many = || {
                let mut barriers = put_up(&looper, MANY);
                if reversed {
                    barriers.reverse();
                }
                drop(barriers);
            };

            assert_in_proportion(name, SLACK * (MANY / ROUNDS) as u32, few, many);
        }
    });
}
