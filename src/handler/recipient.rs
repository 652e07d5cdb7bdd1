//! Who a handler's messages are for: which handler of which looper, and the right to open them.

use std::{
    any,
    fmt::{self, Debug, Formatter},
    sync::Arc,
};

use crate::{
    core::shared::Shared,
    mem::{erased::Of, slots::Key},
    queue::account::Tally,
};

pub(crate) struct Recipient<M> {
    pub(crate) shared: Arc<Shared>,
    /// The handler, by the name that the queue has for it.
    pub(crate) target: Key,
    /// Counts its messages.
    pub(crate) tally: Arc<Tally>,
    /// Whoever has it may have an `M` on this thread.
    pub(crate) of: Of<M>,
}

impl<M> Recipient<M> {
    pub(crate) fn new(shared: &Arc<Shared>, target: Key, tally: Arc<Tally>) -> Arc<Recipient<M>> {
        Arc::new(Recipient { shared: shared.clone(), target, tally, of: Of::new() })
    }
}

impl<M> Debug for Recipient<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recipient").field("of", &any::type_name::<M>()).finish_non_exhaustive()
    }
}
