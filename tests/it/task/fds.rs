//! Fds that tasks wait for.
//!
//! Holds A1, A3, A4, A5, A6, F1, F13.

use std::{
    cell::{Cell, RefCell},
    fs::File,
    future,
    io::{self, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    rc::Rc,
    time::Duration,
};

use alooper::{Looper, Notice, Observer, task::AsyncFd};
use futures_util::{AsyncReadExt, AsyncWriteExt};

use crate::support::{
    ms, panic_of,
    tasks::{settle, wait_for, yield_now},
    watched,
};

fn pair(looper: &Looper) -> (AsyncFd<UnixStream>, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    (AsyncFd::new(looper, near).unwrap(), far)
}

async fn byte(fd: &AsyncFd<UnixStream>) -> io::Result<u8> {
    let mut byte = [0];
    fd.read_with(|mut stream| stream.read_exact(&mut byte)).await?;
    Ok(byte[0])
}

#[test]
fn a3_the_task_is_polled_in_the_fds_callback_and_no_barrier_holds_it_up() {
    let looper = Looper::new().unwrap();
    let (near, mut far) = pair(&looper);
    let task = looper.spawn(async move { byte(&near).await }).unwrap();
    settle(&looper);
    let barrier = looper.barrier().unwrap();
    far.write_all(&[7]).unwrap();

    let turn = looper.poll_once(None).unwrap();

    assert_eq!((turn.fds, turn.messages, task.is_finished()), (1, 0, true));
    assert_eq!(looper.message_counts().posted, 1, "to spawn it");
    drop(barrier);
    assert_eq!(looper.block_on(task).unwrap().unwrap().unwrap(), 7);
}

#[test]
fn a6_a_task_whose_fd_is_always_ready_lets_others_run() {
    let looper = Looper::new().unwrap();
    let (near, mut far) = pair(&looper);
    far.write_all(&[0; 64]).unwrap();
    let reads = Rc::new(Cell::new(0));
    let count = reads.clone();
    looper
        .spawn(async move {
            loop {
                near.readable().await.unwrap();
                near.try_io(|mut stream| stream.read_exact(&mut [0])).unwrap();
                count.set(count.get() + 1);
            }
        })
        .unwrap();

    // The first one finds out that it is ready.
    settle(&looper);
    let before = reads.get();
    for turn in 1..=5 {
        looper.poll_once(Duration::ZERO).unwrap();
        assert_eq!(reads.get() - before, turn, "one in a turn");
        if reads.get() == 64 {
            break;
        }
    }
}

#[test]
fn a3_what_was_ready_while_nobody_waited_is_told_at_once() {
    let looper = Looper::new().unwrap();
    let (near, mut far) = pair(&looper);
    far.write_all(&[1]).unwrap();

    // It stops watching for what nobody waits for, so that it does not spin.
    assert_eq!(looper.poll_once(Duration::ZERO).unwrap().fds, 1);
    assert_eq!(looper.poll_once(ms(1)).unwrap().fds, 0);

    assert!(wait_for(near.readable()).is_ok(), "without any turn");
    assert_eq!(looper.block_on(byte(&near)).unwrap().unwrap(), 1);
    far.write_all(&[2]).unwrap();
    assert_eq!(looper.block_on(byte(&near)).unwrap().unwrap(), 2, "it is watched again");
}

#[test]
fn a3_several_tasks_wait_for_one_fd_and_all_are_polled() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, mut far) = pair(&looper);
        let near = Rc::new(near);
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let near = near.clone();
                looper.spawn(async move { byte(&near).await.unwrap() }).unwrap()
            })
            .collect();
        settle(&looper);
        far.write_all(&[1, 2, 3]).unwrap();

        let mut bytes = Vec::new();
        for task in tasks {
            bytes.push(looper.block_on(task).unwrap().unwrap());
        }

        bytes.sort_unstable();
        assert_eq!(bytes, [1, 2, 3]);
    });
}

