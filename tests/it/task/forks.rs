//! What a forked child is told by what it has of its parent's tasks.
//!
//! Holds X2, A4.

use std::{future, rc::Rc, time::Duration};

use alooper::{
    CallError, HandlerThread, Looper, RejectReason,
    task::{AsyncFd, TaskError},
};

use crate::support::{
    HOUR,
    alone::alone,
    forks::{assert_echild, end, split},
    tasks::{Hung, Wakers, has_come_back, settle, wait_for},
};

#[test]
fn x2_a4_a_forked_child_is_told_that_tasks_are_its_parents() {
    alone("x2_a4_a_forked_child_is_told_that_tasks_are_its_parents", || {
        let looper = Looper::new().unwrap();
        let thread = HandlerThread::spawn("elsewhere").unwrap();
        let wakers = Wakers::default();
        let home = looper.spawn(Hung(wakers.clone())).unwrap();
        let done = looper.spawn(async { 7 }).unwrap();
        let afar = thread.handle().spawn(future::pending::<()>()).unwrap();
        let call = thread.handle().call_async(|_| 7);
        let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
        let near = AsyncFd::new(&looper, near).unwrap();
        let value = Rc::new(());
        settle(&looper);

        let Some(child) = split() else {
            end(move || {
                assert!(!home.cancel() && !afar.cancel());
                wakers.last().wake();
                assert_eq!(wait_for(afar), Err(TaskError::Forked));
                assert_eq!(wait_for(done), Err(TaskError::Forked));
                let told = wait_for(call);
                assert!(matches!(told, Err(CallError::Rejected(refused)) if refused.reason() == RejectReason::Forked));
                let told = wait_for(looper.handle().call_async(|_| 8));
                assert!(has_come_back(told));
                assert_echild(wait_for(near.readable()).unwrap_err());
                assert_echild(looper.block_on(future::pending::<()>()).unwrap_err());
                let refused = looper.spawn(async { 1 }).unwrap_err();
                assert_eq!(refused.reason(), RejectReason::Forked);
                assert_eq!(wait_for(refused.into_value().unwrap()), 1);
                assert_echild(thread.handle().spawn_with(|| async { 2 }).unwrap_err());
                assert!(looper.handle().with_looper(|_| ()).is_none());
                drop((home, near));

                let own = Looper::new().unwrap();
                let held = value.clone();
                let task = own.spawn(async move { drop(held) }).unwrap();
                assert_eq!(own.block_on(task).unwrap(), Ok(()));
                own.block_on(own.sleep(Duration::from_nanos(1))).unwrap();
                drop(looper);
            })
        };
        child.join("everything of its parent's");

        assert!(!looper.spawn(async {}).unwrap().is_finished());
        settle(&looper);
        assert_eq!(looper.block_on(done).unwrap(), Ok(7), "the parent has it still");
        assert_eq!(looper.block_on(call).unwrap().unwrap(), 7);
        drop(home);
        assert!(afar.cancel());
    });
}

#[test]
fn x2_a_child_that_is_forked_in_a_poll_polls_nothing_more_of_its_parents() {
    alone("x2_a_child_that_is_forked_in_a_poll_polls_nothing_more_of_its_parents", || {
        let looper = Rc::new(Looper::new().unwrap());
        let forked = looper.spawn(async { split() }).unwrap();
        let other = looper.spawn(async { 7 }).unwrap();
        let sleep = looper.spawn(looper.sleep(HOUR)).unwrap();

        let polled = looper.poll_once(None);

        if let Err(error) = polled {
            end(|| {
                assert_echild(error);
                assert_eq!(wait_for(other), Err(TaskError::Forked));
                drop((sleep, looper));
            });
        }
        let child = looper.block_on(forked).unwrap().unwrap();
        child.expect("this is the parent").join("a child of a poll");
        assert_eq!(looper.block_on(other).unwrap(), Ok(7));
    });
}
