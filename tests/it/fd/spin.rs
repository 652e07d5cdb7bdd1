//! The spin guard: what hangs up, and stays so, does not keep its looper busy for ever.
//!
//! Holds F2, F8, F9, F10, C27, C28.

use std::{
    cell::Cell,
    fs::File,
    io::{self, PipeReader, Read, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::UnixStream,
    },
    panic::Location,
    rc::Rc,
    thread,
    time::Duration,
};

use alooper::{Events, FdNext, FdSource, Interest, Looper, Turn};

use crate::support::{
    ms,
    rest::{assert_not_warned, assert_sleeps, assert_warned_once_of, warnings},
    until_polling, watched,
};

/// A looper of this thread, whose warnings are kept.
fn logged_looper(spin_limit: u32) -> Looper {
    warnings();
    Looper::builder().spin_limit(spin_limit).build().unwrap()
}

/// Watches `source`; gives what counts the calls as well, and the place of the call.
#[track_caller]
fn count_calls<S: AsFd + 'static>(
    looper: &Looper,
    source: S,
    interest: Interest,
    answer: FdNext,
) -> (FdSource<S>, Rc<Cell<usize>>, String) {
    let calls = Rc::new(Cell::new(0));
    let counted = calls.clone();
    let place = Location::caller();
    let watch = looper.add_fd(source, interest, move |_, _, events| {
        assert!(events.intersects(Events::HANGUP | Events::ERROR), "{events:?}");
        counted.set(counted.get() + 1);
        answer
    });
    (watch.unwrap(), calls, format!("{}:{}", place.file(), place.line()))
}

/// A pipe that has hung up: its reader is ready for nothing but that.
fn hung_up_pipe() -> PipeReader {
    io::pipe().unwrap().0
}

/// A stream whose peer is gone.
fn hung_up_stream() -> UnixStream {
    UnixStream::pair().unwrap().0
}

fn poll_times(looper: &Looper, count: usize) -> Vec<Turn> {
    (0..count).map(|_| looper.poll_once(Duration::ZERO).unwrap()).collect()
}

#[test]
fn f8_c28_a_hangup_that_nobody_asked_for_is_delivered_once() {
    watched(|| {
        let looper = logged_looper(1000);
        let (near, far) = UnixStream::pair().unwrap();
        let (source, calls, _place) = count_calls(&looper, near, Interest::empty(), FdNext::Keep);
        assert!(looper.poll_once(ms(1)).unwrap().timed_out);

        drop(far);

        assert_eq!(looper.poll_once(None).unwrap().fds, 1);
        assert_sleeps(&looper);
        assert_eq!(calls.get(), 1);
        assert!(source.is_registered());
    });
}

#[test]
fn f8_an_error_that_nobody_asked_for_is_delivered_once() {
    watched(|| {
        let looper = logged_looper(1000);
        let (reader, writer) = io::pipe().unwrap();
        let (_source, calls, _place) = count_calls(&looper, writer, Interest::empty(), FdNext::Keep);

        drop(reader);

        assert_eq!(looper.poll_once(None).unwrap().fds, 1);
        assert_sleeps(&looper);
        assert_eq!(calls.get(), 1);
    });
}

#[test]
fn f8_a_change_of_interest_ends_the_pause_of_what_hung_up() {
    watched(|| {
        let looper = logged_looper(1000);
        let (source, calls, _place) = count_calls(&looper, hung_up_stream(), Interest::empty(), FdNext::Keep);
        assert_eq!(poll_times(&looper, 10).iter().map(|turn| turn.fds).sum::<usize>(), 1);

        source.set_interest(Interest::INPUT).unwrap();
        assert_eq!(poll_times(&looper, 5).iter().map(|turn| turn.fds).sum::<usize>(), 5, "end of file is input");
        source.set_interest(Interest::empty()).unwrap();
        assert_eq!(poll_times(&looper, 5).iter().map(|turn| turn.fds).sum::<usize>(), 1, "and once again");

        assert_eq!(calls.get(), 7);
        assert_sleeps(&looper);
    });
}