#[test]
fn a3_who_waits_to_read_and_who_waits_to_write_do_not_disturb_each_other() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, mut far) = pair(&looper);
        let near = Rc::new(near);
        let writer = near.clone();
        let all = looper.spawn(async move {
            let mut left: usize = 1 << 20;
            while left > 0 {
                left -= writer.write_with(|mut stream| stream.write(&vec![0; left])).await.unwrap();
            }
        });
        let all = all.unwrap();
        let read = looper.spawn(async move { byte(&near).await.unwrap() }).unwrap();
        settle(&looper);
        assert!(!all.is_finished(), "the buffer is full");

        far.write_all(&[7]).unwrap();
        assert_eq!(looper.block_on(read).unwrap(), Ok(7));
        far.set_nonblocking(true).unwrap();
        let mut taken = 0;
        while taken < 1 << 20 {
            taken += far.read(&mut [0; 1 << 16]).unwrap_or(0);
            looper.poll_once(Duration::ZERO).unwrap();
        }

        assert_eq!(looper.block_on(all).unwrap(), Ok(()));
    });
}

#[test]
fn f3_a_hang_up_is_told_to_all_who_wait() {
    let looper = Looper::new().unwrap();
    let (near, far) = pair(&looper);
    let near = Rc::new(near);
    let other = near.clone();
    let priority = looper.spawn(async move { other.priority().await }).unwrap();
    let read = looper.spawn(async move { near.read_with(|mut stream| stream.read(&mut [0])).await }).unwrap();
    settle(&looper);

    drop(far);

    assert_eq!(looper.block_on(read).unwrap().unwrap().unwrap(), 0);
    assert!(looper.block_on(priority).unwrap().unwrap().is_ok());
    assert_eq!(looper.poll_once(ms(1)).unwrap().fds, 0, "and does not spin");
}

#[test]
fn f1_what_cannot_be_watched_comes_back_with_the_kernels_error() {
    let looper = Looper::new().unwrap();
    let file = File::open(env!("CARGO_MANIFEST_DIR").to_owned() + "/Cargo.toml").unwrap();
    let refused = AsyncFd::new(&looper, file).unwrap_err();
    assert_eq!(refused.error().kind(), ErrorKind::PermissionDenied);
    assert!(refused.into_source().is_some());

    let (near, _far) = UnixStream::pair().unwrap();
    let near = Rc::new(near);
    let first = AsyncFd::new(&looper, near.clone()).unwrap();
    let refused = AsyncFd::new(&looper, near.clone()).unwrap_err();
    assert_eq!(refused.error().kind(), ErrorKind::AlreadyExists);
    drop((first, refused));

    let again = AsyncFd::new(&looper, near).unwrap();
    looper.quit();
    let refused = AsyncFd::new(&looper, again.into_inner()).unwrap_err();
    assert_eq!(refused.error().kind(), ErrorKind::BrokenPipe);
    assert_eq!(Rc::strong_count(&refused.into_source().unwrap()), 1);
}

