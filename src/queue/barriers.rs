//! What holds up messages: barriers, and predicates that look at one.

use super::*;

impl<C> Queue<C> {
    /// Holds a message, so that it does not run while `thread` looks at it.
    pub(crate) fn hold(&mut self, id: MessageId, thread: ThreadId) -> Hold {
        match self.held.get(&id.seq) {
            Some(holder) if *holder == thread => Hold::Mine,
            Some(_) => Hold::Busy,
            None if !self.contains(id) => Hold::Gone,
            None => {
                self.state.remove(State::PLAIN);
                self.held.insert(id.seq, thread);
                Hold::Held
            }
        }
    }

    /// Holds a message no longer. Whether the looper waits for that.
    pub(crate) fn release(&mut self, id: MessageId) -> bool {
        self.held.remove(&id.seq);
        mem::take(&mut self.is_blocked)
    }

    /// Puts up a barrier: its rank.
    pub(crate) fn add_barrier(&mut self, seq: Seq, now: Moment, origin: Origin) -> Rank {
        // What is posted from now on is given no earlier time, and stands behind it.
        self.latest = self.latest.max(now);
        self.state.remove(State::PLAIN);
        let rank = Rank::new(now, seq);
        self.barriers.insert(rank, origin);
        self.unreported.insert(rank);
        rank
    }

    /// Takes a barrier away. Whether it stood.
    pub(crate) fn remove_barrier(&mut self, rank: Rank) -> bool {
        self.unreported.remove(&rank);
        self.barriers.remove(&rank).is_some()
    }

    /// The first barrier that stands.
    pub(crate) fn first_barrier(&self) -> Option<Rank> {
        self.barriers.first_key_value().map(|(rank, _)| *rank)
    }

    /// All barriers that stand, the first one first: since when, and where each was put up.
    pub(crate) fn barriers(&self) -> impl Iterator<Item = (Moment, Origin)> {
        self.barriers.iter().map(|(rank, origin)| (rank.when, *origin))
    }

    /// When the first barrier will have stood for `age` and was not reported.
    pub(crate) fn next_alarm(&self, age: Duration) -> Option<Moment> {
        self.unreported.first().map(|rank| rank.when.after(age))
    }

    /// Marks the barriers that have stood for `age` as reported, and tells where they were put up.
    pub(crate) fn report_barriers(&mut self, now: Moment, age: Duration) -> Vec<Origin> {
        let mut overdue = Vec::new();
        while let Some(first) = self.unreported.first().copied()
            && first.when.after(age) <= now
        {
            self.unreported.remove(&first);
            overdue.extend(self.barriers.get(&first).copied());
        }
        overdue
    }

    /// Whether nothing is due, and no barrier stands.
    pub(crate) fn is_idle(&mut self, now: Moment) -> bool {
        if self.is_plain() {
            return self.synchronous.first_ready().is_none();
        }
        let synchronous = self.synchronous.head(&self.others);
        let asynchronous = self.asynchronous.head(&self.others);
        let is_due = synchronous.into_iter().chain(asynchronous).any(|head| head.rank.when <= now);
        !is_due && self.barriers.is_empty()
    }

    /// As [`is_idle`](Queue::is_idle), and notes that this is awaited if a barrier stands.
    pub(crate) fn await_idle(&mut self, now: Moment) -> bool {
        self.is_idle_awaited = !self.barriers.is_empty();
        self.is_idle(now)
    }

    /// Whether the looper may be idle now that a barrier has gone, and awaits that.
    pub(crate) fn ends_await(&mut self) -> bool {
        self.barriers.is_empty() && mem::take(&mut self.is_idle_awaited)
    }
}
