//! A looper's properties, before it is made.

use std::{io, sync::Arc, time::Duration};

use crate::{
    looper::{
        Looper,
        observe::observer::{Observer, Watch},
    },
    sys::{Kernel, time::Clock},
};

/// How many messages a turn runs at most, unless set: enough that the one `epoll_wait` of a turn is under 1 ns a
/// message, few enough that ready fds wait microseconds.
const DEFAULT_BUDGET: usize = 256;
/// After how long a barrier is reported, unless set: long enough that a frame or a slow disk is none.
const DEFAULT_BARRIER_ALARM: Duration = Duration::from_secs(5);
/// How often in a row an fd may report nothing but a hang-up or an error, unless set.
const DEFAULT_SPIN_LIMIT: u32 = 1000;

/// **Making a looper** that is not the thread's own, or has properties of its own.
impl Looper {
    /// Makes a looper that is bound to the calling thread.
    ///
    /// It has an epoll set, an eventfd and a timerfd, all close-on-exec. To reach it as the thread's own, use
    /// [`Looper::prepare`]; to set its properties, [`Looper::builder`].
    ///
    /// # Errors
    /// The kernel's, such as `EMFILE`; nothing is left open then.
    ///
    /// # Android
    /// `new Looper(false)`. Whether fds without callback are allowed need not be said: see [`Looper::add_ident`].
    pub fn new() -> io::Result<Looper> {
        Looper::builder().build()
    }

    /// Makes a [`LooperBuilder`], for a looper whose properties are set.
    pub fn builder() -> LooperBuilder {
        LooperBuilder::default()
    }
}

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
pub struct LooperBuilder {
    pub(crate) name: Option<Box<str>>,
    pub(crate) budget: usize,
    pub(crate) spin_limit: u32,
    pub(crate) mutes_stuck: bool,
    pub(crate) barrier_alarm: Duration,
    pub(crate) watch: Watch,
    pub(crate) clock: Clock,
    pub(crate) kernel: Kernel,
}

impl Default for LooperBuilder {
    fn default() -> Self {
        LooperBuilder {
            name: None,
            budget: DEFAULT_BUDGET,
            spin_limit: DEFAULT_SPIN_LIMIT,
            mutes_stuck: false,
            barrier_alarm: DEFAULT_BARRIER_ALARM,
            watch: Watch::default(),
            clock: Clock::System,
            kernel: Kernel::Linux,
        }
    }
}

impl LooperBuilder {
    /// Names the looper in its log messages.
    pub fn name(mut self, name: impl Into<String>) -> LooperBuilder {
        self.name = Some(name.into().into_boxed_str());
        self
    }

    /// Sets how many messages a turn runs at most before it serves the fds that are ready. 256 unless set; zero counts
    /// as one.
    pub fn budget(mut self, messages: usize) -> LooperBuilder {
        self.budget = messages.max(1);
        self
    }

    /// Sets in how many waits in a row an fd may report nothing but a hang-up or an error, before it is muted: then only
    /// changes are reported, until its interest is set or it is repolled. 1000 unless set; one counts as two, and zero
    /// stands for never. See [`Notice::MutedFd`](crate::Notice::MutedFd).
    pub fn spin_limit(mut self, events: u32) -> LooperBuilder {
        self.spin_limit = if events == 1 { 2 } else { events };
        self
    }

    /// Sets whether an fd is muted, too, that was called back 1000 times in a row without a byte being taken. Unless
    /// set, that is only told: see [`Notice::StuckFd`](crate::Notice::StuckFd).
    pub fn mute_stuck_fds(mut self, mute: bool) -> LooperBuilder {
        self.mutes_stuck = mute;
        self
    }

    /// Sets after how long a [`Barrier`](crate::Barrier) that still stands is reported in the log, once, with the place
    /// where it was put up. Five seconds unless set; zero stands for never.
    pub fn barrier_alarm(mut self, age: Duration) -> LooperBuilder {
        self.barrier_alarm = age;
        self
    }

    /// Sets from which duration on the run of a message is reported in the log, with the place where it was posted. Off
    /// unless set.
    ///
    /// # Android
    /// The dispatch threshold of `Looper.setSlowLogThresholdMs`.
    #[doc(alias = "setSlowLogThresholdMs")]
    pub fn slow_dispatch(mut self, threshold: Duration) -> LooperBuilder {
        self.watch.slow_dispatch = Some(threshold);
        self
    }

    /// Sets from which lateness on the start of a message is reported in the log, with the place where it was posted.
    /// Off unless set.
    ///
    /// After one report, further ones are withheld until a message is less than 10 ms late.
    ///
    /// # Android
    /// The delivery threshold of `Looper.setSlowLogThresholdMs`.
    pub fn slow_delivery(mut self, threshold: Duration) -> LooperBuilder {
        self.watch.slow_delivery = Some(threshold);
        self
    }

    /// Sets whether each message, fd callback and idle handler is measured: for the histograms of
    /// [`Stats`](crate::Stats), and for since when something [runs](crate::Running::since). Off unless set: it reads the
    /// clock twice a message, when it is posted and when it has ended.
    pub fn timed(mut self, timed: bool) -> LooperBuilder {
        self.watch.timed = timed;
        self
    }

    /// Lets `observer` see what it [wants](Observer::wants). See [`Looper::set_observer`] for one that is not
    /// `Send`.
    ///
    /// # Android
    /// `Looper.setObserver`.
    pub fn observer(mut self, observer: impl Observer + Send + Sync + 'static) -> LooperBuilder {
        self.watch.observer = Some(Arc::new(observer));
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
