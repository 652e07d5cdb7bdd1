//! The spin guard: an fd that reports nothing but hang-ups or errors does not keep the looper busy.
//!
//! Holds F5, F8, F10, C28.

use super::*;
use crate::looper::report::ReadyIdent;

/// How many turns call the one fd back before a turn of no time finds nothing.
fn calls_until_quiet(looper: &Looper) -> usize {
    (0..5000).take_while(|_| looper.poll_once(Duration::ZERO).unwrap().fds == 1).count()
}

#[test]
fn f8_the_limit_is_a_thousand_hangups_in_a_row_unless_set_and_two_at_least() {
    for (limit, expected) in [(None, 1000), (Some(1), 2), (Some(2), 2), (Some(5), 5), (Some(64), 64), (Some(65), 65)] {
        let (looper, kernel) = fake_with(|builder| limit.map_or(builder.clone(), |limit| builder.spin_limit(limit)));
        let (source, fd) = add(&looper, |_, _| FdNext::Keep);
        kernel.set_ready(fd, HUP);
        logged();

        assert_eq!(calls_until_quiet(&looper), expected);

        assert!(source.is_registered(), "it is muted, not removed");
        let lines = logged();
        assert!(lines.len() == 1 && lines[0].contains(file!()), "logged once with where it was added: {lines:?}");
    }
}

#[test]
fn f8_a_limit_of_zero_is_none() {
    let (looper, kernel) = fake_with(|builder| builder.spin_limit(0));
    let (_source, fd) = add(&looper, |_, _| FdNext::Keep);
    kernel.set_ready(fd, EpollFlags::EPOLLERR);

    assert_eq!(calls_until_quiet(&looper), 5000);
}

#[test]
fn f8_a_muted_fd_costs_no_wakeups() {
    let (looper, kernel) = fake_with(|builder| builder.spin_limit(3));
    let start = looper.now();
    let (_source, fd) = add(&looper, |_, _| FdNext::Keep);
    kernel.set_ready(fd, HUP);
    calls_until_quiet(&looper);
    let waits = kernel.calls(Call::EpollWait);

    assert!(looper.poll_once(ms(500)).unwrap().timed_out);

    assert_eq!((looper.now() - start, kernel.calls(Call::EpollWait) - waits), (ms(500), 1));
}

#[test]
fn f8_a_real_event_starts_the_count_anew() {
    let (looper, kernel) = fake_with(|builder| builder.spin_limit(5));
    let (_source, fd) = add(&looper, |_, _| FdNext::Keep);
    for _ in 0..10 {
        kernel.set_ready(fd, HUP);
        (0..4).for_each(|_| assert_eq!(looper.poll_once(Duration::ZERO).unwrap().fds, 1));
        kernel.set_ready(fd, HUP | IN);
        assert_eq!(looper.poll_once(Duration::ZERO).unwrap().fds, 1);
    }
    kernel.set_ready(fd, HUP);

    assert_eq!(calls_until_quiet(&looper), 5);
}

#[test]
fn f8_c28_with_an_empty_interest_a_hangup_is_delivered_once_and_not_worth_a_warning() {
    for limit in [0, 1000] {
        let (looper, kernel) = fake_with(|builder| builder.spin_limit(limit));
        let log = Log::new();
        let noted = log.clone();
        let (source, fd) = add(&looper, move |_, events| {
            noted.note(events);
            FdNext::Keep
        });
        source.set_interest(Interest::empty()).unwrap();
        kernel.set_ready(fd, HUP | EpollFlags::EPOLLERR | IN);
        logged();

        assert_eq!(calls_until_quiet(&looper), 1);

        assert_eq!(log.take(), [Events::HANGUP | Events::ERROR]);
        assert!(logged().is_empty());
    }
}

#[test]
fn f8_a_new_interest_revives_a_muted_fd() {
    let (looper, kernel) = fake_with(|builder| builder.spin_limit(3));
    let (source, fd) = add(&looper, |_, _| FdNext::Keep);
    kernel.set_ready(fd, HUP);
    assert_eq!(calls_until_quiet(&looper), 3);

    source.set_interest(Interest::INPUT | Interest::OUTPUT).unwrap();
    assert_eq!(calls_until_quiet(&looper), 3);
    source.set_interest(Interest::empty()).unwrap();
    assert_eq!(calls_until_quiet(&looper), 1);
    kernel.set_ready(fd, IN);
    let handle = source.handle();
    elsewhere(move || handle.set_interest(Interest::INPUT).unwrap());
    assert_eq!(looper.poll_once(None).unwrap().fds, 1);
}

