//! Tasks: what all contenders have of them, and how each spawns them in the way of its users.

use std::{
    future::Future,
    io::{self, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    meter::{Meter, Sample, timed},
    tally::{Tally, Work},
    workload::Kind,
};

/// Gives way once: wakes its task, and is ready when polled again.
#[derive(Default)]
struct Yield {
    has_yielded: bool,
}

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// W12: a task that wakes itself and is polled, again and again.
async fn wakes(tally: &'static Tally, count: u64) {
    for value in 0..count {
        Yield::default().await;
        tally.add(value);
    }
}

/// W13: a task that ends when it is first polled.
async fn task(work: Work) {
    work.run();
}

fn pair() -> (UnixStream, UnixStream) {
    let (near, far) = UnixStream::pair().expect("a pair of sockets is made");
    near.set_nonblocking(true).expect("it need not block");
    far.set_nonblocking(true).expect("it need not block");
    (near, far)
}

/// Reads a byte that is there; `None` at the end.
fn take(mut stream: &UnixStream) -> io::Result<Option<u8>> {
    let mut byte = [0];
    Ok((stream.read(&mut byte)? == 1).then_some(byte[0]))
}

fn give(mut stream: &UnixStream, byte: u8) -> io::Result<()> {
    stream.write(&[byte]).map(drop)
}

pub mod alooper {
    use ::alooper::{Looper, task::AsyncFd};

    use super::*;

    pub fn run(kind: Kind, meter: &Meter) -> Option<Sample> {
        let tally = Tally::leak();
        let looper = Looper::new().expect("a looper is made");
        let count = meter.size as u64;
        let drain = || {
            while tally.count() < count {
                looper.poll_once(None).expect("the looper polls");
            }
        };
        Some(meter.repeat(meter.size, || {
            let took = match kind {
                Kind::TaskWakes => {
                    drop(looper.spawn(wakes(tally, count)).expect("the looper runs"));
                    timed(drain)
                }
                Kind::TaskSpawns => timed(|| {
                    for value in 0..count {
                        drop(looper.spawn(task(Work { tally, value })).expect("the looper runs"));
                    }
                    drain();
                }),
                _ => {
                    let (near, far) = super::pair();
                    let watch = |stream| AsyncFd::new(&looper, stream).expect("it is watched");
                    drop(looper.spawn(there(tally, watch(near), count)).expect("the looper runs"));
                    drop(looper.spawn(back(watch(far))).expect("the looper runs"));
                    timed(drain)
                }
            };
            tally.settle_below(took, count)
        }))
    }

    async fn read(stream: &AsyncFd<UnixStream>) -> io::Result<Option<u8>> {
        loop {
            stream.readable().await?;
            match stream.try_io(take) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    async fn there(tally: &'static Tally, stream: AsyncFd<UnixStream>, count: u64) -> io::Result<()> {
        for value in 0..count {
            stream.try_io(|stream| give(stream, value as u8))?;
            assert_eq!(read(&stream).await?, Some(value as u8));
            tally.add(value);
        }
        Ok(())
    }

    async fn back(stream: AsyncFd<UnixStream>) -> io::Result<()> {
        while let Some(byte) = read(&stream).await? {
            stream.try_io(|stream| give(stream, byte))?;
        }
        Ok(())
    }
}

pub mod tokio {
    use ::tokio::{
        net::UnixStream,
        runtime::Builder,
        task::{LocalSet, spawn_local},
    };

    use super::*;

    pub fn run(kind: Kind, meter: &Meter) -> Option<Sample> {
        let tally = Tally::leak();
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime is made");
        let local = LocalSet::new();
        let count = meter.size as u64;
        Some(meter.repeat(meter.size, || {
            let took = match kind {
                Kind::TaskWakes => {
                    let woken = local.spawn_local(wakes(tally, count));
                    timed(|| local.block_on(&runtime, woken).expect("it does not panic"))
                }
                Kind::TaskSpawns => timed(|| {
                    for value in 0..count {
                        local.spawn_local(task(Work { tally, value }));
                    }
                    local.block_on(&runtime, async {
                        while tally.count() < count {
                            ::tokio::task::yield_now().await;
                        }
                    });
                }),
                _ => local.block_on(&runtime, async {
                    let (near, far) = super::pair();
                    let watch = |stream| UnixStream::from_std(stream).expect("it is watched");
                    let (near, far) = (watch(near), watch(far));
                    spawn_local(back(far));
                    let start = std::time::Instant::now();
                    spawn_local(there(tally, near, count)).await.expect("it does not panic").expect("it works");
                    start.elapsed()
                }),
            };
            tally.settle_below(took, count)
        }))
    }

    async fn read(stream: &UnixStream) -> io::Result<Option<u8>> {
        let mut byte = [0];
        loop {
            stream.readable().await?;
            match stream.try_read(&mut byte) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return Ok((result? == 1).then_some(byte[0])),
            }
        }
    }

    async fn there(tally: &'static Tally, stream: UnixStream, count: u64) -> io::Result<()> {
        for value in 0..count {
            stream.writable().await?;
            stream.try_write(&[value as u8])?;
            assert_eq!(read(&stream).await?, Some(value as u8));
            tally.add(value);
        }
        Ok(())
    }

    async fn back(stream: UnixStream) -> io::Result<()> {
        while let Some(byte) = read(&stream).await? {
            stream.try_write(&[byte])?;
        }
        Ok(())
    }
}

pub mod calloop {
    use ::calloop::{EventLoop, futures::executor, io::Async};

    use super::*;

    pub fn run(kind: Kind, meter: &Meter) -> Option<Sample> {
        let tally = Tally::leak();
        let mut event_loop: EventLoop<'static, ()> = EventLoop::try_new().expect("a loop is made");
        let handle = event_loop.handle();
        let (tasks, scheduler) = executor::<()>().expect("an executor is made");
        handle.insert_source(tasks, |(), _, _| ()).expect("it is added");
        let count = meter.size as u64;
        Some(meter.repeat(meter.size, || {
            let spawn_pair = || {
                let (near, far) = super::pair();
                let watch = |stream| handle.adapt_io(stream).expect("it is watched");
                let (near, far) = (watch(near), watch(far));
                let there = async move { there(tally, near, count).await.expect("it works") };
                scheduler.schedule(there).expect("the loop runs");
                let back = async move { back(far).await.expect("it works") };
                scheduler.schedule(back).expect("the loop runs");
            };
            match kind {
                Kind::TaskWakes => scheduler.schedule(wakes(tally, count)).expect("the loop runs"),
                Kind::TaskSpawns => {}
                _ => spawn_pair(),
            }
            let took = timed(|| {
                if kind == Kind::TaskSpawns {
                    for value in 0..count {
                        scheduler.schedule(task(Work { tally, value })).expect("the loop runs");
                    }
                }
                while tally.count() < count {
                    event_loop.dispatch(Some(Duration::from_secs(1)), &mut ()).expect("the loop polls");
                }
            });
            tally.settle_below(took, count)
        }))
    }

    async fn read(stream: &mut Async<'_, UnixStream>) -> io::Result<Option<u8>> {
        loop {
            stream.readable().await;
            match take(stream.get_mut()) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    async fn there(tally: &'static Tally, mut stream: Async<'_, UnixStream>, count: u64) -> io::Result<()> {
        for value in 0..count {
            give(stream.get_mut(), value as u8)?;
            assert_eq!(read(&mut stream).await?, Some(value as u8));
            tally.add(value);
        }
        Ok(())
    }

    async fn back(mut stream: Async<'_, UnixStream>) -> io::Result<()> {
        while let Some(byte) = read(&mut stream).await? {
            give(stream.get_mut(), byte)?;
        }
        Ok(())
    }
}
