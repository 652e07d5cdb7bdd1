//! Who a handler's messages are for: which handler of which looper, and the passport that seals and opens them.

use std::{
    any,
    fmt::{self, Debug, Formatter},
    sync::Arc,
};

use crate::{
    core::shared::Shared,
    mem::{letter::Passport, slots::Key},
};

pub(crate) struct Recipient<M> {
    pub(crate) shared: Arc<Shared>,
    /// The handler, by the name that the queue has for it.
    pub(crate) target: Key,
    /// Whoever has it may have an `M` on this thread.
    pub(crate) passport: Passport<M>,
}

impl<M> Recipient<M> {
    pub(crate) fn new(shared: &Arc<Shared>, target: Key) -> Arc<Recipient<M>> {
        Arc::new(Recipient { shared: shared.clone(), target, passport: Passport::issue() })
    }
}

impl<M> Debug for Recipient<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recipient").field("of", &any::type_name::<M>()).finish_non_exhaustive()
    }
}