#[test]
fn f8_a_new_interest_starts_the_count_anew() {
    let (looper, kernel) = fake_with(|builder| builder.spin_limit(5));
    let (source, fd) = add(&looper, |_, _| FdNext::Keep);
    kernel.set_ready(fd, HUP);
    for _ in 0..5 {
        for interest in [Interest::OUTPUT, Interest::INPUT] {
            (0..4).for_each(|_| assert_eq!(looper.poll_once(Duration::ZERO).unwrap(), served(1)));
            source.set_interest(interest).unwrap();
        }
    }

    assert_eq!(calls_until_quiet(&looper), 5);
}

#[test]
fn f8_f5_a_callback_that_answers_with_the_interest_it_has_does_not_set_it() {
    let (looper, kernel) = fake_with(|builder| builder.spin_limit(5));
    let (source, fd) = add(&looper, |_, _| FdNext::Interest(Interest::INPUT));
    kernel.set_ready(fd, HUP);

    assert_eq!(calls_until_quiet(&looper), 5);
    assert_eq!(kernel.calls(Call::EpollModify), 1, "to mute it");

    source.set_interest(Interest::INPUT).unwrap();
    assert_eq!(calls_until_quiet(&looper), 5, "but to set it again from outside does");
}

#[test]
fn f8_f10_repoll_unmutes_it() {
    let (looper, kernel) = fake_with(|builder| builder.spin_limit(5));
    let (source, fd) = add(&looper, |_, _| FdNext::Keep);
    kernel.set_ready(fd, HUP);
    calls_until_quiet(&looper);

    source.repoll().unwrap();

    assert_eq!(calls_until_quiet(&looper), 5);
}

#[test]
fn f8_a_failed_revival_leaves_it_muted_and_can_be_tried_again() {
    let (looper, kernel) = fake_with(|builder| builder.spin_limit(3));
    let (source, fd) = add(&looper, |_, _| FdNext::Keep);
    kernel.set_ready(fd, HUP);
    calls_until_quiet(&looper);
    kernel.fail(Call::EpollModify, Errno::ENOMEM);

    source.set_interest(Interest::OUTPUT).unwrap_err();

    assert_eq!(calls_until_quiet(&looper), 0);
    source.set_interest(Interest::OUTPUT).unwrap();
    assert_eq!(calls_until_quiet(&looper), 3);
}

#[test]
fn f8_f5_the_last_callback_before_the_pause_can_set_a_new_interest() {
    let (looper, kernel) = fake();
    let log = Log::new();
    let noted = log.clone();
    let (source, fd) = add(&looper, move |_, events| {
        noted.note(events);
        FdNext::Interest(Interest::INPUT)
    });
    source.set_interest(Interest::empty()).unwrap();
    kernel.set_ready(fd, HUP | IN);

    (0..2).for_each(|_| assert_eq!(looper.poll_once(None).unwrap().fds, 1));

    assert_eq!(log.take(), [Events::HANGUP, Events::HANGUP | Events::INPUT]);
}

#[test]
fn f8_a_muted_fd_can_be_removed_replaced_and_is_not_registered_twice() {
    let (looper, kernel) = fake_with(|builder| builder.spin_limit(3));
    let source = Rc::new(source());
    let fd = number(&source);
    let keep = |_: &Looper, _: &mut Rc<OwnedFd>, _| FdNext::Keep;
    let muted = looper.add_fd(source.clone(), Interest::INPUT, keep).unwrap();
    kernel.set_ready(fd, HUP);
    calls_until_quiet(&looper);

    let refused = looper.add_fd(source.clone(), Interest::INPUT, keep).unwrap_err();
    assert_eq!(refused.error().raw_os_error(), Some(Errno::EEXIST as i32));
    let second = looper.replace_fd(source.clone(), Interest::INPUT, keep).unwrap();
    assert!(!muted.is_registered());
    assert_eq!(calls_until_quiet(&looper), 3, "the new one is not muted");
    assert!(looper.add_fd(source.clone(), Interest::INPUT, keep).is_err(), "now it is, and no second one either");
    assert!(second.remove().is_some());
    let third = looper.add_fd(source, Interest::INPUT, keep).unwrap();

    assert_eq!(calls_until_quiet(&looper), 3);
    assert!(third.is_registered());
}

#[test]
fn f8_idents_are_muted_too() {
    let (looper, kernel) = fake_with(|builder| builder.spin_limit(2));
    let source = source();
    let fd = number(&source);
    looper.add_ident(source, Interest::INPUT, 4).unwrap();
    kernel.set_ready(fd, HUP);

    for _ in 0..2 {
        assert_eq!(looper.poll_once(None).unwrap().idents, [ReadyIdent::new(4, Events::HANGUP)]);
    }
    assert!(looper.poll_once(ms(10)).unwrap().timed_out);
}
