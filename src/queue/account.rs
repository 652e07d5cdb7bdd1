//! How many messages there were and how they have ended, for all threads to read without a lock.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Release},
};

use crate::queue::histogram::Histogram;

/// How each message that a looper accepted has ended, since it was made.
///
/// # Guarantees
/// A message ends in exactly one way. Once the looper has quit and drained, `posted == run + removed + dropped`; before
/// that, what is missing is still pending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageCounts {
    /// Messages accepted, from all threads. Each run of a repeating post counts as one.
    pub posted: u64,
    /// Messages that were started, also those that panicked.
    pub run: u64,
    /// Messages that were cancelled before they started.
    pub removed: u64,
    /// Messages that `quit`, `quit_safely` or dropping the looper gave up.
    pub dropped: u64,
}

/// What a looper has done since it was made: see [`LooperHandle::stats`](crate::LooperHandle::stats).
///
/// The numbers are read one after the other while the looper works: each is right, but they need not fit each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Turns: calls of `poll_once`, and the rounds of `poll_all` and `run`.
    pub turns: u64,
    /// Calls of `epoll_wait`.
    pub waits: u64,
    /// How often the eventfd had to be written, because the looper slept past what was left for it.
    pub wakes_sent: u64,
    /// How often it needed not to be written: the looper was awake, on its way, or slept no longer than that.
    pub wakes_saved: u64,
    /// Messages that ran.
    pub messages: u64,
    /// Fd callbacks that ran.
    pub fd_callbacks: u64,
    /// Sleeps that ended early with nothing to do.
    pub spurious_wakes: u64,
    /// Fds that were muted, each time: see [`Notice::MutedFd`](crate::Notice::MutedFd).
    pub muted_fds: u64,
    /// Fds of which nothing was taken, each time: see [`Notice::StuckFd`](crate::Notice::StuckFd).
    pub stuck_fds: u64,
    /// Fds that died under their registration: see [`Notice::StaleFd`](crate::Notice::StaleFd).
    pub stale_fds: u64,
    /// Fds without callback that `run` ignores: see [`Notice::IgnoredIdent`](crate::Notice::IgnoredIdent).
    pub ignored_idents: u64,
    /// Barriers that stood for too long: see [`Notice::OverdueBarrier`](crate::Notice::OverdueBarrier).
    pub overdue_barriers: u64,
    /// How long messages, fd callbacks and idle handlers ran. Counted while the looper is
    /// [timed](crate::LooperBuilder::timed), or somebody wants times.
    pub run_times: Histogram,
    /// How late messages began after they were due and posted. Counted while the looper is timed, or somebody wants
    /// times and posts.
    pub lateness: Histogram,
    /// The most messages that there were at once, the one that begins included. Looked at as `run_times`, when a message
    /// begins.
    pub queue_high_water: u64,
}

impl Stats {
    /// How many faults the looper has noticed itself, of all kinds: see [`Notice`](crate::Notice).
    #[must_use]
    pub fn notices(&self) -> u64 {
        self.muted_fds + self.stuck_fds + self.stale_fds + self.ignored_idents + self.overdue_barriers
    }
}

/// How often a reader looks again when somebody has counted meanwhile.
const LOOKS: usize = 16;

/// A count with one writer at a time.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Counts `more`. Only one thread does so at a time, so that no read-modify-write is needed.
    #[inline]
    pub(crate) fn add(&self, more: u64) {
        self.0.store(self.get().wrapping_add(more), Release);
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Acquire)
    }
}

/// The account of a looper's messages. All counts only grow, which lets a reader know that it has seen them as they were
/// at one moment.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Accepted on the looper's thread, straight into the queue. Written with the queue's cell entered, as are the
    /// others but one.
    pub(crate) own: Counter,
    /// Accepted on other threads, straight into the queue.
    pub(crate) visiting: Counter,
    /// Accepted through the inbox. Written with that locked.
    pub(crate) remote: Counter,
    /// Taken out to be run.
    pub(crate) begun: Counter,
    /// Of these, cancelled before their first line.
    pub(crate) skipped: Counter,
    /// Of these, given up by a quit before their first line.
    pub(crate) overtaken: Counter,
    pub(crate) removed: Counter,
    pub(crate) dropped: Counter,
}

