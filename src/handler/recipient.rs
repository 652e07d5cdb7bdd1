//! Who a handler's messages are for: which handler of which looper, and the right to open them.

use std::{
    any,
    fmt::{self, Debug, Formatter},
    sync::Arc,
};

use crate::{
    core::{item::To, shared::Shared},
    looper::posted::Posted,
    mem::{erased::TypeToken, slots::Key},
    queue::{
        account::Tally,
        message::{Address, MessageId},
    },
};

pub(crate) struct Recipient<M> {
    pub(crate) shared: Arc<Shared>,
    /// The handler, by the name that the queue has for it.
    pub(crate) target: Key,
    /// The same, as a message without a `what` has it.
    address: Address,
    /// Counts its messages.
    pub(crate) tally: Arc<Tally>,
    /// Whoever has it may have an `M` on this thread.
    pub(crate) of: TypeToken<M>,
}

impl<M> Recipient<M> {
    pub(crate) fn new(shared: &Arc<Shared>, target: Key, tally: Arc<Tally>) -> Arc<Recipient<M>> {
        let address = Address::new(target.index(), None);
        Arc::new(Recipient { shared: shared.clone(), target, address, tally, of: TypeToken::new() })
    }

    /// The handle of a message that was sent.
    #[inline]
    pub(crate) fn posted(&self, id: MessageId) -> Posted<M> {
        Posted::sent(self.shared.id, id, self.of)
    }

    /// Where a message with this `what` goes.
    #[inline]
    pub(crate) fn to(&self, what: Option<i32>) -> To<'_> {
        let address = what.map_or(self.address, |what| Address::new(self.target.index(), Some(what)));
        To { address, tally: &self.tally }
    }
}

impl<M> Debug for Recipient<M> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recipient").field("of", &any::type_name::<M>()).finish_non_exhaustive()
    }
}
