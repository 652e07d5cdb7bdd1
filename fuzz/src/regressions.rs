//! What random histories have found, made short. A history that is printed goes into a test as it is.

use crate::{
    Kind, compare,
    history::{Answer, By::*, History, How::*, Labels, List, Op::*, Passes::*, Returns, Swap, When::*},
};

#[track_caller]
fn assert_goes_as_the_rules_say(history: &History) {
    assert_goes_on(&[Kind::Fake, Kind::Real], history);
}

#[track_caller]
fn assert_goes_on(kinds: &[Kind], history: &History) {
    for kind in kinds {
        compare(history, *kind).unwrap_or_else(|difference| panic!("on the {kind:?} kernel, {difference}"));
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
                labels: Labels { what: Some(0), token: Some(0), mark: 0 },
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

/// T4: the model took the quit of an idle handler for the end of the turn's first round, whose messages still run.
#[test]
fn t4_a_wake_from_what_runs_in_the_turn_of_a_quit_is_reported_by_it() {
    assert_goes_as_the_rules_say(&History {
        budget: 256,
        is_afar: false,
        looks_each: 1000,
        spin_limit: 1000,
        is_hosted: false,
        steps: vec![
            AddIdle {
                by: Looper,
                runs: Some(2),
                script: List::from([Post { by: Looper, when: Now, script: List::from([Wake]) }]),
            },
            AddIdle { by: Looper, runs: Some(1), script: List::from([QuitSafely]) },
            Poll { timeout: 0 },
            Poll { timeout: 0 },
        ],
    });
}

/// F7: a registration whose fd has died ends in a turn of `poll_all`, which then makes the set anew: the model takes
/// one turn at a time as soon as that may be.
#[test]
fn f7_an_fd_that_has_died_may_end_in_a_turn_that_is_one_of_many() {
    let answer = || Answer { drains: false, swap: None, script: List::from([]), next: Returns::Keep };
    assert_goes_as_the_rules_say(&History {
        budget: 256,
        is_afar: false,
        looks_each: 1000,
        spin_limit: 1000,
        is_hosted: false,
        steps: vec![
            Open,
            Dup { back: 19 },
            Post { by: Handle, when: Now, script: List::from([Dup { back: 1 }]) },
            Poll { timeout: 11 },
            Watch { by: Looper, back: 22, how: Adding, interest: 1, answers: List::from([]) },
            Lend { back: 3, swap: None, script: List::from([Close { back: 1 }]) },
            Open,
            Lend { back: 2, swap: Some(Swap::Anew), script: List::from([]) },
            Watch { by: Handle, back: 2, how: Replacing, interest: 7, answers: List::from([answer(), answer()]) },
            Hang { back: 3 },
            PollAll { timeout: 4 },
        ],
    });
}

/// T4: there are two wakes, one before the turn that drains and one in it, and each is reported.
#[test]
fn t4_a_wake_from_what_runs_after_a_quit_is_reported_by_the_next_turn() {
    assert_goes_as_the_rules_say(&History {
        budget: 256,
        is_afar: false,
        looks_each: 1000,
        spin_limit: 1000,
        is_hosted: false,
        steps: vec![
            Post { by: Looper, when: After(4), script: List::from([Wake]) },
            Oversleep { by: 4 },
            QuitSafely,
            Wake,
            Poll { timeout: 0 },
            Poll { timeout: 6 },
        ],
    });
}

/// T4, I1: the model let idle handlers run at the end of a turn of `poll_all`, too, which no longer sees a wake by what
/// runs after they have quit; they run before a wait.
#[test]
fn t4_i1_a_wake_from_what_runs_after_idle_handlers_have_quit_is_reported_by_their_turn() {
    let labels = Labels { what: Some(0), token: Some(1), mark: 0 };
    let wake = List::from([Wake]);
    let send = Send { to: 1, labels, passes: ByView, when: Now, script: wake };
    assert_goes_as_the_rules_say(&History {
        budget: 256,
        is_afar: false,
        looks_each: 1000,
        spin_limit: 1000,
        is_hosted: false,
        steps: vec![
            AddIdle { by: Looper, runs: Some(2), script: List::from([send]) },
            AddIdle { by: Looper, runs: Some(2), script: List::from([QuitSafely]) },
            Post { by: Looper, when: At(-4), script: List::from([]) },
            PollAll { timeout: 7 },
        ],
    });
}

/// F7, F8: that an fd has died is also found when it is about to be muted.
#[test]
fn f7_f8_an_fd_that_has_died_is_found_when_its_trial_begins() {
    let swapping = Answer { drains: false, swap: Some(Swap::Anew), script: List::from([]), next: Returns::Keep };
    let keeping = Answer { drains: false, swap: None, script: List::from([]), next: Returns::Keep };
    assert_goes_as_the_rules_say(&History {
        budget: 256,
        is_afar: false,
        looks_each: 1000,
        spin_limit: 3,
        is_hosted: false,
        steps: vec![
            Open,
            Dup { back: 20 },
            Dup { back: 16 },
            Hang { back: 0 },
            Watch { by: Handle, back: 0, how: Replacing, interest: 1, answers: List::from([swapping, keeping]) },
            Close { back: 3 },
            SetInterest { by: AsynchronousHandle, back: 0, interest: 4 },
            Poll { timeout: 0 },
            Watch { by: AsynchronousHandle, back: 22, how: Adding, interest: 2, answers: List::from([]) },
            Poll { timeout: 2 },
        ],
    });
}

/// F8: the model took what was reported once, before the fd had said nothing for a wait, for as many in a row as it bears with.
#[test]
fn f8_what_has_not_been_reported_in_a_row_is_not_muted() {
    let answer = || Answer { drains: false, swap: None, script: List::from([]), next: Returns::Keep };

    // The real kernel's files have no error without a hang-up.
    let history = History {
        budget: 256,
        is_afar: false,
        looks_each: 1000,
        spin_limit: 2,
        is_hosted: false,
        steps: vec![
            Open,
            Ready { back: 22, events: 18 },
            Watch {
                by: Looper,
                back: 0,
                how: Adding,
                interest: 8,
                answers: List::from([answer(), answer(), answer()]),
            },
            Poll { timeout: 0 },
            Ready { back: 2, events: 1 },
            Send {
                to: 1,
                labels: Labels { what: Some(1), token: Some(0), mark: 1 },
                passes: AsTheHandler,
                when: After(0),
                script: List::from([Ready { back: 20, events: 20 }]),
            },
            PollAll { timeout: 13 },
        ],
    };
    assert_goes_on(&[Kind::Fake], &history);
}
