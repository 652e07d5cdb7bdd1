//! Whom an event reaches after registrations were changed in the same batch, or by another thread.
//!
//! Holds F2, F4, F5, F6, F9, F11, C15, C16, C22, C23, C24, C26, C27.

use super::*;
use crate::looper::report::ReadyIdent;

type Later<T> = Rc<RefCell<Option<T>>>;

#[test]
fn f6_c15_c16_a_new_registration_of_the_same_slot_and_fd_number_gets_no_old_event() {
    let (looper, kernel) = fake();
    let log = Log::new();
    let other: Later<FdSource<OwnedFd>> = Rc::default();
    let (held, noted) = (other.clone(), log.clone());
    let (_a, a) = add(&looper, move |looper, _| {
        noted.note("a");
        if let Some(old) = held.take() {
            let (source, noted) = (old.remove().expect("its callback does not run"), noted.clone());
            let note = move |_: &Looper, _: &mut OwnedFd, _| {
                noted.note("new");
                FdNext::Keep
            };
            looper.add_fd(source, Interest::INPUT, note).unwrap();
        }
        FdNext::Keep
    });
    let (old, b) = add_noting(&looper, &log, "old");
    other.replace(Some(old));
    for fd in [a, b] {
        kernel.set_ready(fd, IN);
    }

    assert_eq!(looper.poll_once(None).unwrap(), served(1));
    assert_eq!(log.take(), ["a"]);
    assert_eq!(looper.poll_once(None).unwrap(), served(2), "and the new one has its events from the next turn on");
    assert_eq!(log.take(), ["a", "new"]);
}

#[test]
fn f4_c22_a_callback_that_ends_itself_is_not_called_again_though_its_fd_stays_ready() {
    let (looper, kernel) = fake();
    let (_by_result, first) = add(&looper, |_, _| FdNext::Remove);
    let own: Later<FdSource<OwnedFd>> = Rc::default();
    let held = own.clone();
    let (source, second) = add(&looper, move |_, _| {
        assert!(held.take().expect("it is called once").remove().is_none(), "its source is lent to it");
        FdNext::Keep
    });
    own.replace(Some(source));
    for fd in [first, second] {
        kernel.set_ready(fd, IN);
    }

    assert_eq!(looper.poll_once(None).unwrap(), served(2));
    assert_eq!(looper.poll_once(ms(10)).unwrap(), timed_out());

    assert_eq!(looper.shared().fds.len(), 0);
}

#[test]
fn f4_c23_one_that_another_callback_ends_is_not_called_again_in_either_order_or_from_another_thread() {
    fn remove_here(victim: FdSource<OwnedFd>) {
        assert!(victim.remove().is_some());
    }
    fn remove_elsewhere(victim: FdSource<OwnedFd>) {
        let handle = victim.handle();
        assert!(elsewhere(move || handle.remove()));
    }
    for remove in [remove_here, remove_elsewhere] {
        for victim_is_first in [false, true] {
            let (looper, kernel) = fake();
            let log = Log::new();
            let victim: Later<FdSource<OwnedFd>> = Rc::default();
            let early = victim_is_first.then(|| add_noting(&looper, &log, "victim"));
            let (held, noted) = (victim.clone(), log.clone());
            let (_killer, killer) = add(&looper, move |_, _| {
                noted.note("killer");
                held.take().into_iter().for_each(remove);
                FdNext::Keep
            });
            let (source, fd) = early.unwrap_or_else(|| add_noting(&looper, &log, "victim"));
            victim.replace(Some(source));
            for fd in [fd, killer] {
                kernel.set_ready(fd, IN);
            }

            looper.poll_once(None).unwrap();
            assert_eq!(log.take(), if victim_is_first { vec!["victim", "killer"] } else { vec!["killer"] });
            assert_eq!(looper.poll_once(None).unwrap(), served(1));
            assert_eq!(log.take(), ["killer"]);
        }
    }
}

#[test]
fn f5_c24_one_that_ends_itself_and_registers_its_fd_again_is_called_from_the_next_turn_once_a_turn() {
    let (looper, kernel) = fake();
    let source = Rc::new(source());
    let fd = number(&source);
    let log = Log::new();
    let (again, noted) = (source.clone(), log.clone());
    let own: Later<FdSource<Rc<OwnedFd>>> = Rc::default();
    let held = own.clone();
    let registration = looper.add_fd(source, Interest::INPUT, move |looper, _, _| {
        noted.note("old");
        held.take().expect("it is called once").remove();
        add_clone(looper, &again, &noted, "new");
        FdNext::Remove
    });
    own.replace(registration.ok());
    kernel.set_ready(fd, IN);

    (0..3).for_each(|_| assert_eq!(looper.poll_once(None).unwrap(), served(1)));

    assert_eq!(log.take(), ["old", "new", "new"]);
}

