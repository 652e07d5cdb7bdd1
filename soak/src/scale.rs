//! Large numbers that the tests of the library have smaller, for the sake of time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use alooper::{FdNext, Handler, HandlerThread, Interest, Looper, LooperHandle};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::{Failure, process};

const HOUR: Duration = Duration::from_secs(3600);

fn expect(holds: bool, what: String) -> Result<(), Failure> {
    println!("{what}");
    if holds { Ok(()) } else { Err("this must not be".into()) }
}

/// C44: what is armed and cancelled `count` times leaves no memory behind.
pub fn cancel(count: u64) -> Result<(), Failure> {
    const PENDING: u64 = 100;
    const GROWTH_KIB: u64 = 512;
    let looper = Looper::new()?;
    for _ in 0..PENDING {
        looper.post_delayed(HOUR, |_| ())?;
    }
    arm_and_cancel(&looper.handle(), 100_000);
    let memory = process::resident_kib();

    // The looper takes no turn meanwhile, so nothing is cleared up later.
    let mut cancelled = 0;
    for _ in 0..count / 2 {
        cancelled += u64::from(looper.post_delayed(HOUR, |_| ())?.cancel());
    }
    let handle = looper.handle();
    let afar = thread::spawn(move || arm_and_cancel(&handle, count - count / 2));
    cancelled += afar.join().expect("it only posts and cancels");

    let grown = process::resident_kib().saturating_sub(memory);
    let fits = cancelled == count && looper.len() as u64 == PENDING && grown < GROWTH_KIB;
    expect(fits, format!("C44: {cancelled} of {count} cancelled, {} pending, {grown} KiB more in RAM", looper.len()))
}

fn arm_and_cancel(handle: &LooperHandle, count: u64) -> u64 {
    (0..count).filter(|_| handle.post_delayed(HOUR, |_| ()).is_ok_and(|posted| posted.cancel())).count() as u64
}

/// C63: `count` posts of four producers, each of which sees its own in their order.
pub fn posts(count: u64) -> Result<(), Failure> {
    const PRODUCERS: u64 = 4;
    let each = count / PRODUCERS;
    let thread = HandlerThread::spawn("posts")?;
    let next: Arc<[AtomicU64; PRODUCERS as usize]> = Arc::default();
    let reordered = Arc::new(AtomicU64::new(0));
    thread::scope(|scope| {
        for producer in 0..PRODUCERS as usize {
            let (handle, next, reordered) = (thread.handle(), &next, &reordered);
            scope.spawn(move || {
                for index in 0..each {
                    let (next, reordered) = (next.clone(), reordered.clone());
                    let posted = handle.post(move |_| {
                        if next[producer].swap(index + 1, Ordering::Relaxed) != index {
                            reordered.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                    posted.expect("the looper takes posts");
                }
            });
        }
    });
    thread.quit_safely();
    let report = thread.join().map_err(std::io::Error::from)?;
    let reordered = reordered.load(Ordering::Relaxed);
    let all = each * PRODUCERS;
    let fits = (report.posted, report.run, reordered) == (all, all, 0);
    expect(fits, format!("C63: {} of {all} run, {reordered} out of order", report.run))
}

/// C79: queues of `count` messages, timers, and messages of a handler are dropped on a small stack.
pub fn drop_queues(count: u64) -> Result<(), Failure> {
    type Fill = fn(&Looper, u64) -> std::io::Result<()>;
    type End = fn(Looper) -> std::io::Result<()>;
    const STACK: usize = 64 * 1024;
    let fills: [(&str, Fill); 4] = [
        ("messages", |looper, count| (0..count).try_for_each(|_| looper.post(|_| ()).map(drop).map_err(Into::into))),
        ("timers", |looper, count| {
            (0..count).try_for_each(|nanos| {
                let posted = looper.post_delayed(HOUR + Duration::from_nanos(count - nanos), |_| ());
                posted.map(drop).map_err(Into::into)
            })
        }),
        ("messages from afar", |looper, count| {
            let handle = looper.handle();
            let afar = thread::spawn(move || (0..count).try_for_each(|_| handle.post(|_| ()).map(drop)));
            afar.join().expect("it only posts").map_err(Into::into)
        }),
        ("messages of a handler", |looper, count| {
            let handler = Handler::new(looper, |_, _: u64| ());
            (0..count).try_for_each(|at| handler.send_delayed(HOUR, at).map(drop).map_err(Into::into))
        }),
    ];
    let ends: [(&str, End); 2] = [
        ("quitting", |looper| {
            looper.quit();
            looper.run().map(drop)
        }),
        ("dropping", |looper| {
            drop(looper);
            Ok(())
        }),
    ];
    for (what, fill) in fills {
        for (how, end) in ends {
            let small = thread::Builder::new().stack_size(STACK);
            let thread = small.spawn(move || {
                let looper = Looper::new()?;
                let handle = looper.handle();
                fill(&looper, count)?;
                end(looper)?;
                std::io::Result::Ok(handle.message_counts())
            })?;
            let report = thread.join().expect("nothing panics")?;
            let fits = (report.posted, report.dropped) == (count, count);
            expect(fits, format!("C79: {} of {count} {what} dropped by {how}", report.dropped))?;
        }
    }
    Ok(())
}

/// C80: `count` loopers, made, used and dropped, leave no fd and no memory behind.
pub fn loopers(count: u64) -> Result<(), Failure> {
    const GROWTH_KIB: u64 = 192;
    (0..1000).try_for_each(|_| live_and_die())?;
    let (fds, memory) = (process::open_fds(), process::resident_kib());
    for _ in 0..count {
        live_and_die()?;
    }
    let (open, grown) = (process::open_fds(), process::resident_kib().saturating_sub(memory));
    let fits = open == fds && grown < GROWTH_KIB;
    expect(fits, format!("C80: {count} loopers, {fds} fds before and {open} after, {grown} KiB more in RAM"))
}

fn live_and_die() -> Result<(), Failure> {
    let looper = Looper::new()?;
    let (sender, served) = mpsc::channel();
    let fd = EventFd::from_value_and_flags(1, EfdFlags::EFD_NONBLOCK)?;
    looper.add_fd(fd, Interest::INPUT, move |_, fd, _| {
        let _ = sender.send(fd.read());
        FdNext::Keep
    })?;
    looper.post(|_| ())?;
    looper.handle().post_delayed(HOUR, |_| ())?;
    let turn = looper.poll_once(None)?;
    if (turn.messages, turn.fds, served.try_iter().count()) != (1, 1, 1) {
        return Err(format!("a new looper does not serve: {turn:?}").into());
    }
    Ok(())
}
