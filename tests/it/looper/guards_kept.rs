//! Guards that let be what they guard.
//!
//! Beside R1 and F4, which say what such a guard does else.

use std::{cell::Cell, rc::Rc, time::Duration};

use alooper::{FdNext, Interest, Looper};

use crate::support::{fds::ready_stream, watched};

#[test]
fn r1_a_message_whose_guard_is_told_to_keep_it_runs() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let runs = Rc::new(Cell::new(0));
        let count = |by: u32| {
            let runs = runs.clone();
            move |_: &Looper| runs.set(runs.get() + by)
        };
        drop(looper.post(count(1)).unwrap().guard());
        let kept = looper.post(count(10)).unwrap().guard().keep();

        looper.poll_once(Duration::ZERO).unwrap();

        assert_eq!(runs.get(), 10);
        assert!(!kept.is_pending());
    });
}

#[test]
fn f4_a_registration_whose_guard_is_told_to_keep_it_stays() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let ((let_go, _far), (stays, _far_too)) = (ready_stream(), ready_stream());
        drop(looper.add_fd(let_go, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap().guard());

        let kept = looper.add_fd(stays, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap().guard().keep();

        assert_eq!(looper.poll_once(Duration::ZERO).unwrap().fds, 1);
        assert!(kept.remove().is_some(), "it is the same registration");
        assert_eq!(looper.poll_once(Duration::ZERO).unwrap().fds, 0);
    });
}
