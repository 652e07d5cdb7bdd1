//! Known bugs that the models and the fuzz targets must catch; in a build for use, none of this is there.
//!
//! A model that passes proves nothing until it has been seen to fail. So the code asks here whether it should be wrong
//! in one named way, and a control in `src/tests/models/mod.rs` runs each model once more with the bug that it exists to
//! catch. `.ci/fuzz planted` does so with the bugs for the fuzz targets, in a build with `--cfg alooper_planted`.

/// A way in which the library could be wrong: first the wake protocol and the cell of the queue, for the models, then
/// what one thread can see, for the fuzz targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// The looper publishes its sleep without looking at what was left meanwhile (C1).
    SettleWithoutLooking,
    /// The looper looks at the queue and publishes its sleep under two locks of the queue instead of one.
    SettleWithoutTheQueue,
    /// The looper takes back the flag that there is mail when it has unlocked the mail that it took (C1).
    ForgetMailLate,
    /// Who finds the looper asleep does not take its published sleep back, so that everybody writes the eventfd (C3).
    SignalEveryTime,
    /// The eventfd is written before the message can be seen (C2).
    SignalBeforePush,
    /// Whether the inbox is closed is looked at under one lock, and the message pushed under the next (C57).
    CheckThenPush,
    /// Whether a message is pending is looked at under one lock, and it is cancelled under the next (C53).
    CheckThenCancel,
    /// The looper is told to tidy up before what has ended is left for it (C30).
    TellBeforeLeaving,
    /// Who takes a barrier away wakes the looper before the barrier is gone (C56).
    RouseBeforeRelease,
    /// Who takes a barrier away collects the mail before posters see that it is gone (C56).
    CollectBeforeRelease,
    /// The looper is not told that a predicate has let a message be (R6).
    ReleaseSilently,
    /// A message runs while a predicate looks at it (R6).
    RunHeld,
    /// A removal by predicate passes over what another one looks at (R1).
    PassHeld,
    /// The owner of the queue's cell has no fence between its word and the look at the visitors'.
    OwnerWithoutFence,
    /// Visitors have none between theirs and the look at the owner's.
    VisitorsWithoutFence,
    /// The owner goes in without looking whether a visitor is inside.
    StepInAnyway,
    /// Visitors go in without looking whether the owner is inside.
    EnterUnseen,
    /// The owner acquires nothing of what visitors did inside.
    EnterUnacquired,
    /// Nobody releases anything of what was done inside.
    LeaveUnreleased,
    /// A timed message goes before a plain one that was posted before it and is due at the same time (M1).
    TimedBeforePlain,
    /// What was posted at the front first runs first (M3).
    FrontInOrder,
    /// The clock is read as a nanosecond later than it is (T6).
    RunEarly,
    /// Deadlines are rounded up to microseconds (T6).
    RoundUp,
    /// Deadlines are rounded down to microseconds, so that the looper gets up too early, again and again (C39).
    RoundDown,
    /// A turn runs all that is due (T7).
    IgnoreBudget,
    /// A turn that ran something does not report a wake (T3).
    SwallowWake,
    /// A repeating closure is due a period after it has run (M1).
    DriftingRepeat,
    /// Synchronous messages pass barriers (B2).
    PassBarrier,
    /// A removal by label leaves one of several (R1).
    MissOne,
    /// The name of a message that is gone finds the next one in its place (C45).
    StaleMessage,
    /// A key that outlived its entry finds the next one in its slot (C16).
    StaleKey,
    /// `quit_safely` drops what comes due just then (Q1).
    DropDue,
    /// Idle handlers run again after a wake (I2).
    WakeIsWork,
    /// Quitting leaves the barriers where they are (Q3).
    LeaveBarriers,
    /// Callbacks of fds that are ready still start after a quit (Q5).
    CallAfterQuit,
    /// A host is not told that there is something to do (O1).
    HostUntold,
    /// An fd is called for events that its interest no longer asks for (F4).
    ServeUnasked,
    /// The kernel is not told of a new interest (C27).
    LoseModify,
    /// A callback that answers `Remove` is kept (F5).
    KeepAnyway,
    /// An fd that was closed while a duplicate keeps it in the set stays there (F7).
    BearWithStrays,
    /// An fd that reports nothing but hang-ups is served for ever (F8).
    BearWithHollow,
}

/// Those for the fuzz targets.
#[cfg(all(alooper_planted, not(all(test, alooper_loom))))]
const SEEN_BY_FUZZING: [Bug; 22] = [
    Bug::TimedBeforePlain,
    Bug::FrontInOrder,
    Bug::RunEarly,
    Bug::RoundUp,
    Bug::RoundDown,
    Bug::IgnoreBudget,
    Bug::SwallowWake,
    Bug::DriftingRepeat,
    Bug::PassBarrier,
    Bug::MissOne,
    Bug::StaleMessage,
    Bug::StaleKey,
    Bug::DropDue,
    Bug::WakeIsWork,
    Bug::LeaveBarriers,
    Bug::CallAfterQuit,
    Bug::HostUntold,
    Bug::ServeUnasked,
    Bug::LoseModify,
    Bug::KeepAnyway,
    Bug::BearWithStrays,
    Bug::BearWithHollow,
];

/// Whether the code should have `bug`.
#[cfg(not(any(alooper_planted, all(test, alooper_loom))))]
#[inline]
pub(crate) const fn is(_bug: Bug) -> bool {
    false
}

/// Whether the code should have `bug`: the environment of a control says so.
#[cfg(all(test, alooper_loom))]
pub(crate) fn is(bug: Bug) -> bool {
    static PLANTED: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("ALOOPER_PLANTED").ok());
    PLANTED.as_deref().is_some_and(|name| name == format!("{bug:?}"))
}

/// Whether the code should have `bug`: the environment says so.
///
/// # Panics
/// If it names a bug that there is not: nothing would be proved then.
#[cfg(all(alooper_planted, not(all(test, alooper_loom))))]
pub(crate) fn is(bug: Bug) -> bool {
    static PLANTED: std::sync::LazyLock<Option<Bug>> = std::sync::LazyLock::new(|| {
        let name = std::env::var("ALOOPER_PLANTED").ok()?;
        let bug = SEEN_BY_FUZZING.into_iter().find(|bug| format!("{bug:?}") == name);
        Some(bug.unwrap_or_else(|| panic!("there is no bug {name:?}")))
    });
    *PLANTED == Some(bug)
}