#[test]
fn f5_c26_what_a_callback_returns_does_not_apply_to_the_one_that_replaced_it() {
    for next in [FdNext::Keep, FdNext::Remove, FdNext::Interest(Interest::OUTPUT)] {
        let (looper, kernel) = fake();
        let source = Rc::new(source());
        let fd = number(&source);
        let again = source.clone();
        looper
            .add_fd(source, Interest::INPUT, move |looper, _, _| {
                looper.replace_fd(again.clone(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
                next
            })
            .unwrap();
        kernel.set_ready(fd, IN);

        (0..3).for_each(|_| assert_eq!(looper.poll_once(ms(1)).unwrap(), served(1), "{next:?}"));
    }
}

#[test]
fn f2_of_one_that_is_replaced_in_the_same_batch_only_the_new_callback_is_ever_called() {
    let (looper, kernel) = fake();
    let log = Log::new();
    let source = Rc::new(source());
    let (replacement, noted) = (source.clone(), log.clone());
    let (_killer, killer) = add(&looper, move |looper, _| {
        let noted = noted.clone();
        let note = move |_: &Looper, _: &mut Rc<OwnedFd>, _| {
            noted.note("new");
            FdNext::Keep
        };
        looper.replace_fd(replacement.clone(), Interest::INPUT, note).unwrap();
        FdNext::Remove
    });
    add_clone(&looper, &source, &log, "old");
    for fd in [killer, number(&source)] {
        kernel.set_ready(fd, IN);
    }
    logged();

    assert_eq!(looper.poll_once(None).unwrap(), served(1));
    assert_eq!(looper.poll_once(None).unwrap(), served(1));

    assert_eq!((log.take(), logged()), (vec!["new"], vec![]));
    assert_eq!(Rc::strong_count(&source), 2, "the old one's source is dropped, as is the killer's");
}

#[test]
fn f2_one_that_replaced_another_can_be_removed_and_its_fd_be_added_again() {
    let (looper, kernel) = fake();
    let log = Log::new();
    let source = Rc::new(source());
    kernel.set_ready(number(&source), IN);
    for _ in 0..3 {
        add_clone(&looper, &source, &log, "first");
        let second = looper.replace_fd(source.clone(), Interest::INPUT, |_, _, _| panic!("called")).unwrap();

        assert!(second.remove().is_some());

        assert_eq!(looper.poll_once(ms(1)).unwrap(), timed_out());
    }
    assert_eq!((log.take(), Rc::strong_count(&source)), (vec![], 1));
}

#[test]
fn f9_an_ident_that_a_callback_of_the_same_batch_removes_is_not_reported_in_either_order() {
    for ident_is_first in [false, true] {
        let (looper, kernel) = fake();
        let (goes, stays) = (source(), source());
        let numbers = [number(&goes), number(&stays)];
        let add_goes = || looper.add_ident(goes, Interest::INPUT, 1).unwrap();
        let ident: Later<FdSource<OwnedFd>> = Rc::default();
        let held = ident.clone();
        let add_killer = || {
            add(&looper, move |_, _| {
                held.take().map_or(FdNext::Keep, |ident| {
                    assert!(ident.remove().is_some());
                    FdNext::Remove
                })
            })
        };
        let killer = if ident_is_first {
            ident.replace(Some(add_goes()));
            add_killer().1
        } else {
            let killer = add_killer().1;
            ident.replace(Some(add_goes()));
            killer
        };
        looper.add_ident(stays, Interest::INPUT, 2).unwrap();
        numbers.into_iter().chain([killer]).for_each(|fd| kernel.set_ready(fd, IN));

        let idents = vec![ReadyIdent::new(2, Events::INPUT)];
        assert_eq!(looper.poll_once(None).unwrap(), Turn { fds: 1, idents: idents.clone(), ..Turn::default() });
        assert_eq!(looper.poll_once(None).unwrap(), Turn { idents, ..Turn::default() });
    }
}

#[test]
fn f9_an_ident_is_not_reported_after_it_was_removed() {
    let (looper, kernel) = fake();
    let source = source();
    let fd = number(&source);
    let ident = looper.add_ident(source, Interest::INPUT, 1).unwrap();
    kernel.set_ready(fd, IN);
    kernel.inject(fd, IN);
    ident.remove().unwrap();

    assert_eq!(looper.poll_once(ms(10)).unwrap(), timed_out(), "T14: nor does its last event end the turn");
}

#[test]
fn c27_a_change_of_interest_from_another_thread_takes_effect_within_that_sleep() {
    let (looper, kernel) = fake();
    let log = Log::new();
    let noted = log.clone();
    let (source, fd) = add(&looper, move |_, events| {
        noted.note(events);
        FdNext::Interest(Interest::INPUT)
    });
    kernel.set_ready(fd, EpollFlags::EPOLLOUT);
    let handle = source.handle();
    kernel.during_next_wait(move || elsewhere(move || handle.set_interest(Interest::OUTPUT).unwrap()));

    assert_eq!(looper.poll_once(None).unwrap(), served(1));
    assert_eq!(looper.poll_once(Duration::ZERO).unwrap(), timed_out(), "its callback asks for input again");

    assert_eq!(log.take(), [Events::OUTPUT]);
}

#[test]
fn f4_c27_an_interest_that_a_callback_takes_from_another_of_its_batch_is_not_reported_any_more() {
    for interest in [Interest::OUTPUT, Interest::empty()] {
        let (looper, kernel) = fake();
        let log = Log::new();
        let other: Later<FdSource<OwnedFd>> = Rc::default();
        let held = other.clone();
        let (_changer, changer) = add(&looper, move |_, _| {
            held.take().expect("it is called once").set_interest(interest).unwrap();
            FdNext::Remove
        });
        let noted = log.clone();
        let (source, fd) = add(&looper, move |_, events| {
            noted.note(events);
            FdNext::Keep
        });
        other.replace(Some(source));
        for fd in [changer, fd] {
            kernel.set_ready(fd, IN);
        }

        assert_eq!(looper.poll_once(None).unwrap(), served(1), "{interest:?}");
        assert_eq!(looper.poll_once(Duration::ZERO).unwrap(), timed_out());
        kernel.set_ready(fd, IN | HUP);
        assert_eq!(looper.poll_once(None).unwrap(), served(1));

        assert_eq!(log.take(), [Events::HANGUP]);
    }
}

#[test]
fn f11_an_fd_that_another_thread_adds_is_served_within_that_sleep() {
    let (looper, kernel) = fake();
    let start = looper.now();
    let source = source();
    kernel.set_ready(number(&source), IN);
    let handle = looper.handle();
    kernel.during_next_wait(move || {
        elsewhere(move || drop(handle.add_fd(source, Interest::INPUT, |_, _, _| FdNext::Remove).unwrap()));
    });

    assert_eq!(looper.poll_once(DAY).unwrap(), served(1));

    assert_eq!((looper.now(), kernel.calls(Call::EventfdWrite)), (start, 0), "the kernel itself tells of it");
    assert_eq!(looper.shared().fds.len(), 0);
}

#[test]
fn f6_f11_one_that_another_thread_removes_and_one_that_takes_its_slot_are_kept_apart() {
    let (looper, kernel) = fake();
    let callback = Rc::new(());
    let held = callback.clone();
    let (old, old_fd) = add(&looper, move |_, _| panic!("called, with {held:?}"));
    kernel.set_ready(old_fd, IN);
    let new = source();
    kernel.set_ready(number(&new), IN);
    let (old, handle) = (old.handle(), looper.handle());

    elsewhere(move || {
        assert!(old.remove());
        handle.add_fd(new, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
    });

    (0..2).for_each(|_| assert_eq!(looper.poll_once(Duration::ZERO).unwrap(), served(1)));
    assert_eq!(Rc::strong_count(&callback), 1, "what was removed is dropped here");
}

#[test]
fn f6_f11_one_that_another_thread_adds_and_removes_does_not_displace_one_that_took_its_slot() {
    let (looper, kernel) = fake();
    let handle = looper.handle();
    elsewhere(move || {
        let added = handle.add_fd(source(), Interest::INPUT, |_, _, _| panic!("called")).unwrap();
        assert!(added.remove());
    });

    let (kept, fd) = add(&looper, |_, _| FdNext::Keep);
    kernel.set_ready(fd, IN);

    (0..2).for_each(|_| assert_eq!(looper.poll_once(Duration::ZERO).unwrap(), served(1)));
    assert!(kept.remove().is_some());
}

/// A chat server that said each time what it was interested in spent three quarters of its time there.
#[test]
fn f14_to_set_the_interest_that_it_has_already_makes_no_system_call() {
    let (looper, kernel) = fake();
    let (source, _fd) = add(&looper, |_, _| FdNext::Keep);
    source.set_interest(Interest::INPUT | Interest::OUTPUT).unwrap();
    let calls = kernel.calls(Call::EpollModify);
    assert_eq!(source.interest(), Some(Interest::INPUT | Interest::OUTPUT));

    (0..1000).for_each(|_| source.set_interest(Interest::INPUT | Interest::OUTPUT).unwrap());
    let handle = source.handle();
    elsewhere(move || {
        handle.set_interest(Interest::INPUT | Interest::OUTPUT).unwrap();
        assert_eq!(handle.interest(), Some(Interest::INPUT | Interest::OUTPUT));
    });

    assert_eq!(kernel.calls(Call::EpollModify), calls);
    source.set_interest(Interest::INPUT).unwrap();
    source.set_interest(Interest::empty()).unwrap();
    source.set_interest(Interest::empty()).unwrap();
    assert_eq!(kernel.calls(Call::EpollModify), calls + 2);
    assert!(source.remove().is_some());
    assert_eq!(source.interest(), None);
}

/// F8: an empty interest that has told of a hang-up tells of it again when it is set again.
#[test]
fn f8_f14_an_empty_interest_that_is_set_again_reports_a_hangup_again() {
    let (looper, kernel) = fake();
    let (source, fd) = add(&looper, |_, _| FdNext::Keep);
    source.set_interest(Interest::empty()).unwrap();
    kernel.set_ready(fd, HUP);
    assert_eq!((poll(&looper), poll(&looper)), (served(1), timed_out()));

    source.set_interest(Interest::empty()).unwrap();

    assert_eq!((poll(&looper), poll(&looper)), (served(1), timed_out()));
}