impl Account {
    /// How all messages so far have ended: exact at the moment of the call. `None` if others kept counting meanwhile:
    /// then whoever has entered the queue's cell can ask.
    pub(crate) fn try_report(&self) -> Option<MessageCounts> {
        (0..LOOKS).find_map(|_| {
            let before = self.kept_by_the_queue();
            let remote = self.remote.get();
            // None ever goes back: if their sum is the same, each is.
            let sum = |counts: [u64; 7]| counts.iter().sum::<u64>();
            (sum(self.kept_by_the_queue()) == sum(before)).then(|| Account::report_of(before, remote))
        })
    }

    /// Likewise, for one who has entered the queue's cell.
    pub(crate) fn report(&self) -> MessageCounts {
        Account::report_of(self.kept_by_the_queue(), self.remote.get())
    }

    fn kept_by_the_queue(&self) -> [u64; 7] {
        [&self.own, &self.visiting, &self.begun, &self.skipped, &self.overtaken, &self.removed, &self.dropped]
            .map(Counter::get)
    }

    fn report_of(kept: [u64; 7], remote: u64) -> MessageCounts {
        let [own, visiting, begun, skipped, overtaken, removed, dropped] = kept;
        MessageCounts {
            posted: own + visiting + remote,
            run: begun - skipped - overtaken,
            removed: removed + skipped,
            dropped: dropped + overtaken,
        }
    }
}

impl MessageCounts {
    /// How many messages are pending.
    pub(crate) fn pending(&self) -> usize {
        (self.posted - self.run - self.removed - self.dropped) as usize
    }
}

/// How many messages one handler was sent, and how many of them are gone: for all threads to read without a lock.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Straight into the queue. Written with the queue's cell entered.
    pub(crate) own: Counter,
    /// Through the inbox. Written with that locked.
    pub(crate) remote: Counter,
    /// Run, removed or dropped. Written with the queue's cell entered.
    pub(crate) ended: Counter,
}

impl Tally {
    /// How many messages are pending: exact at the moment of the call. `None` if others kept counting meanwhile.
    pub(crate) fn try_pending(&self) -> Option<usize> {
        (0..LOOKS).find_map(|_| {
            let before = [self.own.get(), self.ended.get()];
            let remote = self.remote.get();
            ([self.own.get(), self.ended.get()] == before).then(|| (before[0] + remote - before[1]) as usize)
        })
    }

    /// Likewise, for one who has entered the queue's cell.
    pub(crate) fn pending(&self) -> usize {
        (self.own.get() + self.remote.get() - self.ended.get()) as usize
    }

    /// Counts all as gone, because a quit has given them up.
    pub(crate) fn end_all(&self) {
        self.ended.add(self.pending() as u64);
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering::Relaxed},
        thread,
    };

    use super::*;

    /// R4: the count of a message that goes from one thread to the other, over and over, is one or zero.
    #[test]
    fn r4_a_count_is_that_of_one_moment_whoever_counts_meanwhile() {
        const ROUNDS: u64 = 200_000;
        let account = Account::default();
        let is_over = AtomicBool::new(false);

        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    if round % 2 == 0 {
                        account.own.add(1)
                    } else {
                        account.remote.add(1)
                    }
                    account.begun.add(1);
                    if round % 3 == 0 {
                        account.skipped.add(1);
                    }
                }
                is_over.store(true, Relaxed);
            });
            while !is_over.load(Relaxed) {
                if let Some(report) = account.try_report() {
                    assert!(report.pending() <= 1, "{report:?}");
                }
            }
        });

        let report = account.report();
        assert_eq!((report.posted, report.pending()), (ROUNDS, 0));
        assert_eq!(report.removed, ROUNDS.div_ceil(3));
    }
}