#[test]
fn f8_f10_a_repoll_ends_the_pause_of_what_hung_up() {
    watched(|| {
        let looper = logged_looper(2);
        let (source, calls, _place) = count_calls(&looper, hung_up_pipe(), Interest::INPUT, FdNext::Keep);
        poll_times(&looper, 5);
        assert_eq!(calls.get(), 2);

        source.handle().repoll().unwrap();

        poll_times(&looper, 5);
        assert_eq!(calls.get(), 4);
    });
}

#[test]
fn f8_c27_a_change_of_interest_from_another_thread_ends_the_pause_during_a_wait() {
    watched(|| {
        let looper = logged_looper(1000);
        let (source, _calls, _place) = count_calls(&looper, hung_up_stream(), Interest::empty(), FdNext::Keep);
        poll_times(&looper, 2);
        let (handle, registered) = (looper.handle(), source.handle());
        let other = thread::spawn(move || {
            until_polling(&handle);
            registered.set_interest(Interest::OUTPUT).unwrap();
        });

        let turn = looper.poll_once(None).unwrap();

        assert_eq!(turn.fds, 1);
        other.join().unwrap();
    });
}

#[test]
fn f8_an_ident_that_hangs_up_is_reported_once_when_nothing_was_asked_for() {
    watched(|| {
        let looper = logged_looper(1000);
        looper.add_ident(hung_up_stream(), Interest::empty(), 3).unwrap();

        let turn = looper.poll_once(None).unwrap();

        assert_eq!(turn.idents.iter().map(|ready| ready.events).collect::<Vec<_>>(), [Events::HANGUP]);
        assert_sleeps(&looper);
    });
}

#[test]
fn f8_what_reports_only_that_it_hung_up_is_called_up_to_the_limit_and_named_in_the_log_once() {
    watched(|| {
        let looper = logged_looper(10);
        let (source, calls, place) = count_calls(&looper, hung_up_pipe(), Interest::INPUT, FdNext::Keep);

        let turns = poll_times(&looper, 20);

        assert_eq!(turns.iter().map(|turn| turn.fds).sum::<usize>(), 10);
        assert_eq!(calls.get(), 10);
        assert!(source.is_registered());
        assert_warned_once_of(&place);
        assert_sleeps(&looper);

        source.set_interest(Interest::INPUT | Interest::READ_HANGUP).unwrap();
        poll_times(&looper, 20);
        assert_eq!(calls.get(), 20, "a change of interest starts it anew");
    });
}

#[test]
fn f8_the_limit_is_a_thousand_unless_set() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (_source, calls, _place) = count_calls(&looper, hung_up_pipe(), Interest::INPUT, FdNext::Keep);

        poll_times(&looper, 1100);

        assert_eq!(calls.get(), 1000);
    });
}

#[test]
fn f8_a_limit_of_zero_never_pauses() {
    watched(|| {
        let looper = logged_looper(0);
        let (_source, calls, _place) = count_calls(&looper, hung_up_pipe(), Interest::INPUT, FdNext::Keep);

        poll_times(&looper, 1100);

        assert_eq!(calls.get(), 1100);
        assert_eq!((looper.stats().muted_fds, looper.stats().stuck_fds), (0, 1), "it is told all the same");
    });
}

#[test]
fn f8_a_hangup_with_input_does_not_count() {
    watched(|| {
        let looper = logged_looper(10);
        let (_source, calls, _place) = count_calls(&looper, hung_up_stream(), Interest::INPUT, FdNext::Keep);

        poll_times(&looper, 50);

        assert_eq!(calls.get(), 50, "end of file is something that was asked for");
        assert_not_warned();
    });
}

/// The pipe gets a new writer again and again, and with it one byte of input.
#[test]
fn f8_only_hangups_in_a_row_count() {
    watched(|| {
        let looper = logged_looper(5);
        let reader = hung_up_pipe();
        let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
        let (source, calls, _place) = count_calls(&looper, reader, Interest::INPUT, FdNext::Keep);

        for round in 1..=10 {
            poll_times(&looper, 3);
            File::options().write(true).open(&path).unwrap().write_all(b"x").unwrap();
            poll_times(&looper, 1);
            source.with(|reader| reader.read_exact(&mut [0]).unwrap()).unwrap();
            assert_eq!(calls.get(), round * 4);
        }

        assert_not_warned();
        poll_times(&looper, 10);
        assert_eq!(warnings().len(), 1);
    });
}

