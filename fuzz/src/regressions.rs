//! What random histories have found, made short. A history that is printed goes into a test as it is.

use crate::{
    Kind, compare,
    history::{By::*, History, Labels, List, Op::*, Passes::*, When::*},
};

#[track_caller]
fn assert_goes_as_the_rules_say(history: &History) {
    for kind in [Kind::Fake, Kind::Real] {
        compare(history, kind).unwrap_or_else(|difference| panic!("on the {kind:?} kernel, {difference}"));
    }
}

/// T4: the model reported it in the turn in which it was called, of which the looper may no longer say so.
#[test]
fn t4_a_wake_from_a_message_is_reported_by_the_next_turn() {
    assert_goes_as_the_rules_say(&History {
        budget: 256,
        is_afar: false,
        looks_each: 1000,
        spin_limit: 1000,
        is_hosted: false,
        steps: vec![
            Send {
                to: 1,
                labels: Labels { what: 0, token: Some(0), mark: 0 },
                passes: ByView,
                when: AtFront,
                script: List::from([Wake]),
            },
            Poll { timeout: 0 },
            Post { by: Looper, when: Now, script: List::from([]) },
            Poll { timeout: 0 },
        ],
    });
}
