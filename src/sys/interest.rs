//! Which readiness of an fd is asked for, and which is reported.

use bitflags::bitflags;

bitflags! {
    /// The readiness that a registration asks for.
    ///
    /// Combine with `|`. [`Events::ERROR`] and [`Events::HANGUP`] are always reported and need not be asked for;
    /// [`Interest::empty()`] asks for nothing else. All readiness is level-triggered: it is reported in every turn
    /// for as long as it lasts.
    ///
    /// # Android
    /// The `events` argument of `ALooper_addFd` (`ALOOPER_EVENT_INPUT`, `ALOOPER_EVENT_OUTPUT`), with `PRIORITY` and
    /// `READ_HANGUP` besides.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct Interest: u8 {
        /// The fd can be read (`EPOLLIN`).
        const INPUT = 1;
        /// The fd can be written (`EPOLLOUT`).
        const OUTPUT = 1 << 1;
        /// There is urgent data or an exceptional condition (`EPOLLPRI`).
        const PRIORITY = 1 << 2;
        /// The peer has shut down its writing half (`EPOLLRDHUP`).
        const READ_HANGUP = 1 << 3;
    }
}

bitflags! {
    /// The readiness that the kernel reported for an fd.
    ///
    /// # Android
    /// The `events` that a `Looper_callbackFunc` receives. An invalid fd (`ALOOPER_EVENT_INVALID`) cannot occur: the
    /// looper owns what it watches.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct Events: u8 {
        /// The fd can be read (`EPOLLIN`).
        const INPUT = 1;
        /// The fd can be written (`EPOLLOUT`).
        const OUTPUT = 1 << 1;
        /// There is urgent data or an exceptional condition (`EPOLLPRI`).
        const PRIORITY = 1 << 2;
        /// The peer has shut down its writing half (`EPOLLRDHUP`).
        const READ_HANGUP = 1 << 3;
        /// The fd is in an error state (`EPOLLERR`). Always reported.
        const ERROR = 1 << 4;
        /// The peer is gone (`EPOLLHUP`). Always reported.
        const HANGUP = 1 << 5;
    }
}

impl Events {
    /// What of these events is reported to somebody who asks for `interest`.
    pub(crate) fn asked_by(self, interest: Interest) -> Events {
        let always = Events::ERROR | Events::HANGUP;
        self & (Events::from_bits_truncate(interest.bits()) | always)
    }

    /// Whether only [`Events::ERROR`] or [`Events::HANGUP`] is reported: nothing that was asked for.
    pub(crate) fn is_hup_only(self) -> bool {
        !self.is_empty() && (Events::ERROR | Events::HANGUP).contains(self)
    }

    /// Whether only reading can serve these events: the looper cannot see what a callback writes.
    pub(crate) fn may_be_fruitless(self) -> bool {
        !self.is_empty() && !self.intersects(Events::OUTPUT | Events::PRIORITY)
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use super::*;

    #[test]
    fn f8_only_error_and_hangup_alone_are_hup_only() {
        assert!(Events::HANGUP.is_hup_only());
        assert!((Events::HANGUP | Events::ERROR).is_hup_only());
        assert!(!(Events::HANGUP | Events::INPUT).is_hup_only());
        assert!(!Events::empty().is_hup_only());
    }

    #[test]
    fn f3_errors_and_hangups_are_reported_whatever_is_asked_for() {
        let all = Events::all();

        assert_eq!(all.asked_by(Interest::empty()), Events::ERROR | Events::HANGUP);
        assert_eq!(all.asked_by(Interest::OUTPUT), Events::OUTPUT | Events::ERROR | Events::HANGUP);
        assert_eq!(all.asked_by(Interest::all()), all, "each interest has the bit of its event");
    }
}
