//! A looper's properties, before it is made.

use std::io;

use crate::{clock::Clock, looper::Looper, sys::Kernel};

/// How many messages a turn runs at most, unless set: enough that the one `epoll_wait` of a turn is under 1 ns a
/// message, few enough that ready fds wait microseconds.
const DEFAULT_BUDGET: usize = 256;
/// How often in a row an fd may report nothing but a hang-up or an error, unless set.
const DEFAULT_SPIN_LIMIT: u32 = 1000;

/// Sets the properties of a [`Looper`] and makes it. See [`Looper::builder`].
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let looper = alooper::Looper::builder().name("audio").budget(32).build()?;
///
/// assert_eq!(looper.name(), Some("audio"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder makes nothing until `build` or `prepare` is called"]
pub struct Builder {
    pub(crate) name: Option<Box<str>>,
    pub(crate) budget: usize,
    pub(crate) spin_limit: u32,
    pub(crate) clock: Clock,
    pub(crate) kernel: Kernel,
}

impl Default for Builder {
    fn default() -> Self {
        Builder {
            name: None,
            budget: DEFAULT_BUDGET,
            spin_limit: DEFAULT_SPIN_LIMIT,
            clock: Clock::System,
            kernel: Kernel::Linux,
        }
    }
}

impl Builder {
    /// Names the looper in its log messages.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into().into_boxed_str());
        self
    }

    /// Sets how many messages a turn runs at most before it serves the fds that are ready. 256 unless set; zero counts
    /// as one.
    pub fn budget(mut self, messages: usize) -> Builder {
        self.budget = messages.max(1);
        self
    }

    /// Sets in how many waits in a row an fd may report nothing but a hang-up or an error, before it is ignored until its
    /// interest is set or it is repolled. 1000 unless set; zero stands for never.
    pub fn spin_limit(mut self, events: u32) -> Builder {
        self.spin_limit = events;
        self
    }

    /// Makes the looper, bound to the calling thread.
    ///
    /// # Errors
    /// As [`Looper::new`].
    pub fn build(self) -> io::Result<Looper> {
        Looper::assemble(self)
    }
}