#[test]
fn f1_the_source_comes_out_as_it_went_in_and_its_fd_is_not_watched_any_more() {
    let looper = Looper::new().unwrap();
    let (near, mut far) = pair(&looper);
    far.write_all(&[1]).unwrap();

    let mut stream = near.into_inner();

    assert_eq!(looper.poll_once(ms(1)).unwrap().fds, 0);
    assert_eq!(stream.read(&mut [0; 2]).unwrap(), 1);
    assert_eq!(stream.read(&mut [0; 2]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a4_who_waits_for_an_fd_of_a_looper_that_has_quit_is_told() {
    let looper = Looper::new().unwrap();
    let other = Looper::new().unwrap();
    let (near, _far) = pair(&looper);
    let waits = other.spawn(async move { near.readable().await }).unwrap();
    settle(&other);

    drop(looper);

    let told = other.block_on(waits).unwrap().unwrap();
    assert_eq!(told.unwrap_err().kind(), ErrorKind::BrokenPipe);
}

/// A panic ends an fd's registration (X1); here the fd is still the `AsyncFd`'s.
#[test]
fn a5_a_panic_of_one_task_leaves_the_fd_to_the_others() {
    let looper = Looper::new().unwrap();
    let (near, mut far) = pair(&looper);
    let near = Rc::new(near);
    let first = near.clone();
    looper
        .spawn(async move {
            first.readable().await.unwrap();
            panic!("at the first byte");
        })
        .unwrap();
    let second = looper.spawn(async move { byte(&near).await.unwrap() }).unwrap();
    settle(&looper);
    far.write_all(&[7]).unwrap();

    assert_eq!(panic_of(|| looper.poll_once(None)), "at the first byte");

    assert_eq!(looper.block_on(second).unwrap(), Ok(7));
}

#[test]
fn a3_a_task_may_drop_its_fd_while_it_is_polled_in_its_callback() {
    let looper = Looper::new().unwrap();
    let (near, mut far) = pair(&looper);
    let task = looper.spawn(async move {
        near.readable().await.unwrap();
        near.into_inner()
    });
    settle(&looper);
    far.write_all(&[7]).unwrap();

    let mut stream = looper.block_on(task.unwrap()).unwrap().unwrap();

    assert_eq!(stream.read(&mut [0; 2]).unwrap(), 1);
}

#[derive(Default)]
struct Noticed(RefCell<Vec<Notice>>);

impl Observer for Noticed {
    fn noticed(&self, notice: &Notice) {
        self.0.borrow_mut().push(notice.clone());
    }
}

#[test]
fn f13_a_task_that_waits_again_and_again_and_reads_nothing_is_noticed() {
    let looper = Looper::new().unwrap();
    let noticed = Rc::new(Noticed::default());
    looper.set_observer(Some(noticed.clone()));
    let (near, mut far) = pair(&looper);
    far.write_all(&[0; 3000]).unwrap();
    let near = Rc::new(near);
    let reader = near.clone();
    let reads = looper.spawn(async move {
        for _ in 0..1200 {
            reader.readable().await.unwrap();
            reader.try_io(|mut stream| stream.read(&mut [0])).unwrap();
        }
    });
    looper.block_on(reads.unwrap()).unwrap().unwrap();
    assert!(noticed.0.take().is_empty(), "one that reads is not");

    let waits = looper.spawn(async move {
        for _ in 0..1200 {
            near.readable().await.unwrap();
        }
    });
    looper.block_on(waits.unwrap()).unwrap().unwrap();

    assert!(matches!(noticed.0.take()[..], [Notice::StuckFd { .. }]));
}

#[cfg(feature = "futures-io")]
#[test]
fn a3_it_has_the_traits_of_futures_io() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, far) = pair(&looper);
        let mut far = AsyncFd::new(&looper, far).unwrap();
        let echo = looper.spawn(async move {
            let (mut reader, mut writer) = (&near, &near);
            futures_util::io::copy(&mut reader, &mut writer).await.unwrap()
        });

        let heard = looper.block_on(async {
            let mut heard = Vec::new();
            for round in 0..20_u8 {
                far.write_all(&[round; 3]).await.unwrap();
                let mut buffer = [0; 3];
                far.read_exact(&mut buffer).await.unwrap();
                heard.push(buffer);
                if round % 7 == 0 {
                    yield_now().await;
                }
            }
            far.close().await.unwrap();
            heard
        });

        assert_eq!(heard.unwrap().concat(), (0..20).flat_map(|round| [round; 3]).collect::<Vec<u8>>());
        drop(far);
        assert_eq!(looper.block_on(echo.unwrap()).unwrap(), Ok(60));
    });
}

#[test]
fn a3_a_wait_that_is_dropped_loses_nothing() {
    let looper = Looper::new().unwrap();
    let (near, mut far) = pair(&looper);
    let waited = looper.block_on(looper.timeout(ms(1), near.readable())).unwrap();
    assert!(waited.is_err());
    far.write_all(&[7]).unwrap();

    assert_eq!(looper.block_on(byte(&near)).unwrap().unwrap(), 7);
    let never = looper.timeout(ms(1), async {
        near.readable().await.unwrap();
        future::pending::<()>().await;
    });
    assert!(looper.block_on(never).unwrap().is_err());
}
