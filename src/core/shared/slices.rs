//! What goes over many messages, in slices: the looper and others are let in after each.

use super::*;
use crate::queue::{
    handlers::{Handlers, Selection},
    labels::MessageFilter,
    slices::Tour,
};

/// How many messages somebody looks at before others are let in: microseconds' worth.
pub(super) const SLICE: usize = 256;

impl Shared {
    /// Takes step after step on the queue as it is then, the inbox's messages included, until one gives something. Gives
    /// that, and all that they have collected. A forked child has nothing.
    fn in_slices<T, R>(
        &self,
        mut step: impl FnMut(&mut Queue<Looper>, &mut Vec<T>) -> Option<R>,
    ) -> (Vec<T>, Option<R>) {
        let (mut all, mut slice) = (Vec::new(), Vec::new());
        while let Some(ours) = self.ours() {
            let done = step(&mut self.queue(ours), &mut slice);
            // Not by the step, since what is large takes long to grow.
            all.append(&mut slice);
            if done.is_some() {
                return (all, done);
            }
        }
        (all, None)
    }

    /// Takes those of a handler's messages out of the queue that `filter` names: each when it is come to, if it is
    /// pending then. Of those that are posted meanwhile, some may be taken, too.
    pub(crate) fn cancel_all(&self, target: Key, filter: MessageFilter) -> Vec<queue::Taken<Looper>> {
        let mut selection = Selection::new(target, filter);
        let cancel = |queue: &mut Queue<Looper>, cancelled: &mut _| {
            queue.cancel_some(&mut selection, SLICE, cancelled).then_some(())
        };
        let (cancelled, _) = self.in_slices(cancel);
        self.tell_end();
        cancelled
    }

    /// How many of a handler's messages are pending that `filter` names.
    pub(crate) fn count(&self, target: Key, filter: MessageFilter) -> usize {
        let (_, count) = self.in_slices(|queue, _: &mut Vec<()>| queue.count(target, filter, SLICE));
        count.unwrap_or(0)
    }

    /// A handler's messages, in the order in which they will run.
    pub(crate) fn messages_of(&self, target: Key) -> Vec<MessageId> {
        let mut selection = Selection::new(target, MessageFilter::All);
        let find =
            |queue: &mut Queue<Looper>, found: &mut _| queue.find_some(&mut selection, SLICE, found).then_some(());
        let (mut found, _) = self.in_slices(find);
        found.sort_unstable_by_key(|(rank, _)| *rank);
        found.into_iter().map(|(_, id)| id).collect()
    }

    /// What `tell` says of each message that is pending, in their order, with its due time; and what `conclude` says of
    /// the queue when the last was come to.
    ///
    /// Those that are posted, or taken out, meanwhile may be among them or not.
    pub(crate) fn pending_with<R, S: Default>(
        &self,
        tell: impl Fn(Rank, &Message, &Handlers) -> R,
        conclude: impl Fn(&mut Queue<Looper>) -> S,
    ) -> (Vec<(Moment, R)>, S) {
        let mut tour = Tour::default();
        let (mut told, concluded) =
            self.in_slices(|queue, told| queue.tell_some(&mut tour, SLICE, &tell, told).then(|| conclude(queue)));
        told.sort_unstable_by_key(|(rank, _)| *rank);
        (told.into_iter().map(|(rank, told)| (rank.when, told)).collect(), concluded.unwrap_or_default())
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use std::{
        sync::{
            atomic::{AtomicBool, Ordering::Relaxed},
            mpsc,
        },
        thread,
        time::Duration,
    };

    use crate::looper::Looper;

    /// The looper posts while somebody on another thread looks at its messages without end.
    #[test]
    fn r5_the_looper_comes_in_between_two_slices() {
        let (done, is_done) = mpsc::channel();
        thread::spawn(move || {
            let looper = Looper::new().unwrap();
            let shared = looper.shared().clone();
            let (has_begun, has_posted) = (AtomicBool::new(false), AtomicBool::new(false));
            thread::scope(|scope| {
                scope.spawn(|| {
                    shared.in_slices(|_, _: &mut Vec<()>| {
                        has_begun.store(true, Relaxed);
                        has_posted.load(Relaxed).then_some(())
                    })
                });
                while !has_begun.load(Relaxed) {
                    thread::yield_now();
                }
                looper.post(|_| ()).unwrap();
                has_posted.store(true, Relaxed);
            });
            done.send(looper.len()).unwrap();
        });

        assert_eq!(is_done.recv_timeout(Duration::from_secs(100)), Ok(1));
    }
}
