//! The fault matrix: each system call that the library makes, each errno of its man page, each time that a life makes
//! it, and the first eight times at least.
//!
//! Whatever fails, the outcome is `Ok` or an error that names the call; nothing stays open, hangs, spins or panics; the
//! looper is usable afterwards; and each message that was accepted ends in exactly one way (M6). `.ci/faults` does the
//! same with the real kernel.
//!
//! `close(2)` has no row: an fd is closed by dropping its owner, which has no result that anybody could look at. Nor
//! has a read of the timerfd, which nobody makes, nor `fcntl(2)` and `dup3(2)`: the kernel's objects are made as they
//! have to be, and a new epoll set takes the old one's place inside the host's.
//!
//! Holds L1, M6, T12, X3, C4, C5, C31, C33, C41, C65, C66, C68, C69.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::Ordering::Relaxed,
};

use super::*;
use Errno::*;

mod life;
mod tally;

use life::live;
use tally::{Fault, Flaw, World};

/// How many calls of a kind are made to fail at least, one at a time.
const POSITIONS: usize = 8;

const EPOLL_CTL: &[Errno] = &[EBADF, EEXIST, EINVAL, ELOOP, ENOENT, ENOMEM, ENOSPC, EPERM];

/// Who is told of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// Whoever did what the call was made for.
    Always,
    /// They, unless the library has another way, or made the call on its own account.
    Sometimes,
    /// Nobody, since the call is made again, or what it is for is done in any case.
    Never,
}

/// How often the kernel is called.
#[derive(Clone, Copy, Debug)]
struct Calls {
    waits: usize,
    all: usize,
}

impl Calls {
    fn so_far(kernel: &FakeKernel) -> Calls {
        Calls { waits: kernel.calls(Call::EpollWait), all: kernel.all_calls() }
    }

    fn since(self, before: Calls) -> Calls {
        Calls { waits: self.waits - before.waits, all: self.all - before.all }
    }
}

/// What rows are measured by: a life without faults.
struct Usual {
    calls: Calls,
    /// How many lines are logged.
    logged: usize,
    kernel: Arc<FakeKernel>,
    flaw: Option<Flaw>,
}

impl Usual {
    fn new() -> Usual {
        let world = World::new(None);
        let calls = count_life(&world);
        Usual { calls, logged: world.tally.logged.load(Relaxed), kernel: world.kernel, flaw: None }
    }

    /// Lives until the fault has come; whether somebody was told of it.
    fn suffer(&self, call: Call, fault: Fault, position: usize) -> bool {
        let world = World { flaw: self.flaw, ..World::new(Some(fault)) };
        world.kernel.fail_after(call, position, fault.errno);
        for lives in 1..=position + 1 {
            let calls = count_life(&world);
            // F7 bounds the waits that an fd may cost which is in the set and should not be.
            let has_spun = calls.waits > self.calls.waits + 100 || calls.all > self.calls.all + 200;
            assert!(!has_spun, "{calls:?} where {:?} are usual", self.calls);
            if world.kernel.calls(call) > position {
                let is_told = world.tally.told.load(Relaxed) == 1;
                let is_logged = world.tally.logged.load(Relaxed) > lives * self.logged;
                let is_heard = call != Call::EventfdWrite || fault.errno == EINTR;
                assert!(is_told || is_logged || is_heard, "a signal is lost and nothing says so");
                return is_told;
            }
        }
        panic!("a life does not make this call");
    }

    /// Holds all cells of one call.
    #[track_caller]
    fn hold(&self, call: Call, operation: &'static str, errnos: &[Errno], expected: Told) {
        let positions = self.kernel.calls(call).max(POSITIONS);
        let mut told = 0;
        for &errno in errnos {
            for position in 0..positions {
                let suffering = || self.suffer(call, Fault { operation, errno }, position);
                told += usize::from(catch_unwind(AssertUnwindSafe(suffering)).unwrap_or_else(|panic| {
                    eprintln!("this was {call:?} with {errno:?} after {position} that succeeded");
                    resume_unwind(panic)
                }));
            }
        }
        let cells = errnos.len() * positions;
        match expected {
            Told::Always => assert_eq!(told, cells),
            Told::Sometimes => assert!(told > 0 && told < cells, "{told} of {cells}"),
            Told::Never => assert_eq!(told, 0),
        }
        eprintln!("{call:?}: {told} of {cells} told");
    }
}

