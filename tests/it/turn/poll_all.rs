//! What one sum of several turns must not lose, and when it ends.
//!
//! Holds T3, T4, T11, Q5, F9, X1.

use std::{
    io::Write,
    os::unix::net::UnixStream,
    panic::{self, AssertUnwindSafe},
    sync::mpsc,
    thread,
};

use alooper::{FdNext, Interest, Looper};

use crate::support::{ms, watched};

/// The caller serves an ident's fd, and can do so only when it is told.
#[test]
fn t11_f9_it_ends_when_an_ident_is_ready() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(b"x").unwrap();
        looper.add_ident(near, Interest::INPUT, 7).unwrap();

        let turn = looper.poll_all(None).unwrap();

        assert_eq!(turn.idents.iter().map(|ready| ready.ident).collect::<Vec<_>>(), [7]);
    });
}

/// It went on for ever.
#[test]
fn t11_t4_a_wake_of_another_thread_ends_it_whatever_else_there_is_to_do() {
    fn again(looper: &Looper) {
        let _ = looper.post(again);
    }
    fn again_from_another_thread(looper: &Looper) {
        let handle = looper.handle();
        thread::spawn(move || handle.post(again_from_another_thread).map(drop)).join().unwrap().unwrap();
    }
    fn stays_ready(looper: &Looper) {
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(b"!").unwrap();
        let keeps_far = move |_: &Looper, _: &mut UnixStream, _| {
            let _open = &far;
            FdNext::Keep
        };
        looper.add_fd(near, Interest::INPUT, keeps_far).unwrap();
    }
    watched(|| {
        for goes_on in [again, again_from_another_thread, stays_ready] {
            let looper = Looper::builder().budget(4).build().unwrap();
            let (begins, has_begun) = mpsc::channel();
            let handle = looper.handle();
            let waker = thread::spawn(move || {
                has_begun.recv().unwrap();
                handle.wake()
            });
            looper.post(goes_on).unwrap();
            looper.post(move |_| begins.send(()).unwrap()).unwrap();

            let sum = looper.poll_all(None).unwrap();

            waker.join().unwrap().unwrap();
            assert!(sum.woken && sum.messages >= 2, "{sum:?}");
            assert!(!looper.poll_once(ms(0)).unwrap().woken, "it is told once");
        }
    });
}

#[test]
fn t3_x1_a_panic_does_not_swallow_the_wake_that_its_turn_has_seen() {
    watched(|| {
        let looper = Looper::new().unwrap();
        looper.wake().unwrap();
        looper.post(|_| ()).unwrap();
        looper.post(|_| panic!("planned")).unwrap();

        let polled = panic::catch_unwind(AssertUnwindSafe(|| looper.poll_all(ms(10_000))));

        assert!(polled.is_err());
        assert!(looper.poll_once(ms(0)).unwrap().woken);
    });
}

#[test]
fn q5_after_a_quit_it_ends_and_polling_until_nothing_is_left_does_too() {
    watched(|| {
        let looper = Looper::new().unwrap();
        looper.quit();

        assert!(looper.poll_all(None).unwrap().quit);

        while !looper.poll_once(ms(0)).unwrap().is_empty() {}
    });
}
