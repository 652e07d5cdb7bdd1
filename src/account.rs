//! How many messages there were and how they have ended, for all threads to read without a lock.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Release},
};

use crate::report::ExitReport;

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
    pub(crate) fn try_report(&self) -> Option<ExitReport> {
        (0..LOOKS).find_map(|_| {
            let before = self.kept_by_the_queue();
            let remote = self.remote.get();
            (self.kept_by_the_queue() == before).then(|| Account::report_of(before, remote))
        })
    }

    /// Likewise, for one who has entered the queue's cell.
    pub(crate) fn report(&self) -> ExitReport {
        Account::report_of(self.kept_by_the_queue(), self.remote.get())
    }

    fn kept_by_the_queue(&self) -> [u64; 6] {
        [&self.own, &self.begun, &self.skipped, &self.overtaken, &self.removed, &self.dropped].map(Counter::get)
    }

    fn report_of(kept: [u64; 6], remote: u64) -> ExitReport {
        let [own, begun, skipped, overtaken, removed, dropped] = kept;
        ExitReport {
            posted: own + remote,
            run: begun - skipped - overtaken,
            removed: removed + skipped,
            dropped: dropped + overtaken,
        }
    }
}

impl ExitReport {
    /// How many messages are pending.
    pub(crate) fn pending(&self) -> usize {
        (self.posted - self.run - self.removed - self.dropped) as usize
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
