//! What the kernel's refusals leave of a registration, and what it is told of changes.
//!
//! Holds F2, F5, F10, C18, C31, C66.

use std::io::ErrorKind;

use super::*;

#[test]
fn f2_c18_a_second_registration_is_refused_and_the_first_one_stays() {
    let (looper, kernel) = fake();
    let log = Log::new();
    let source = Rc::new(source());
    add_clone(&looper, &source, &log, "first");
    kernel.set_ready(number(&source), IN);

    let refused = looper.add_fd(source.clone(), Interest::INPUT, |_, _, _| FdNext::Remove).unwrap_err();

    assert_eq!(refused.error().raw_os_error(), Some(Errno::EEXIST as i32));
    assert!(refused.to_string().contains("replace_fd"), "{refused}");
    assert!(Rc::ptr_eq(&refused.into_source().unwrap(), &source));
    looper.poll_once(None).unwrap();
    assert_eq!((log.take(), looper.shared().fds.len()), (vec!["first"], 1));
}

#[test]
fn f2_c18_a_registration_is_known_by_its_number_whatever_becomes_of_others() {
    let (looper, kernel) = fake();
    let source = Rc::new(source());
    kernel.set_ready(number(&source), IN);
    let (other, _) = add(&looper, |_, _| FdNext::Keep);
    let old = looper.add_fd(source.clone(), Interest::INPUT, |_, _, _| panic!("it was replaced")).unwrap();

    other.remove().unwrap();

    let refused = looper.add_fd(source.clone(), Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err();
    assert_eq!(refused.error().raw_os_error(), Some(Errno::EEXIST as i32));
    looper.replace_fd(source, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
    assert!(!old.is_registered());
    assert_eq!(looper.poll_once(None).unwrap(), served(1));
}

#[test]
fn c31_c66_after_a_failed_add_the_source_is_back_and_the_same_fd_can_be_added() {
    use Errno::*;
    for errno in [ENOSPC, ENOMEM, EPERM, EBADF, ELOOP, EINVAL, EEXIST] {
        let (looper, kernel) = fake();
        let source = source();
        let fd = number(&source);
        let keep = |_: &Looper, _: &mut OwnedFd, _| FdNext::Keep;

        kernel.fail(Call::EpollAdd, errno);
        let refused = looper.add_fd(source, Interest::INPUT, keep).unwrap_err();
        assert_eq!(refused.error().raw_os_error(), Some(errno as i32));
        kernel.fail(Call::EpollAdd, errno);
        let refused = looper.add_ident(refused.into_source().unwrap(), Interest::INPUT, 1).unwrap_err();
        kernel.fail(Call::EpollAdd, errno);
        let refused = looper.replace_fd(refused.into_source().unwrap(), Interest::INPUT, keep).unwrap_err();
        kernel.fail(Call::EpollAdd, errno);
        let handle = looper.handle();
        let source = refused.into_source().unwrap();
        let refused = elsewhere(move || handle.add_fd(source, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap_err());

        let source = refused.into_source().unwrap();
        assert_eq!((number(&source), looper.shared().fds.len()), (fd, 0));
        kernel.set_ready(fd, IN);
        assert_eq!(looper.poll_once(Duration::ZERO).unwrap(), timed_out(), "{errno}: nothing is watched");
        looper.add_fd(source, Interest::INPUT, keep).unwrap();
        assert_eq!(looper.poll_once(None).unwrap(), served(1));
        assert_eq!(looper.shared().fds.len(), 1);
    }
}

/// Without a registration, an fd that is in the set after all is nobody's.
#[test]
fn c31_f2_after_a_removal_that_the_kernel_refused_the_same_fd_can_be_added() {
    let (looper, kernel) = fake();
    let (removed, fd) = add(&looper, |_, _| panic!("it was removed"));
    kernel.fail(Call::EpollDelete, Errno::ENOMEM);
    let source = removed.remove().unwrap();
    kernel.set_ready(fd, IN);

    looper.add_fd(source, Interest::INPUT, |_, _, _| FdNext::Remove).unwrap();

    assert_eq!(looper.poll_once(None).unwrap(), served(1));
    kernel.set_ready(fd, NOT_READY);
    assert_quiet(&looper, &kernel);
}

#[test]
fn c31_f8_an_fd_whose_parking_the_kernel_refused_can_be_repolled() {
    let (looper, kernel) = fake_with(|builder| builder.spin_limit(1));
    let (source, fd) = add(&looper, |_, _| FdNext::Keep);
    kernel.set_ready(fd, HUP);
    kernel.fail(Call::EpollDelete, Errno::ENOMEM);
    assert_eq!(looper.poll_once(None).unwrap(), served(1));

    source.repoll().unwrap();

    assert_eq!(looper.poll_once(None).unwrap(), served(1));
}

#[test]
fn c31_after_a_failed_replacement_the_old_registration_is_as_it_was() {
    let (looper, kernel) = fake();
    let log = Log::new();
    let source = Rc::new(source());
    add_clone(&looper, &source, &log, "old");
    kernel.set_ready(number(&source), IN);
    kernel.fail(Call::EpollModify, Errno::ENOMEM);

    let refused = looper.replace_fd(source.clone(), Interest::INPUT, |_, _, _| panic!("called")).unwrap_err();

    assert_eq!(refused.error().raw_os_error(), Some(Errno::ENOMEM as i32));
    drop(refused);
    assert_eq!(looper.poll_once(None).unwrap(), served(1));
    assert_eq!((log.take(), Rc::strong_count(&source)), (vec!["old"], 2));
}

#[test]
fn f10_repoll_keeps_the_interest_and_is_an_error_after_the_end() {
    let (looper, kernel) = fake();
    let (source, fd) = add(&looper, |_, _| FdNext::Keep);
    kernel.set_ready(fd, EpollFlags::EPOLLOUT);

    source.repoll().unwrap();
    assert_eq!(looper.poll_once(Duration::ZERO).unwrap(), timed_out(), "output was not asked for");
    kernel.set_ready(fd, IN);
    source.handle().repoll().unwrap();
    assert_eq!(looper.poll_once(Duration::ZERO).unwrap(), served(1));

    assert_eq!(kernel.calls(Call::EpollModify), 2);
    let handle = source.handle();
    source.remove().unwrap();
    assert_eq!(handle.repoll().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(handle.set_interest(Interest::OUTPUT).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(kernel.calls(Call::EpollModify), 2);
}

#[test]
fn a_failed_change_of_interest_leaves_the_registration_as_it_was() {
    let (looper, kernel) = fake();
    let (source, fd) = add(&looper, |_, _| FdNext::Keep);
    kernel.set_ready(fd, IN | EpollFlags::EPOLLOUT);
    kernel.fail(Call::EpollModify, Errno::ENOMEM);

    let error = source.set_interest(Interest::OUTPUT).unwrap_err();

    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    assert!(error.to_string().starts_with("epoll_ctl failed"), "{error}");
    source.repoll().unwrap();
    kernel.set_ready(fd, EpollFlags::EPOLLOUT);
    assert_eq!(looper.poll_once(Duration::ZERO).unwrap(), timed_out(), "it still asks for input");
}

#[test]
fn f5_an_interest_that_a_callback_cannot_have_ends_its_registration_and_says_so() {
    let (looper, kernel) = fake();
    let callback = Rc::new(());
    let held = callback.clone();
    let (source, fd) = add(&looper, move |_, _| {
        let _ = &held;
        FdNext::Interest(Interest::OUTPUT)
    });
    kernel.set_ready(fd, IN);
    kernel.fail(Call::EpollModify, Errno::ENOMEM);
    logged();

    assert_eq!(looper.poll_once(None).unwrap(), served(1));

    assert!(!source.is_registered());
    assert_eq!(Rc::strong_count(&callback), 1, "the callback is dropped");
    let lines = logged();
    assert!(lines.len() == 1 && lines[0].contains(file!()), "{lines:?}");
    assert_eq!(looper.poll_once(ms(1)).unwrap(), timed_out());
}
