//! W17: what it takes to make a loop and to have it look once whether there is anything to do; what one has that rests.

use std::{fs, time::Duration};

use crate::{
    heap,
    meter::{Meter, Sample, timed},
    tally::Round,
    workload::Kind,
};

/// How many loops a repetition makes.
const LOOPS: usize = 20;

/// `make` makes a loop and lets it look. To take it down is not in the time.
fn measure<T>(kind: Kind, meter: &Meter, make: impl Fn() -> T) -> Sample {
    // What the process has once for all of its loops is there.
    drop(make());
    match kind {
        Kind::IdleFds => {
            let before = open_fds();
            let made = make();
            let after = open_fds();
            drop(made);
            Sample::of((after - before) as f64, meter.size)
        }
        Kind::IdleBytes => {
            let mut made = None;
            Sample::of(heap::growth(&mut || made = Some(make())), meter.size)
        }
        _ => meter.repeat(LOOPS, || {
            let mut took = Duration::ZERO;
            for _ in 0..LOOPS {
                let mut made = None;
                took += timed(|| made = Some(make()));
            }
            Round { took, checksum: LOOPS as u64 }
        }),
    }
}

fn open_fds() -> usize {
    fs::read_dir("/proc/self/fd").expect("procfs is mounted").count()
}

pub fn alooper(kind: Kind, meter: &Meter) -> Sample {
    measure(kind, meter, || {
        let looper = alooper::Looper::new().expect("a looper is made");
        looper.poll_once(Duration::ZERO).expect("the looper polls");
        looper
    })
}

pub fn calloop(kind: Kind, meter: &Meter) -> Sample {
    measure(kind, meter, || {
        let mut event_loop = calloop::EventLoop::<()>::try_new().expect("a loop is made");
        event_loop.dispatch(Some(Duration::ZERO), &mut ()).expect("the loop polls");
        event_loop
    })
}

/// Without a channel, which a post would need.
pub fn tokio(kind: Kind, meter: &Meter) -> Sample {
    measure(kind, meter, || {
        let options = tokio::runtime::LocalOptions::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(options);
        let runtime = runtime.expect("a runtime is made");
        runtime.block_on(tokio::task::yield_now());
        runtime
    })
}

/// An epoll set with an inbox.
pub fn floor(kind: Kind, meter: &Meter) -> Sample {
    use super::floor::{Fds, Inbox};
    measure(kind, meter, || {
        let inbox = Inbox::<u64>::new();
        let mut fds = Fds::new();
        let wake = inbox.wake.clone();
        fds.add(&inbox.wake, move || super::common::read(&wake));
        fds.turn(nix::sys::epoll::EpollTimeout::ZERO);
        (inbox, fds)
    })
}

/// `None` for bytes: libuv takes its memory from `malloc` itself, past what is counted here.
#[cfg(has_libuv)]
pub fn libuv(kind: Kind, meter: &Meter) -> Option<Sample> {
    (kind != Kind::IdleBytes).then(|| measure(kind, meter, super::libuv::made))
}
