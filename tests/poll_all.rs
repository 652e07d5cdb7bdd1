//! What one sum of several turns must not lose, and when it ends.
//!
//! Holds T3, T11, Q5, F9, X1.

mod support;

use std::{
    io::Write,
    os::unix::net::UnixStream,
    panic::{self, AssertUnwindSafe},
};

use alooper::{Interest, Looper};
use support::{ms, watched};

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

#[test]
fn t3_x1_a_panic_in_a_later_turn_does_not_swallow_the_wake_of_an_earlier_one() {
    watched(|| {
        let looper = Looper::builder().budget(1).build().unwrap();
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
