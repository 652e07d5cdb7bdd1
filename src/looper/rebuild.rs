//! Replacing an epoll set that holds an fd which was closed while a duplicate keeps it there (F7).

use std::{io, sync::Arc};

use crate::{home, looper::Looper, message::drop_each, slots::Key};

/// In how many waits in a row a stray has to come back before the epoll set is made anew. Two would do: an event is left
/// over at most once.
const STRAY_PATIENCE: u32 = 3;

/// Events of registrations that are gone. One may be left over from before; one that comes back in wait after wait belongs
/// to an fd that was closed while a duplicate keeps it in the epoll set.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Strays {
    /// The first one of the last wait.
    pub(crate) last: Option<Key>,
    /// In how many waits in a row it has come back.
    pub(crate) repeats: u32,
    /// At how many the epoll set is made anew; doubled when that fails.
    pub(crate) patience: u32,
}

impl Looper {
    /// Makes the epoll set anew if the same stray comes back in wait after wait. Tells whether it did.
    pub(super) fn watch_strays(&self, stray: Option<Key>) -> bool {
        let mut strays = self.strays.get();
        if stray.is_none() || stray != strays.last {
            self.strays.set(Strays { last: stray, repeats: 0, patience: STRAY_PATIENCE });
            return false;
        }
        strays.repeats += 1;
        if strays.repeats < strays.patience {
            self.strays.set(strays);
            return false;
        }
        let rebuilt = self.rebuild();
        if let Err(error) = &rebuilt {
            strays.patience = strays.patience.saturating_mul(2);
            log::warn!("an fd that was closed under its registration keeps looper {:?} busy: {error}", self.name());
        }
        self.strays.set(if rebuilt.is_ok() { Strays::default() } else { strays });
        rebuilt.is_ok()
    }

    /// Moves all registrations to a new epoll set, or none.
    fn rebuild(&self) -> io::Result<()> {
        if self.host.get().is_some_and(|host| !host.can_exchange()) {
            return Err(io::Error::other("its epoll set is its host's: drop the looper and make another"));
        }
        let old = self.poller.borrow().set().clone();
        let new = Arc::new(self.poller.borrow().second_set(self.shared().waker())?);
        if let Some(host) = self.host.get() {
            host.add(&new)?;
        }
        let moved = self.shared().fds.move_to(new.clone());
        if let Some(host) = self.host.get() {
            host.delete(if moved.is_ok() { &old } else { &new });
        }
        let dead = moved?;
        self.poller.borrow_mut().move_to(new);
        for (_, registration) in &dead {
            home::warn_of_death(*registration);
        }
        drop_each(dead.into_iter().filter_map(|(key, _)| self.home.sources.remove(key)));
        Ok(())
    }
}
