//! Known bugs that the models must catch; in a build for use, none of this is there.
//!
//! A model that passes proves nothing until it has been seen to fail. So the code asks here whether it should be wrong
//! in one named way, and a control in `src/models/mod.rs` runs each model once more with the bug that it exists to
//! catch.

/// A way in which the wake protocol, or the lock of the queue, could be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// The looper publishes its sleep without looking at what was left meanwhile (C1).
    SettleWithoutLooking,
    /// The looper looks at the queue and publishes its sleep under two locks of the queue instead of one.
    SettleWithoutTheQueue,
    /// The looper takes back the flag that there is mail when it has unlocked the mail that it took (C1).
    ForgetMailLate,
    /// Mail is taken to be known to a looper that has mail, also if that looper is asleep (C1).
    RaiseOnce,
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
    /// The owner of the queue's lock has no fence between its word and the look at the others'.
    BiasedWithoutFence,
    /// The others have none between theirs and the look at the owner's.
    OthersWithoutFence,
    /// The owner goes in without looking whether others are inside.
    StepInAnyway,
    /// The others go in without looking whether the owner is inside.
    EnterUnseen,
    /// The owner acquires nothing of what the others did inside.
    EnterUnacquired,
    /// The owner releases nothing of what it did inside.
    LeaveUnreleased,
    /// The owner tells nobody when it leaves.
    LeaveSilently,
    /// The owner tells nobody when it steps back and goes through the door.
    StepBackSilently,
    /// Those who have left still count as others.
    StayCounted,
}

/// Whether the code should have `bug`.
#[cfg(not(all(test, alooper_loom)))]
#[inline]
pub(crate) const fn is(_bug: Bug) -> bool {
    false
}

/// Whether the code should have `bug`: the environment of a control says so.
#[cfg(all(test, alooper_loom))]
pub(crate) fn is(bug: Bug) -> bool {
    static PLANTED: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("ALOOPER_PLANTED").ok());
    PLANTED.as_deref() == Some(format!("{bug:?}").as_str())
}
