//! What a history consists of, and how it reads.

use std::{
    fmt::{self, Debug, Display, Formatter},
    ops::Deref,
    sync::Arc,
};

/// The handlers that a history sends to at any one time.
pub(crate) const HANDLERS: usize = 3;
/// The bounded handler has room for so many messages.
pub(crate) const ROOM: usize = 2;
/// Messages are labelled with a `what` below this one.
pub(crate) const WHATS: i32 = 3;
pub(crate) const TOKENS: usize = 2;
/// Messages bear a mark below this one, for predicates to look at.
pub(crate) const MARKS: u32 = 2;

/// What happens when a message, a repeating closure or an idle handler runs.
pub(crate) type Script = List<Op>;
/// What a task does, poll by poll: after the last one it is ready.
pub(crate) type Polls = List<Script>;
/// What an fd's callback does, call by call.
pub(crate) type Answers = List<Answer>;

/// A list that is shared. `Debug` shows the code that makes it.
#[derive(Clone)]
pub(crate) struct List<T>(Arc<[T]>);

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T, L: Into<Arc<[T]>>> From<L> for List<T> {
    fn from(list: L) -> List<T> {
        List(list.into())
    }
}

impl<T: Debug> Debug for List<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "List::from({:?})", &self.0)
    }
}

/// One step of a history, or of what a callback does. Times are in nanoseconds.
///
/// `back` counts from the latest of its kind, and goes round: an operation keeps its meaning when one before it is left
/// out. `Debug` shows the code that makes it, given the names of all variants here.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Post {
        by: By,
        when: When,
        script: Script,
    },
    Send {
        to: usize,
        labels: Labels,
        passes: Passes,
        when: When,
        script: Script,
    },
    /// Sends to the bounded handler. One that waits for room is refused on the looper's own thread.
    SendBounded {
        asynchronous: bool,
        waits: bool,
        script: Script,
    },
    ClearBounded,
    Every {
        by: By,
        period: i64,
        runs: Option<u8>,
        script: Script,
    },
    Cancel {
        back: usize,
    },
    CancelByGuard {
        back: usize,
    },
    Reschedule {
        back: usize,
        delay: i64,
    },
    Remove {
        from: usize,
        which: Which,
    },
    /// Makes a handler and drops the front of the one in whose place it stands.
    Renew {
        slot: usize,
        by: By,
    },
    Barrier,
    Lift {
        back: usize,
    },
    AddIdle {
        by: By,
        runs: Option<u8>,
        script: Script,
    },
    RemoveIdle {
        back: usize,
    },
    Quit,
    QuitSafely,
    Wake,
    Poll {
        timeout: i64,
    },
    PollAll {
        timeout: i64,
    },
    Advance {
        by: i64,
    },
    /// Moves the clock and lets nothing run, so that what becomes due is late.
    Oversleep {
        by: i64,
    },
    RunOne,
    /// A synchronous call on the looper's own thread.
    Call {
        script: Script,
    },
    Spawn {
        by: By,
        polls: Polls,
    },
    /// Wakes a task by the waker of its latest poll.
    WakeTask {
        back: usize,
    },
    CancelTask {
        back: usize,
    },
    /// Runs a future by `block_on`, which does what the script says in its first poll. After `time`, and each nanosecond
    /// from then on, an asynchronous message lifts all barriers, so that something ends it.
    Block {
        awaits: Awaits,
        time: i64,
        script: Script,
    },
    /// Opens a file, for which it gets a descriptor.
    Open,
    /// Gets another descriptor of the same file.
    Dup {
        back: usize,
    },
    /// Lets a descriptor go. It is closed unless a source holds it, too.
    Close {
        back: usize,
    },
    /// Makes the file of a descriptor ready for these events, by their bits, and for no others.
    Ready {
        back: usize,
        events: u8,
    },
    /// The other end of the file is closed for ever.
    Hang {
        back: usize,
    },
    Watch {
        by: By,
        back: usize,
        how: How,
        interest: u8,
        answers: Answers,
    },
    SetInterest {
        by: By,
        back: usize,
        interest: u8,
    },
    Repoll {
        by: By,
        back: usize,
    },
    Unwatch {
        by: By,
        back: usize,
    },
    /// Looks at a source outside its callback.
    Lend {
        back: usize,
        swap: Option<Swap>,
        script: Script,
    },
}

impl Op {
    /// Whether callbacks may swap their sources meanwhile: not if it consists of turns whose reports nobody sees.
    pub(crate) fn lets_swap(&self) -> bool {
        !matches!(self, Op::PollAll { .. } | Op::Advance { .. } | Op::RunOne | Op::Block { .. })
    }
}

/// What a future that blocks the looper's thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaits {
    /// The time of the block.
    Sleep(By),
    /// A task, which is cancelled after that time.
    Task { back: usize },
    /// A task, for that time at most.
    Timeout { by: By, back: usize },
}

/// How an fd is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Adding,
    Replacing,
    Ident(u32),
}

