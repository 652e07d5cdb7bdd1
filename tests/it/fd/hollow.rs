//! Hang-ups and errors that come alone, but are no spin.
//!
//! Holds F4, F8, X1.

use std::{
    cell::{Cell, RefCell},
    io::Write,
    net::UdpSocket,
    os::unix::net::UnixStream,
    panic::{self, AssertUnwindSafe},
    rc::Rc,
};

use alooper::{Events, FdNext, FdSource, Interest, Looper};

use crate::support::{ms, watched};

/// A client that asks a server which is down gets an error each time. It must still hear the server when that comes up.
#[test]
fn f8_errors_that_are_taken_one_by_one_are_no_spin() {
    watched(|| {
        let looper = Looper::builder().spin_limit(10).build().unwrap();
        let server = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(server).unwrap();
        let sender = client.try_clone().unwrap();
        let (errors, inputs) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (error_count, input_count) = (errors.clone(), inputs.clone());
        let take = move |_: &Looper, client: &mut UdpSocket, events: Events| {
            if events.contains(Events::ERROR) {
                error_count.set(error_count.get() + usize::from(client.take_error().unwrap().is_some()));
            }
            if events.contains(Events::INPUT) {
                input_count.set(input_count.get() + usize::from(client.recv(&mut [0; 8]).is_ok()));
            }
            FdNext::Keep
        };
        looper.add_fd(client, Interest::INPUT, take).unwrap();

        while errors.get() < 15 {
            let _ = sender.send(b"x");
            looper.poll_once(ms(1000)).unwrap();
            while !looper.poll_once(ms(1)).unwrap().timed_out {}
        }
        let server = UdpSocket::bind(server).unwrap();
        server.send_to(b"hello", sender.local_addr().unwrap()).unwrap();

        assert_eq!(looper.poll_once(ms(1000)).unwrap().fds, 1);
        assert_eq!(inputs.get(), 1);
    });
}

/// With an empty interest a hang-up is reported once: a turn that panics must not use that up.
#[test]
fn f8_x1_the_one_hangup_of_an_ident_outlives_a_turn_that_panics() {
    watched(|| {
        for ident_is_first in [true, false] {
            let looper = Looper::new().unwrap();
            let (near, far) = UnixStream::pair().unwrap();
            drop(far);
            let (ready, mut writer) = UnixStream::pair().unwrap();
            writer.write_all(b"x").unwrap();
            let add_ident = || drop(looper.add_ident(near, Interest::empty(), 7).unwrap());
            let add_panic = || drop(looper.add_fd(ready, Interest::INPUT, |_, _, _| panic!("planned")).unwrap());
            if ident_is_first {
                add_ident();
                add_panic();
            } else {
                add_panic();
                add_ident();
            }

            let polled = panic::catch_unwind(AssertUnwindSafe(|| looper.poll_once(ms(0))));

            assert!(polled.is_err());
            assert_eq!(looper.poll_once(ms(1000)).unwrap().idents.len(), 1);
            assert!(looper.poll_once(ms(1)).unwrap().timed_out);
        }
    });
}

#[test]
fn f4_an_interest_that_was_taken_back_in_the_same_batch_is_not_served() {
    let looper = Looper::new().unwrap();
    let calls = Rc::new(Cell::new(0));
    let sources: Rc<Cell<Vec<FdSource<UnixStream>>>> = Rc::default();
    let mut far_ends = Vec::new();
    for other in [1, 0] {
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(b"x").unwrap();
        far_ends.push(far);
        let (count, others) = (calls.clone(), sources.clone());
        let take_back = move |_: &Looper, _: &mut UnixStream, _| {
            count.set(count.get() + 1);
            let sources = others.take();
            sources[other].set_interest(Interest::empty()).unwrap();
            others.set(sources);
            FdNext::Keep
        };
        let source = looper.add_fd(near, Interest::INPUT, take_back).unwrap();
        let mut known = sources.take();
        known.push(source);
        sources.set(known);
    }

    assert_eq!(looper.poll_once(ms(0)).unwrap().fds, 1);

    assert_eq!(calls.get(), 1, "whichever came first has silenced the other");
}

/// With an empty interest a hang-up is reported once, and what was served before that was none.
#[test]
fn f8_an_fd_that_is_to_be_watched_for_nothing_any_more_still_tells_of_its_hangup() {
    let looper = Looper::new().unwrap();
    let (near, mut far) = UnixStream::pair().unwrap();
    let seen: Rc<RefCell<Vec<Events>>> = Rc::default();
    let log = seen.clone();
    let callback = move |_: &Looper, _: &mut UnixStream, events| {
        log.borrow_mut().push(events);
        FdNext::Interest(Interest::empty())
    };
    looper.add_fd(near, Interest::INPUT, callback).unwrap();
    far.write_all(b"x").unwrap();
    assert_eq!(looper.poll_once(ms(1000)).unwrap().fds, 1);

    drop(far);

    assert_eq!(looper.poll_once(ms(1000)).unwrap().fds, 1);
    let seen = seen.take();
    assert!(seen[0] == Events::INPUT && seen[1].contains(Events::HANGUP), "{seen:?}");
}
