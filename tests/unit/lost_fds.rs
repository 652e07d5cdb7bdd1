//! Fds that die under their registration: no endless spin, no event for somebody else, and the others go on.
//!
//! Holds T14, F2, F6, F7, F8, F12, C13, C14.

use super::*;

#[test]
fn f7_c14_one_that_a_duplicate_keeps_alive_is_dropped_and_the_others_go_on() {
    let (looper, kernel) = fake();
    let log = Log::new();
    let (dying, fd) = add_noting(&looper, &log, "dying");
    let (healthy, healthy_fd) = add_noting(&looper, &log, "healthy");
    kernel.set_ready(healthy_fd, IN);
    kernel.close(fd, true);
    logged();

    let turns = turns_until_rebuilt(&looper);

    assert!(!dying.is_registered() && healthy.is_registered());
    assert_eq!(kernel.calls(Call::EpollWait), turns);
    assert_eq!(log.take().iter().filter(|name| **name == "healthy").count(), turns);
    let lines = logged();
    assert!(lines.len() == 1 && lines[0].contains(file!()), "logged once with where it was added: {lines:?}");
    assert_eq!(looper.poll_once(None).unwrap(), served(1));
    kernel.set_ready(healthy_fd, NOT_READY);
    assert_quiet(&looper, &kernel);
    assert_eq!(kernel.open_objects(), OWN_OBJECTS);
}

#[test]
fn f7_a_new_set_ends_a_sleep_as_the_old_one_did() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let (_dying, fd) = add(&looper, |_, _| FdNext::Keep);
    kernel.close(fd, true);
    turns_until_rebuilt(&looper);
    looper.post_delayed(ms(20), |_| ()).unwrap();
    let handle = looper.handle();
    kernel.during_next_wait(move || handle.wake().unwrap());

    assert!(looper.poll_once(None).unwrap().woken);
    assert_eq!(looper.poll_once(None).unwrap().messages, 1);

    assert_eq!(looper.now() - start, ms(20));
    let (late, fd) = add(&looper, |_, _| FdNext::Keep);
    kernel.set_ready(fd, IN);
    assert_eq!(looper.poll_once(None).unwrap().fds, 1);
    assert!(late.remove().is_some());
    assert_quiet(&looper, &kernel);
}

#[test]
fn f7_c14_one_that_was_removed_after_it_died_does_not_spin_either() {
    let (looper, kernel) = fake();
    let (dying, fd) = add(&looper, |_, _| panic!("called"));
    kernel.close(fd, true);
    assert!(dying.remove().is_some());

    let turn = looper.poll_once(ms(10)).unwrap();

    assert_eq!(turn, Turn { rebuilt: true, ..Turn::default() });
    assert!(kernel.calls(Call::EpollWait) <= 10);
    assert_quiet(&looper, &kernel);
}

#[test]
fn f7_many_that_died_before_the_room_for_events_grew_do_not_spin_either() {
    let (looper, kernel) = fake();
    for _ in 0..5 {
        let (dying, fd) = add(&looper, |_, _| panic!("called"));
        kernel.close(fd, true);
        assert!(dying.remove().is_some());
    }

    turns_until_rebuilt(&looper);

    assert_quiet(&looper, &kernel);
}

#[test]
fn f7_f8_one_that_reports_changes_alone_does_not_spin_either() {
    for (interest, limit) in [(Interest::empty(), 1000), (Interest::INPUT, 10)] {
        let (looper, kernel) = fake_with(|builder| builder.spin_limit(limit));
        let (dying, fd) = add(&looper, |_, _| FdNext::Keep);
        dying.set_interest(interest).unwrap();
        kernel.close(fd, true);

        let calls = (0..100).map(|_| poll(&looper).fds).sum::<usize>();

        let most = if interest.is_empty() { 1 } else { limit as usize };
        assert!((1..=most).contains(&calls), "{calls} calls of at most {most}");
        assert_quiet(&looper, &kernel);
        assert!(dying.set_interest(Interest::OUTPUT).is_err(), "its fd has died");
    }
}