/// What an fd's callback does when it is called.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Reads all that there is to be read.
    pub(crate) drains: bool,
    pub(crate) swap: Option<Swap>,
    pub(crate) script: Script,
    pub(crate) next: Returns,
}

/// What takes the place of a source's fd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swap {
    /// The descriptor so far back.
    Held(usize),
    /// A new file, opened after the old fd was let go.
    Anew,
}

/// What an fd's callback returns, by its bits if it is an interest. The last answer always is `Remove`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Returns {
    Keep,
    Remove,
    Interest(u8),
}

/// Who posts a closure or makes a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Looper,
    Handle,
    AsynchronousHandle,
}

/// How a message is made asynchronous, if it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passes {
    AsTheHandler,
    ByDraft,
    ByView,
}

/// When a message is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Now,
    After(i64),
    /// After a delay that overflows the clock.
    Never,
    /// At a time so far from now, which may have passed.
    At(i64),
    AtFront,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Labels {
    pub(crate) what: Option<i32>,
    pub(crate) token: Option<usize>,
    pub(crate) mark: u32,
}

/// Which messages of a handler are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    All,
    What(i32),
    Token(usize),
    WhatWithToken(i32, usize),
    /// By predicate: those that bear this mark.
    Marked(u32),
}

/// A looper's budget, and what is done to it until it is dropped.
#[derive(Clone)]
pub(crate) struct History {
    pub(crate) budget: usize,
    /// Handles post from another thread, and so do handlers what bears mark 1.
    pub(crate) is_afar: bool,
    /// After how many steps the whole state is looked at, which moves the mail into the queue; callbacks do so, too,
    /// if that is after each.
    pub(crate) looks_each: usize,
    /// After how many hollow events in a row an fd is ignored.
    pub(crate) spin_limit: u32,
    /// Its fd was asked for, so that it says when it wants to be polled.
    pub(crate) is_hosted: bool,
    pub(crate) steps: Vec<Op>,
}

impl History {
    /// The code that makes it, given the names of all variants here.
    #[allow(dead_code, reason = "the tests shrink with proptest")]
    pub(crate) fn code(&self) -> String {
        let History { budget, is_afar, looks_each, spin_limit, is_hosted, steps } = self;
        let steps: String = steps.iter().map(|step| format!("        {step:?},\n")).collect();
        format!(
            "History {{\n    budget: {budget},\n    is_afar: {is_afar},\n    looks_each: {looks_each},\n    \
             spin_limit: {spin_limit},\n    is_hosted: {is_hosted},\n    steps: vec![\n{steps}    ],\n}}"
        )
    }
}

impl Debug for History {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let afar = if self.is_afar { ", used from another thread" } else { "" };
        let hosted = if self.is_hosted { ", hosted" } else { "" };
        writeln!(
            f,
            "the history of a looper with a budget of {}{afar}{hosted}, looked at each {}, which bears with {} hollow events",
            self.budget, self.looks_each, self.spin_limit
        )?;
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "{number:>3}  {step}")?;
        }
        write!(f, "{:>3}  drop the looper", self.steps.len())
    }
}

