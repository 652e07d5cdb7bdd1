//! Very many handlers and messages: none is lost, none leaves anything behind, and none is dropped by recursion.
//!
//! Holds H1, H2, M6, R1, W3, X4, C79.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use alooper::{Handler, HandlerThread, Looper, LooperHandle};

use crate::support::{
    HOUR,
    alone::alone,
    handlers::{WHERES, assert_report, elsewhere, told},
    memory::resident_bytes,
    watched,
};

#[track_caller]
fn assert_handlers(handle: &LooperHandle, count: usize) {
    let dump = handle.dump().to_string();
    assert!(dump.contains(&format!("handlers: {count}\n")), "{dump}");
}

/// Each may get what an ended one has left, and comes while the looper runs messages: it always has one.
#[test]
fn h2_m6_handlers_that_other_threads_make_and_drop_at_once_all_handle_their_message() {
    const EACH: usize = 500;
    watched(|| {
        let looper = Looper::new().unwrap();
        let ran = Arc::new(AtomicUsize::new(0));
        let ticks = looper.post_every(Duration::ZERO, |_| ControlFlow::Continue(())).unwrap();
        let makers: Vec<_> = (0..2)
            .map(|_| {
                let (handle, ran) = (looper.handle(), ran.clone());
                thread::spawn(move || {
                    for _ in 0..EACH {
                        let ran = ran.clone();
                        let count = move |_: &Looper, ()| _ = ran.fetch_add(1, Ordering::Relaxed);
                        handle.handler(count).unwrap().send(()).unwrap();
                    }
                })
            })
            .collect();

        while !makers.iter().all(|maker| maker.is_finished()) || looper.len() > 1 {
            looper.poll_once(Duration::ZERO).unwrap();
        }

        makers.into_iter().for_each(|maker| maker.join().unwrap());
        assert_eq!(ran.load(Ordering::Relaxed), 2 * EACH);
        assert!(ticks.cancel());
        looper.poll_once(Duration::ZERO).unwrap();
        assert_handlers(&looper.handle(), 0);
    });
}

/// In a process of its own, for its memory. A looper that has quit or is gone may never tidy up again: what it noted
/// of a refused handler it would keep, and a dump, which leaves out what has ended, would not show it.
#[test]
fn h1_handlers_that_are_refused_leave_nothing_behind() {
    const COUNT: usize = 50_000;
    /// What would be kept of all of them takes more than twice as much.
    const SLACK: usize = 2 << 20;
    alone("h1_handlers_that_are_refused_leave_nothing_behind", || {
        let looper = Looper::new().unwrap();
        looper.quit();
        let gone = Looper::new().unwrap().handle();
        for (handle, place) in [looper.handle(), gone].iter().flat_map(|handle| WHERES.map(|place| (handle, place))) {
            let refuse = || (0..COUNT).for_each(|_| assert!(handle.handler(|_, _: u32| ()).is_err()));
            place.ask(refuse);
            let before = resident_bytes();

            place.ask(refuse);

            let more = resident_bytes().saturating_sub(before);
            assert!(more < SLACK, "{more} bytes, {place:?}, of {handle:?}");
            assert_handlers(handle, 0);
        }
    });
}

/// C79: the end of one that is done for ends the next one, each in the turn of the one before it.
#[test]
fn x4_a_chain_of_handlers_that_each_hold_the_next_one_ends_without_recursion() {
    const LENGTH: u32 = 20_000;
    watched(|| {
        let small = thread::Builder::new().stack_size(64 * 1024);
        let thread = small.spawn(|| {
            let looper = Looper::new().unwrap();
            let (own, last_dropped) = told();
            let last = Handler::new(&looper, move |_, _: u32| own.hold());
            let chain = (0..LENGTH).fold(last, |next, _| Handler::new(&looper, move |_, _| _ = next.len()));
            assert_handlers(&looper.handle(), LENGTH as usize + 1);

            drop(chain);

            assert_eq!(last_dropped.try_iter().count(), 1);
            assert_handlers(&looper.handle(), 0);
        });
        thread.unwrap().join().unwrap();
    });
}

/// C79: a smaller number than its ten million, but many times what recursion could do on this stack.
#[test]
fn x4_all_that_a_quit_gives_up_of_a_handler_without_fronts_is_dropped_on_a_small_stack() {
    const COUNT: u64 = 50_000;
    watched(|| {
        let small = thread::Builder::new().stack_size(64 * 1024);
        let thread = small.spawn(|| {
            let looper = Looper::new().unwrap();
            let (own, dropped) = told();
            let handler = Handler::new(&looper, move |_, _| own.hold());
            (0..COUNT).for_each(|_| drop(handler.send_delayed(HOUR, 1).unwrap()));
            let handle = looper.handle();
            elsewhere(|| {
                drop(handler);
                handle.quit();
            });
            assert!(looper.is_empty());

            assert!(looper.poll_once(None).unwrap().quit);

            assert_eq!(dropped.try_iter().count(), 1);
            assert_report(looper.message_counts(), COUNT, 0, 0, COUNT);
            assert_handlers(&looper.handle(), 0);
        });
        thread.unwrap().join().unwrap();
    });
}

/// So many that the looper runs some while they are removed, or told of.
#[test]
fn r1_of_very_many_that_run_while_they_are_removed_each_is_counted_once_and_none_starts_after() {
    const COUNT: usize = 20_000;
    type Remove = fn(&Handler<usize>) -> usize;
    let removes: [Remove; 3] = [Handler::clear, |handler| handler.remove(1), |handler| handler.remove_if(|_| true)];
    for remove in removes {
        watched(move || {
            let [ran, late] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
            let is_removed = Arc::new(AtomicBool::new(false));
            let worker = HandlerThread::spawn("worker").unwrap();
            let (count, count_late, is_over) = (ran.clone(), late.clone(), is_removed.clone());
            let handle = move |_: &Looper, message: usize| {
                count.fetch_add(1, Ordering::Relaxed);
                let is_late = message < COUNT && is_over.load(Ordering::Relaxed);
                count_late.fetch_add(usize::from(is_late), Ordering::Relaxed);
            };
            let handler = worker.handle().handler(handle).unwrap();
            let (go, may_go) = mpsc::channel::<()>();
            worker.handle().post(move |_| may_go.recv().unwrap()).unwrap();
            (0..COUNT).for_each(|number| _ = handler.message(number).what(1).send().unwrap());

            go.send(()).unwrap();
            let removed = remove(&handler);
            is_removed.store(true, Ordering::Relaxed);

            handler.send(COUNT).unwrap();
            worker.quit_safely();
            let report = worker.join().unwrap();
            assert_eq!(ran.load(Ordering::Relaxed) + removed, COUNT + 1);
            // One may have begun, and not have come to its first line.
            assert!(late.load(Ordering::Relaxed) <= 1);
            assert_report(report, COUNT as u64 + 2, (COUNT + 2 - removed) as u64, removed as u64, 0);
        });
    }
}

#[test]
fn w3_a_dump_of_very_many_tells_each_that_stays_once_whatever_runs_meanwhile() {
    watched(|| {
        let worker = HandlerThread::spawn("worker").unwrap();
        let handler = worker.handle().handler(|_, _: u32| ()).unwrap();
        (0..3000).for_each(|_| _ = handler.message(1).what(7).send_delayed(HOUR).unwrap());
        worker.handle().post_every(Duration::ZERO, |_| ControlFlow::Continue(())).unwrap();

        for _ in 0..10 {
            let dump = worker.handle().dump().to_string();
            assert_eq!(dump.matches("what 7").count(), 3000);
        }
    });
}