#[test]
fn f6_c14_the_next_owner_of_the_number_can_register_and_gets_only_its_own_events() {
    for has_duplicate in [false, true] {
        let (looper, kernel) = fake();
        let source = Rc::new(source());
        let fd = number(&source);
        let log = Log::new();
        let dying = looper.add_fd(source.clone(), Interest::INPUT, |_, _, _| panic!("called")).unwrap();
        kernel.inject(fd, IN);
        kernel.close(fd, has_duplicate);
        let noted = log.clone();
        let note = move |_: &Looper, _: &mut Rc<OwnedFd>, events| {
            noted.note(events);
            FdNext::Keep
        };
        logged();

        let new = looper.add_fd(source.clone(), Interest::INPUT, note).unwrap();

        assert!(!dying.is_registered() && new.is_registered());
        assert!(logged().iter().all(|line| line.contains("closed under its registration")));
        assert_eq!(Rc::strong_count(&source), 2, "the old one's source is dropped");
        assert_eq!(looper.poll_once(ms(1)).unwrap().rebuilt, has_duplicate);
        assert_eq!(log.take(), [], "nothing of the new one's has happened");
        kernel.set_ready(fd, IN);
        assert_eq!(looper.poll_once(None).unwrap(), served(1));
        assert_eq!(log.take(), [Events::INPUT]);
    }
}

#[test]
fn f2_f7_one_that_died_can_be_replaced() {
    let (looper, kernel) = fake();
    let source = Rc::new(source());
    let fd = number(&source);
    looper.add_fd(source.clone(), Interest::INPUT, |_, _, _| panic!("called")).unwrap();
    kernel.close(fd, false);
    kernel.set_ready(fd, IN);

    looper.replace_fd(source, Interest::INPUT, |_, _, _| FdNext::Remove).unwrap();

    assert_eq!(looper.poll_once(None).unwrap(), served(1));
}

#[test]
fn c13_one_that_was_closed_without_a_duplicate_is_removed_without_a_word() {
    let (looper, kernel) = fake();
    let (source, fd) = add(&looper, |_, _| panic!("called"));
    kernel.set_ready(fd, IN);
    kernel.close(fd, false);
    logged();

    assert!(source.remove().is_some());

    assert!(logged().is_empty());
    assert_quiet(&looper, &kernel);
}

#[test]
fn t14_f7_events_that_were_left_over_neither_end_a_turn_nor_make_a_new_set_however_many() {
    let (looper, kernel) = fake();
    for _ in 0..3000 {
        let (source, fd) = add(&looper, |_, _| panic!("called"));
        kernel.inject(fd, IN);
        source.remove().unwrap();
        assert_eq!(looper.poll_once(ms(1)).unwrap(), timed_out());
    }

    assert_eq!(kernel.calls(Call::EpollCreate), 1);
}

#[test]
fn f7_an_error_that_says_nothing_of_the_fd_does_not_end_its_registration() {
    let (looper, kernel) = fake();
    let (source, fd) = add(&looper, |_, _| FdNext::Keep);
    kernel.set_ready(fd, IN);

    for _ in 0..1000 {
        let asked = kernel.calls(Call::EpollModify);
        kernel.fail(Call::EpollModify, Errno::ENOMEM);
        assert_eq!(looper.poll_once(None).unwrap().fds, 1);
        assert!(kernel.calls(Call::EpollModify) <= asked + 1);
    }

    assert!(source.is_registered());
    assert!((10..=20).contains(&kernel.calls(Call::EpollModify)), "it is asked about now and then");
}

#[test]
fn f7_f12_a_source_that_is_exchanged_for_another_ends_its_registration() {
    for by_its_callback in [true, false] {
        let (looper, kernel) = fake();
        let first = source();
        let fd = number(&first);
        // Held elsewhere, so that the next one has another number.
        let duplicate = first.try_clone().unwrap();
        let other_kernel = kernel.clone();
        let exchange = move |source_of_mine: &mut OwnedFd| {
            *source_of_mine = source();
            other_kernel.close(fd, true);
        };
        let exchange_too = exchange.clone();
        let exchanging = move |_: &Looper, source: &mut OwnedFd, _| {
            exchange_too(source);
            FdNext::Keep
        };
        let registration = looper.add_fd(first, Interest::INPUT, exchanging).unwrap();
        logged();

        if by_its_callback {
            kernel.set_ready(fd, IN);
            assert_eq!(looper.poll_once(None).unwrap(), served(1));
        } else {
            registration.with(exchange).unwrap();
        }

        assert!(!registration.is_registered());
        let lines = logged();
        assert!(lines.len() == 1 && lines[0].contains(file!()), "{lines:?}");
        assert!(looper.poll_once(ms(1)).unwrap().rebuilt);
        assert_quiet(&looper, &kernel);
        drop(duplicate);
    }
}
