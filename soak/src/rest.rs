//! A looper with nothing to do sleeps.

use std::{sync::mpsc, thread, time::Duration};

use alooper::{FdNext, HandlerThread, Interest, Looper};
use nix::{
    sys::eventfd::{EfdFlags, EventFd},
    unistd::gettid,
};

use crate::{
    Failure,
    plant::{self, Fault},
    process,
};

const FDS: usize = 1000;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// What making all this has taken is given back after a second, for which the looper gets up once.
const SETTLED_AFTER: Duration = Duration::from_secs(3);

pub fn idle(seconds: u64) -> Result<(), Failure> {
    process::raise_fd_limit()?;
    let (sender, receiver) = mpsc::channel();
    let thread = HandlerThread::builder()
        .on_prepared(move |looper: &Looper| {
            for _ in 0..FDS {
                let fd = EventFd::from_flags(EfdFlags::EFD_NONBLOCK)?;
                looper.add_fd(fd, Interest::INPUT, |_, _, _| FdNext::Keep)?;
            }
            looper.post_delayed(DAY, |_| ())?;
            let _ = sender.send(gettid().as_raw());
            Ok(())
        })
        .spawn()?;
    let id = receiver.recv()?;
    thread::sleep(SETTLED_AFTER);

    // The kernel has its own count, so that the looper's need not be believed.
    let before = (thread.handle().stats().waits, process::sleeps_of(id));
    if plant::is_due(Fault::Wake) {
        thread.handle().wake()?;
    }
    thread::sleep(Duration::from_secs(seconds));
    let after = (thread.handle().stats().waits, process::sleeps_of(id));

    let (waits, sleeps) = (after.0 - before.0, after.1 - before.1);
    println!("{waits} waits and {sleeps} wake-ups in {seconds} s with {FDS} fds and a timer a day away");
    if (waits, sleeps) != (0, 0) {
        return Err("an idle looper does not wake up".into());
    }
    // It has not died either.
    thread.handle().post(|_| ())?;
    thread.quit_safely();
    if thread.join().map_err(std::io::Error::from)?.run != 1 {
        return Err("the looper did not sleep, but is dead".into());
    }
    Ok(())
}