impl Display for Op {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Op::Post { by, when, script } => write!(f, "post {when}{by}{}", Then(script)),
            Op::Send { to, labels, passes, when, script } => {
                write!(f, "send to handler {to} {when}{labels}{passes}{}", Then(script))
            }
            Op::SendBounded { asynchronous, waits, script } => {
                let how = if *waits { "" } else { "try to " };
                let passes = if *asynchronous { ", asynchronous" } else { "" };
                write!(f, "{how}send to the bounded handler{passes}{}", Then(script))
            }
            Op::ClearBounded => write!(f, "clear the bounded handler"),
            Op::Every { by, period, runs, script } => {
                write!(f, "post every {period} ns{}{by}{}", Runs(*runs), Then(script))
            }
            Op::Cancel { back } => write!(f, "cancel the posted, {back} back"),
            Op::Reschedule { back, delay } => write!(f, "reschedule the posted, {back} back, for {delay} from now"),
            Op::CancelByGuard { back } => write!(f, "cancel by a guard the posted, {back} back"),
            Op::Remove { from, which } => write!(f, "remove from handler {from} {which}"),
            Op::Renew { slot, by } => write!(f, "drop handler {slot} for a new one{by}"),
            Op::Barrier => write!(f, "put up a barrier"),
            Op::Lift { back } => write!(f, "drop the barrier, {back} back"),
            Op::AddIdle { by, runs, script } => write!(f, "add an idle handler{}{by}{}", Runs(*runs), Then(script)),
            Op::RemoveIdle { back } => write!(f, "remove the idle handler, {back} back"),
            Op::Quit => write!(f, "quit"),
            Op::QuitSafely => write!(f, "quit safely"),
            Op::Wake => write!(f, "wake"),
            Op::Poll { timeout } => write!(f, "poll_once({timeout} ns)"),
            Op::PollAll { timeout } => write!(f, "poll_all({timeout} ns)"),
            Op::Advance { by } => write!(f, "advance by {by} ns"),
            Op::Oversleep { by } => write!(f, "oversleep by {by} ns"),
            Op::RunOne => write!(f, "run one"),
            Op::Call { script } => write!(f, "call{}", Then(script)),
            Op::Spawn { by, polls } => {
                write!(f, "spawn a task{by}")?;
                polls.iter().enumerate().try_for_each(|(number, script)| {
                    let then = Then(script).to_string().replace('\n', "\n       ");
                    write!(f, "\n       > poll {number}{then}")
                })
            }
            Op::WakeTask { back } => write!(f, "wake the task, {back} back"),
            Op::CancelTask { back } => write!(f, "cancel the task, {back} back"),
            Op::Block { awaits, time, script } => write!(f, "block for {time} ns on {awaits}{}", Then(script)),
            Op::Open => write!(f, "open a file"),
            Op::Dup { back } => write!(f, "duplicate the descriptor, {back} back"),
            Op::Close { back } => write!(f, "close the descriptor, {back} back"),
            Op::Ready { back, events } => write!(f, "make the file ready, {back} back, for {}", Bits(*events)),
            Op::Hang { back } => write!(f, "hang up the file, {back} back"),
            Op::Watch { by, back, how, interest, answers } => {
                write!(f, "watch the descriptor, {back} back, {how:?} it, for {}{by}", Bits(*interest))?;
                answers.iter().try_for_each(|answer| write!(f, "\n       > when it is called: {answer}"))
            }
            Op::SetInterest { by, back, interest } => {
                write!(f, "set the interest of the source, {back} back, to {}{by}", Bits(*interest))
            }
            Op::Repoll { by, back } => write!(f, "repoll the source, {back} back{by}"),
            Op::Unwatch { by, back } => write!(f, "remove the source, {back} back{by}"),
            Op::Lend { back, swap, script } => {
                write!(f, "look at the source, {back} back")?;
                swap.map_or(Ok(()), |swap| write!(f, ", swap it: {swap:?}"))?;
                write!(f, "{}", Then(script))
            }
        }
    }
}

impl Display for Awaits {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Awaits::Sleep(by) => write!(f, "a sleep{by}"),
            Awaits::Task { back } => write!(f, "the task, {back} back"),
            Awaits::Timeout { by, back } => write!(f, "the task, {back} back, or a timeout{by}"),
        }
    }
}

impl Display for When {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            When::Now => write!(f, "now"),
            When::After(delay) => write!(f, "after {delay} ns"),
            When::Never => write!(f, "after for ever"),
            When::At(offset) => write!(f, "at now{offset:+} ns"),
            When::AtFront => write!(f, "at front"),
        }
    }
}

impl Display for By {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            By::Looper => "",
            By::Handle => ", by a handle",
            By::AsynchronousHandle => ", by an asynchronous handle",
        })
    }
}

impl Display for Passes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Passes::AsTheHandler => "",
            Passes::ByDraft => ", asynchronous by draft",
            Passes::ByView => ", asynchronous by view",
        })
    }
}

impl Display for Labels {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.what.map_or(Ok(()), |what| write!(f, ", what {what}"))?;
        self.token.map_or(Ok(()), |token| write!(f, ", token {token}"))?;
        write!(f, ", mark {}", self.mark)
    }
}

impl Display for Which {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Which::All => write!(f, "all"),
            Which::What(what) => write!(f, "what {what}"),
            Which::Token(token) => write!(f, "token {token}"),
            Which::WhatWithToken(what, token) => write!(f, "what {what} with token {token}"),
            Which::Marked(mark) => write!(f, "if it bears mark {mark}"),
        }
    }
}

/// Readiness, by its bits.
struct Bits(u8);

impl Display for Bits {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let names = ["input", "output", "priority", "read hang-up", "error", "hang-up"];
        let named = (0..).zip(names).filter(|(bit, _)| self.0 >> bit & 1 == 1).map(|(_, name)| name);
        write!(f, "[{}]", named.collect::<Vec<_>>().join(", "))
    }
}

impl Display for Answer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.drains {
            write!(f, "read all; ")?;
        }
        self.swap.map_or(Ok(()), |swap| write!(f, "swap it: {swap:?}; "))?;
        match self.next {
            Returns::Interest(interest) => write!(f, "answer {}", Bits(interest))?,
            next => write!(f, "answer {next:?}")?,
        }
        write!(f, "{}", Then(&self.script).to_string().replace('\n', "\n       "))
    }
}

/// How often a callback runs at most.
struct Runs(Option<u8>);

impl Display for Runs {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |runs| write!(f, ", {runs} times"))
    }
}

/// What a callback does, on lines of its own.
struct Then<'a>(&'a Script);

impl Display for Then<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for op in self.0.iter() {
            let lines = op.to_string().replace('\n', "\n       ");
            write!(f, "\n       > when it runs: {lines}")?;
        }
        Ok(())
    }
}
