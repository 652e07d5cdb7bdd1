//! Random histories: whatever is done to a looper, in whatever order, it behaves as a plain sorted list would.
//!
//! Holds A1, A2, A3, A4, A5, B1, B2, B3, B5, F1, F2, F3, F4, F5, F6, F7, F8, F9, F10, F12, H2, I1, I2, I3, K2, L4, M1,
//! M2, M3, M4, M5, M6, M7, M8, Q1, Q2, Q3, Q4, Q5, R1, R2, R3, R4, S1, T2, T3, T4, T6, T7, T8, T9, T10, T11, T14, V1.

#[path = "../it/support/elsewhere.rs"]
mod elsewhere;
#[path = "../it/support/watched.rs"]
mod watched;

mod driver;
mod history;
mod kernel;
mod model;
mod plan;
mod real;
mod seen;
mod strategy;
mod threads;
mod world;

use std::{cell::Cell, env};

use history::{By, History, Labels, Op, Passes, Script, When};
use proptest::{
    strategy::Strategy,
    test_runner::{Config, TestCaseError, TestError, TestRunner},
};
use watched::watched;

/// The longest history.
const STEPS: usize = 80;
/// The most that one of several threads does.
const DEEDS: usize = 40;

/// Checks random values, each on a thread that is watched; panics with the smallest that was found not to hold.
#[track_caller]
fn assert_holds_of_all<S>(config: Config, values: &S, check: fn(&S::Value) -> Result<(), String>)
where
    S: Strategy<Value: Send + 'static>,
{
    let passed = Cell::new(0);
    let has_failed = Cell::new(false);

    let result = TestRunner::new(Config { failure_persistence: None, ..config }).run(values, |value| {
        let had_failed = has_failed.replace(true);
        watched(move || check(&value)).map_err(TestCaseError::fail)?;
        has_failed.set(had_failed);
        passed.set(passed.get() + u32::from(!had_failed));
        Ok(())
    });

    match result {
        Ok(()) => {}
        Err(TestError::Fail(difference, value)) => {
            panic!("after {} that went well, {difference}\nin {value:?}", passed.get())
        }
        Err(TestError::Abort(reason)) => panic!("nothing to check: {reason}"),
    }
}

fn cases() -> u32 {
    if env::var_os("PROPTEST_CASES").is_some() { Config::default().cases } else { 64 }
}

/// As many cases as the variable PROPTEST_CASES says, or a few: each run has others, and fuzz/ has millions.
#[test]
fn any_history_goes_as_the_rules_say() {
    let config = Config { cases: cases(), max_shrink_time: 60_000, ..Config::default() };

    assert_holds_of_all(config, &strategy::histories(STEPS), |history| driver::compare(history).map(drop));
}

/// What random histories have found, made short.
#[track_caller]
fn assert_goes_as_the_rules_say(steps: impl Into<Vec<Op>>) {
    let history =
        History { budget: 256, is_afar: false, looks_each: 1, spin_limit: 1000, is_hosted: false, steps: steps.into() };
    watched(move || driver::compare(&history)).unwrap();
}

fn send(to: usize, when: When) -> Op {
    let labels = Labels { what: Some(0), token: None, mark: 0 };
    Op::Send { to, labels, passes: Passes::AsTheHandler, when, script: Script::from([]) }
}

const RENEW: Op = Op::Renew { slot: 0, by: By::Looper };
const POLL: Op = Op::Poll { timeout: 0 };

/// It ran in the turn after that, which may be a long time away.
#[test]
fn i1_an_idle_handler_that_a_handle_added_runs_in_a_turn_that_does_not_block() {
    assert_goes_as_the_rules_say([Op::AddIdle { by: By::Handle, runs: Some(1), script: Script::from([]) }, POLL]);
}

/// Its closure stayed until the looper was dropped.
#[test]
fn h2_a_handler_of_a_handle_that_ends_before_it_arrives_is_dropped() {
    assert_goes_as_the_rules_say([Op::Renew { slot: 0, by: By::Handle }, RENEW, POLL, POLL]);
}

/// The message stayed until its `Posted` was dropped.
#[test]
fn q4_a_message_that_quit_gave_up_is_dropped_though_its_handler_ends_first() {
    assert_goes_as_the_rules_say([send(0, When::Now), RENEW, Op::Quit, Op::Renew { slot: 1, by: By::Looper }, POLL]);
}

/// The message stayed until its `Posted` was dropped.
#[test]
fn q4_a_message_that_quit_gave_up_is_dropped_though_a_new_handler_takes_the_place_of_its_own() {
    assert_goes_as_the_rules_say([send(0, When::Never), RENEW, Op::Quit, RENEW, POLL]);
}

/// The message stayed until its `Posted` was dropped: what had been sent to the first handler was dropped in time.
#[test]
fn q4_a_message_that_quit_gave_up_is_dropped_though_its_handler_had_not_arrived() {
    let renew_by_handle = Op::Renew { slot: 0, by: By::Handle };

    assert_goes_as_the_rules_say([send(0, When::Now), renew_by_handle, send(0, When::Now), Op::Quit, RENEW, POLL]);
}

/// The model expected the handler to be dropped at once, though the quit had left the poll of a task to be tidied away.
#[test]
fn q4_a_handler_that_ends_after_a_quit_is_dropped_with_the_poll_that_it_gave_up() {
    let spawn = Op::Spawn { by: By::Looper, polls: [Script::from([])].into() };

    assert_goes_as_the_rules_say([spawn, Op::Quit, Op::Renew { slot: 1, by: By::Looper }, POLL]);
}

/// The model took the looper to be at rest after a turn in which idle handlers alone had run.
#[test]
fn v1_i1_an_idle_handler_that_was_added_by_one_runs_before_the_clock_moves() {
    let added = [Op::WakeTask { back: 2 }, Op::CancelTask { back: 2 }].into();
    let added = Op::AddIdle { by: By::Looper, runs: Some(1), script: added };
    let adding = Op::AddIdle { by: By::Looper, runs: Some(2), script: [added].into() };
    let ever = Op::AddIdle { by: By::AsynchronousHandle, runs: None, script: Script::from([]) };
    let remove = |back| Script::from([Op::RemoveIdle { back }]);
    let spawn = Op::Spawn { by: By::Handle, polls: [remove(3), remove(1)].into() };
    let steps = vec![ever, adding, spawn, Op::Advance { by: 5 }];

    // Nothing is looked at, which would move the mail into the queue.
    let history = History { budget: 256, is_afar: false, looks_each: 1000, spin_limit: 1000, is_hosted: false, steps };
    watched(move || driver::compare(&history)).unwrap();
}

/// Half of the cases above. M5, M6, R1, R4, Q2, Q4, T6: a failure is not made smaller, since it may not
/// come again.
#[test]
fn threads_that_post_and_remove_at_once_get_what_they_were_promised() {
    let cases = (cases() / 2).max(1);
    let config = Config { cases, max_shrink_iters: 0, ..Config::default() };

    assert_holds_of_all(config, &plan::plans(DEEDS), threads::check);
}