/// A callback that names the interest it needs in every call does not change it by that.
#[test]
fn f8_an_answer_that_repeats_the_interest_does_not_lift_the_limit() {
    watched(|| {
        let looper = logged_looper(10);
        let answer = FdNext::Interest(Interest::INPUT);
        let (_source, calls, _place) = count_calls(&looper, hung_up_pipe(), Interest::INPUT, answer);

        poll_times(&looper, 100);

        assert_eq!(calls.get(), 10);
        assert_eq!(warnings().len(), 1);
    });
}

#[test]
fn f8_an_answer_that_repeats_the_empty_interest_does_not_deliver_the_hangup_again() {
    watched(|| {
        let looper = logged_looper(10);
        let answer = FdNext::Interest(Interest::empty());
        let (_source, calls, _place) = count_calls(&looper, hung_up_stream(), Interest::empty(), answer);

        poll_times(&looper, 100);

        assert_eq!(calls.get(), 1);
    });
}

#[test]
fn f8_what_is_paused_can_be_lent_removed_and_added_again() {
    watched(|| {
        let looper = logged_looper(2);
        let (source, calls, _place) = count_calls(&looper, hung_up_pipe(), Interest::INPUT, FdNext::Keep);
        poll_times(&looper, 5);
        assert_eq!(calls.get(), 2);

        let read = source.with(|reader| reader.read(&mut [0]).unwrap());
        let reader = source.remove().unwrap();
        let (_again, again_calls, _place) = count_calls(&looper, reader, Interest::INPUT, FdNext::Remove);
        poll_times(&looper, 5);

        assert_eq!(read, Some(0), "end of file");
        assert_eq!((calls.get(), again_calls.get()), (2, 1));
    });
}

#[test]
fn f8_f2_what_is_paused_is_still_registered_and_can_be_replaced() {
    watched(|| {
        let looper = logged_looper(2);
        let stream = Rc::new(hung_up_stream());
        let (old, calls, _place) = count_calls(&looper, stream.clone(), Interest::empty(), FdNext::Keep);
        poll_times(&looper, 5);

        let twice = looper.add_fd(stream.clone(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err();
        let new = looper.replace_fd(stream, Interest::INPUT, |_, _, _| FdNext::Remove).unwrap();
        poll_times(&looper, 1);

        assert_eq!(twice.error().raw_os_error(), Some(nix::errno::Errno::EEXIST as i32));
        assert!(!old.is_registered() && !new.is_registered());
        assert_eq!(calls.get(), 1);
    });
}

/// F9: `run` has nobody to report to. It kept polling a ready fd that nobody served.
#[test]
fn f9_run_ignores_a_ready_fd_without_callback_and_says_so_once() {
    watched(|| {
        let looper = logged_looper(1000);
        let (near, mut far) = UnixStream::pair().unwrap();
        let place = Location::caller();
        let ident = looper.add_ident(near, Interest::INPUT, 5).unwrap();
        far.write_all(b"x").unwrap();
        // Not in the turn that sees both fds, however slow this thread is.
        let quit_later = |looper: &Looper, _: &mut UnixStream, _| {
            looper.post_delayed(ms(20), Looper::quit).unwrap();
            FdNext::Remove
        };
        looper.add_fd(hung_up_stream(), Interest::INPUT, quit_later).unwrap();

        looper.run().unwrap();

        assert!(looper.stats().turns < 10, "{:?}", looper.stats());
        assert!(ident.is_registered());
        assert_warned_once_of(&format!("{}:{}", place.file(), place.line() + 1));
    });
}

/// It is only that one which is ignored.
#[test]
fn f9_run_goes_on_with_the_callbacks_beside_a_fd_that_it_ignores() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (ident, mut far_ident) = UnixStream::pair().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        let _ident = looper.add_ident(ident, Interest::INPUT, 7).unwrap();
        let quit = |looper: &Looper, _: &mut UnixStream, _| {
            looper.quit();
            FdNext::Remove
        };
        looper.add_fd(near, Interest::INPUT, quit).unwrap();
        far_ident.write_all(b"x").unwrap();
        // When the looper has seen the first one.
        looper.post_delayed(ms(5), move |_| far.write_all(b"x").unwrap()).unwrap();

        looper.run().unwrap();
    });
}
