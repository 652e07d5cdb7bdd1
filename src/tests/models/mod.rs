//! The wake protocol in all interleavings, model-checked on the code itself.
//!
//! `RUSTFLAGS="--cfg alooper_loom" cargo test --release --lib models` runs them. Each model drives a whole looper on a
//! fake kernel whose waits really wait, so that a lost wake is a deadlock, which the checker reports. A control runs a
//! model once more in a process of its own with a [planted bug](crate::planted), and fails if the model does not see
//! it.
//!
//! With `--cfg alooper_shuttle` besides, shuttle takes the checker's place: it tries interleavings at random, and so also
//! those of the models in `wide.rs`, which have too many. It knows no weak memory; that is loom's part.

use std::sync::Arc;

use crate::{
    looper::{Looper, builder::LooperBuilder},
    sys::{
        Kernel,
        fake::{FakeKernel, Stuck},
    },
};

// Shuttle knows no order of memory but one.
#[cfg(not(alooper_shuttle))]
mod owner_cell;
mod fds;
mod messages;
mod wake;
#[cfg(alooper_shuttle)]
mod wide;

/// Checks `model` in all interleavings with at most three preemptions.
fn check(model: impl Fn() + Send + Sync + 'static) {
    check_within(3, model);
}

/// Checks `model` in all interleavings with at most so many preemptions: fewer for one with many threads.
#[cfg(not(alooper_shuttle))]
fn check_within(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// Checks `model` in as many random interleavings as the variable ALOOPER_SCHEDULES says, 1000 unless it does: half of
/// them with few preemptions, which find what needs a certain order, half of them with any.
#[cfg(alooper_shuttle)]
fn check_within(_: usize, model: impl Fn() + Send + Sync + 'static) {
    let schedules = std::env::var("ALOOPER_SCHEDULES").map_or(1000, |count| count.parse().expect("it is a number"));
    let model = Arc::new(model);
    let again = model.clone();
    shuttle::check_random(move || model(), schedules / 2);
    shuttle::check_pct(move || again(), schedules - schedules / 2, 3);
}

fn looper() -> (Looper, Arc<FakeKernel>) {
    let kernel = FakeKernel::new(Stuck::Wait);
    let builder = LooperBuilder { clock: kernel.clock(), kernel: Kernel::Fake(kernel.clone()), ..Looper::builder() };
    (builder.build().unwrap(), kernel)
}

/// Whether the eventfd is closed with the looper, as the timer is, though handles still write it (C11): a bug of the fake
/// kernel, for a control.
pub(crate) fn closes_with_the_looper() -> bool {
    std::env::var_os("ALOOPER_PLANTED").is_some_and(|name| name == "CloseWithTheLooper")
}

/// Each model that exists for a planted bug is seen to catch it.
mod controls {
    use std::{env, fmt::Debug, process::Command};

    use crate::planted::Bug;

    /// Runs `model` with `bug` in a process of its own, since a model that fails may abort it, and looks for
    /// `complaint`.
    fn catches(model: &str, bug: impl Debug, complaint: &str) {
        let name = format!("models::{model}");
        let output = Command::new(env::current_exe().unwrap())
            .args([&name, "--exact", "--test-threads=1", "--nocapture"])
            .env("ALOOPER_PLANTED", format!("{bug:?}"))
            .env("RUST_BACKTRACE", "0")
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("running 1 test"), "there is no model {model}");
        assert!(!output.status.success() && said.contains(complaint), "{model} does not see {bug:?}: {said}");
    }

    #[test]
    fn p1_settling_without_looking_is_caught() {
        catches("wake::c1_one_post_ends_a_sleep", Bug::SettleWithoutLooking, "deadlock");
    }

    #[test]
    fn p1_settling_a_hosted_looper_without_looking_is_caught() {
        catches(
            "wake::o1_a_post_against_the_end_of_a_hosted_turn_runs_in_it_or_leaves_the_fd_readable",
            Bug::SettleWithoutLooking,
            "the host has to come back",
        );
    }

    #[test]
    fn p1_settling_without_the_queue_is_caught() {
        catches(
            "wake::c1_a_query_of_another_thread_does_not_hide_a_post_from_a_looper_that_goes_to_sleep",
            Bug::SettleWithoutTheQueue,
            "deadlock",
        );
        catches(
            "wake::o1_a_query_of_another_thread_does_not_hide_a_post_from_a_host",
            Bug::SettleWithoutTheQueue,
            "the host has to come back",
        );
    }

    #[test]
    fn p2_a_signal_before_the_message_is_caught() {
        catches("wake::c1_one_post_ends_a_sleep", Bug::SignalBeforePush, "deadlock");
        catches("wake::c2_whoever_is_woken_for_a_message_finds_it", Bug::SignalBeforePush, "deadlock");
    }

    #[test]
    fn p3_a_write_for_every_wake_is_caught() {
        catches("wake::c3_wakes_coalesce_and_none_is_lost", Bug::SignalEveryTime, "a sleep is ended by one write");
    }

    #[test]
    fn p1_settling_over_a_wake_is_caught() {
        catches("wake::c1_a_wake_ends_a_sleep", Bug::SettleWithoutLooking, "deadlock");
    }

    #[test]
    fn p1_forgetting_mail_that_came_after_the_looper_took_it_is_caught() {
        catches("wake::c1_two_posts_of_one_thread_both_run", Bug::ForgetMailLate, "deadlock");
        catches("wake::c1_posts_of_two_threads_both_run", Bug::ForgetMailLate, "deadlock");
        catches("wake::c1_two_posts_of_each_of_two_threads_all_run", Bug::ForgetMailLate, "deadlock");
    }

    #[test]
    fn p8_sleeping_over_an_earlier_message_is_caught() {
        catches("wake::c8_an_earlier_message_shortens_a_sleep", Bug::SettleWithoutLooking, "deadlock");
        catches("wake::c8_an_earlier_message_shortens_a_sleep", Bug::SignalBeforePush, "deadlock");
    }

    #[test]
    fn p30_telling_the_looper_of_a_removal_too_early_is_caught() {
        let models = [
            "fds::f4_c30_a_removal_while_the_fd_is_served_lets_no_call_begin_and_the_source_is_dropped_at_home",
            "fds::f11_c30_one_that_another_thread_adds_and_removes_is_dropped_at_home_whatever_the_looper_does",
        ];
        models.iter().for_each(|model| catches(model, Bug::TellBeforeLeaving, "left == right"));
    }

    #[test]
    fn p53_looking_and_then_cancelling_is_caught() {
        catches("wake::c53_a_message_is_either_run_or_cancelled", Bug::CheckThenCancel, "left == right");
    }

    #[test]
    fn p11_an_eventfd_that_is_closed_too_early_is_caught() {
        let model = "wake::c11_a_wake_against_the_end_of_the_looper_succeeds_and_all_is_closed_after_both";
        #[derive(Debug)]
        struct CloseWithTheLooper;
        catches(model, CloseWithTheLooper, "write (eventfd)");
    }

    #[test]
    fn p1_sleeping_over_what_the_last_handle_has_posted_is_caught() {
        let model = "wake::c1_c11_a_post_ends_a_sleep_though_its_handle_goes_and_is_the_last";
        catches(model, Bug::SettleWithoutLooking, "deadlock");
        catches(model, Bug::SignalBeforePush, "deadlock");
    }

    #[test]
    fn p1_sleeping_over_anything_else_is_caught() {
        let models = [
            "wake::c9_a_wake_behind_mail_that_a_looper_sleeps_over_ends_the_sleep",
            "wake::m10_a_local_closure_that_another_thread_cancels_is_dropped_at_home",
            "messages::i4_an_idle_handler_from_another_thread_runs_though_the_looper_falls_asleep",
            "messages::h1_a_handler_from_another_thread_handles_what_is_sent_to_it",
        ];
        models.iter().for_each(|model| catches(model, Bug::SettleWithoutLooking, "deadlock"));
    }

    #[test]
    fn p57_checking_and_then_pushing_is_caught() {
        catches("wake::c57_quit_against_a_poster_loses_nothing", Bug::CheckThenPush, "left == right");
        catches("wake::c57_quit_against_two_posters_loses_nothing", Bug::CheckThenPush, "ends in one way");
    }

    #[test]
    fn p57_sleeping_over_a_quit_is_caught() {
        let model = "wake::c57_quit_safely_against_a_poster_runs_all_it_accepted";
        catches(model, Bug::SettleWithoutLooking, "deadlock");
        // It knows of a message that it cannot find, and looks for ever.
        let for_ever = if cfg!(alooper_shuttle) { "exceeded max_steps" } else { "maximum number of branches" };
        catches(model, Bug::ForgetMailLate, for_ever);
    }

    #[test]
    fn p77_checking_and_then_pushing_to_a_looper_that_ends_is_caught() {
        let model = "wake::c77_a_post_against_the_end_of_the_looper_is_dropped_or_refused";
        catches(model, Bug::CheckThenPush, "left == right");
    }

    #[test]
    fn p56_a_wake_before_the_barrier_is_gone_is_caught() {
        catches(
            "messages::c56_a_barrier_that_goes_ends_a_sleep_for_what_it_held_up",
            Bug::RouseBeforeRelease,
            "deadlock",
        );
    }

    #[test]
    fn p56_collecting_before_posters_see_that_the_barrier_is_gone_is_caught() {
        catches("messages::c56_a_post_against_the_end_of_a_barrier_runs", Bug::CollectBeforeRelease, "deadlock");
    }

    #[test]
    fn p6_a_predicate_that_tells_nobody_that_it_is_done_is_caught() {
        catches(
            "messages::r6_a_message_that_a_predicate_lets_be_is_handled_after_that",
            Bug::ReleaseSilently,
            "deadlock",
        );
    }

    #[test]
    fn p6_running_what_a_predicate_looks_at_is_caught() {
        catches(
            "messages::r6_a_message_that_a_predicate_names_is_either_handled_or_removed",
            Bug::RunHeld,
            "left == right",
        );
    }

    #[test]
    fn p1_not_waiting_for_another_predicate_is_caught() {
        catches(
            "messages::r1_two_threads_that_remove_by_predicate_remove_each_message_once",
            Bug::PassHeld,
            "whoever has returned",
        );
    }

    #[cfg(alooper_shuttle)]
    #[test]
    fn p_wider_models_catch_what_they_are_for() {
        let quit = "wide::q4_c53_c57_whatever_threads_do_against_a_quit_each_message_ends_in_one_way";
        catches(quit, Bug::CheckThenPush, "left == right");
        catches(quit, Bug::CheckThenCancel, "left == right");
        catches(quit, Bug::SettleWithoutLooking, "deadlock");
        let posts = "wide::m5_c1_c63_posts_of_many_threads_all_run_and_those_of_each_in_order";
        catches(posts, Bug::SignalBeforePush, "deadlock");
        let barriers = "wide::c56_barriers_that_come_and_go_hold_nothing_up_for_ever";
        catches(barriers, Bug::RouseBeforeRelease, "deadlock");
    }

    #[cfg(not(alooper_shuttle))]
    mod owner_cell {
        use super::*;

        /// What two accesses are that nothing puts in an order.
        const RACE: &str = "Causality violation";

        #[test]
        fn a_cell_without_one_of_its_fences_is_caught() {
            for bug in [Bug::OwnerWithoutFence, Bug::VisitorsWithoutFence] {
                catches("owner_cell::the_owner_and_another_thread_exclude_each_other", bug, RACE);
            }
        }

        #[test]
        fn going_into_a_cell_without_looking_is_caught() {
            for bug in [Bug::StepInAnyway, Bug::EnterUnseen] {
                catches("owner_cell::the_owner_and_another_thread_exclude_each_other", bug, RACE);
                catches("owner_cell::the_owner_that_comes_again_and_two_other_threads_exclude_each_other", bug, RACE);
            }
        }

        #[test]
        fn a_cell_that_does_not_show_what_was_done_inside_is_caught() {
            catches("owner_cell::the_owner_that_comes_later_sees_what_another_thread_did", Bug::EnterUnacquired, RACE);
            catches("owner_cell::another_thread_that_comes_later_sees_what_the_owner_did", Bug::LeaveUnreleased, RACE);
        }
    }
}