/// Lives one life, and gives how often it has called the kernel.
fn count_life(world: &World) -> Calls {
    let before = Calls::so_far(&world.kernel);
    live(world);
    Calls::so_far(&world.kernel).since(before)
}

#[test]
fn l1_c65_each_failure_to_make_an_fd() {
    let usual = Usual::new();
    usual.hold(Call::EventfdCreate, "eventfd", &[EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM], Told::Always);
    usual.hold(Call::TimerfdCreate, "timerfd_create", &[EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, EPERM], Told::Always);
}

/// One of the sets is the host's and one takes the place of a spoilt one: nobody has asked for that.
#[test]
fn c33_c65_each_failure_to_make_an_epoll_set() {
    Usual::new().hold(Call::EpollCreate, "epoll_create1", &[EINVAL, EMFILE, ENFILE, ENOMEM], Told::Sometimes);
}

#[test]
fn c31_c33_c66_each_failure_to_watch_an_fd() {
    Usual::new().hold(Call::EpollAdd, "epoll_ctl", EPOLL_CTL, Told::Sometimes);
}

/// Some ask whether the kernel still has an fd, and some carry out what a callback has answered.
#[test]
fn c31_f7_each_failure_to_change_what_an_fd_is_watched_for() {
    Usual::new().hold(Call::EpollModify, "epoll_ctl", EPOLL_CTL, Told::Sometimes);
}

/// What is left in the set then is taken over by the next registration of the fd, or goes with the set.
#[test]
fn c31_f7_each_failure_to_watch_an_fd_no_more() {
    Usual::new().hold(Call::EpollDelete, "epoll_ctl", EPOLL_CTL, Told::Never);
}

/// Two of a life are made after it has quit, to take the signals that brought its host.
#[test]
fn c68_c69_each_failure_to_wait() {
    Usual::new().hold(Call::EpollWait, "epoll_wait", &[EBADF, EFAULT, EINVAL], Told::Sometimes);
}

#[test]
fn t12_c41_c68_an_interruption_of_each_wait() {
    Usual::new().hold(Call::EpollWait, "epoll_wait", &[EINTR], Told::Never);
}

/// A looper that is hosted signals itself instead, so that its host polls it again.
#[test]
fn c69_each_failure_to_set_the_timer() {
    let errnos = [EBADF, ECANCELED, EFAULT, EINVAL];
    Usual::new().hold(Call::TimerfdSet, "timerfd_settime", &errnos, Told::Sometimes);
}

/// Posts are accepted all the same, and the log tells.
#[test]
fn x3_c4_c5_c69_each_failure_to_signal() {
    let usual = Usual::new();
    let errnos = [EBADF, EDESTADDRREQ, EDQUOT, EFAULT, EFBIG, EINVAL, EIO, ENOSPC, EPERM, EPIPE];
    usual.hold(Call::EventfdWrite, "write (eventfd)", &errnos, Told::Sometimes);
    usual.hold(Call::EventfdWrite, "write (eventfd)", &[EINTR], Told::Never);
}

/// Only who finds the counter full reads it.
#[test]
fn c4_c5_c69_each_failure_to_empty_a_full_counter() {
    let usual = Usual::new();
    usual.hold(Call::EventfdRead, "read (eventfd)", &[EBADF, EFAULT, EINVAL, EIO, EISDIR], Told::Always);
    usual.hold(Call::EventfdRead, "read (eventfd)", &[EAGAIN, EINTR], Told::Never);
}

/// What `action` panics with.
fn complaint_of(action: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(action)).expect_err("nothing is seen");
    *panic.downcast().expect("it says what is wrong")
}

/// A matrix that passes proves nothing until it has been seen to fail.
#[test]
fn p_a_life_in_which_something_goes_wrong_is_seen() {
    let flaws = [
        (Flaw::Leak, "left == right"),
        (Flaw::Lose, "left == right"),
        (Flaw::Spin, "are usual"),
        (Flaw::Swallow, "0 of 8"),
    ];
    for (flaw, complaint) in flaws {
        let usual = Usual { flaw: Some(flaw), ..Usual::new() };
        let hold = || usual.hold(Call::EpollCreate, "epoll_create1", &[EMFILE], Told::Sometimes);
        assert!(complaint_of(hold).contains(complaint), "{flaw:?}");
    }
    // An error that names another call.
    let other = || Usual::new().hold(Call::EventfdCreate, "timerfd_create", &[EMFILE], Told::Always);
    assert!(complaint_of(other).contains("left == right"));
}
