//! Barriers, as all threads put them up and take them away.

use super::*;

impl Shared {
    /// Puts up a barrier.
    pub(crate) fn add_barrier(&self, origin: Origin) -> Result<Rank, RejectReason> {
        // Before the inbox is collected: what comes in between has a later time.
        let now = self.clock.now();
        let mut queue = self.queue(self.ours().ok_or(RejectReason::Forked)?);
        if let Some(reason) = self.inbox.closed() {
            return Err(reason);
        }
        let seq = queue.next_seq(PostKind::Timed, false);
        let rank = queue.add_barrier(seq, now, origin);
        self.inbox.set_barred(true);
        // A looper that is asleep has to get up for the alarm.
        let alarm = self.next_alarm(&queue);
        let signal = alarm.map_or(Wakeup::Saved, |alarm| self.inbox.wake_for(alarm));
        drop(queue);
        self.signal_if(signal);
        Ok(rank)
    }

    pub(super) fn next_alarm(&self, queue: &Queue<Looper>) -> Option<Moment> {
        if self.barrier_alarm.is_zero() { None } else { queue.next_alarm(self.barrier_alarm) }
    }

    /// Takes a barrier away, and wakes the looper for what it has held up.
    pub(crate) fn remove_barrier(&self, rank: Rank) {
        let Some(ours) = self.ours() else {
            return;
        };
        let mut queue = self.lock_queue(ours);
        if !queue.remove_barrier(rank) {
            return;
        }
        self.inbox.set_barred(queue.first_barrier().is_some());
        // Only now: who posted before that has left the wake to this.
        self.collect(&mut queue);
        let due = queue.next_due();
        let signal = match due {
            // Also one that is about to sleep has to look again.
            _ if queue.ends_await() => self.inbox.request_cleanup(),
            Some(due) => self.inbox.wake_for(due),
            None => Wakeup::Saved,
        };
        drop(queue);
        self.signal_if(signal);
    }

    /// Notices the barriers that have stood for too long, each once.
    pub(crate) fn report_barriers(&self) {
        let now = self.clock.now();
        let overdue = self.with_queue_alone(|queue| queue.report_barriers(now, self.barrier_alarm));
        for place in overdue {
            self.notices.add(Notice::OverdueBarrier { place, age: self.barrier_alarm });
        }
    }
}
