//! Everything at once, with more threads and messages than all interleavings can be tried of.
//!
//! Holds M5, M6, Q1, Q4, R1, C1, C53, C56, C57, C63.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use loom::thread;

use super::{check, looper};
use crate::{core::shared::Quit, handler::Handler, looper::handle::LooperHandle, queue::account::MessageCounts};

/// How many of each kind there were, as those count them who post, run and remove.
#[derive(Default)]
struct Counts {
    accepted: AtomicUsize,
    ran: AtomicUsize,
    removed: AtomicUsize,
}

impl Counts {
    fn post(self: &Arc<Counts>, handle: &LooperHandle) -> Option<crate::looper::posted::Posted> {
        let counts = self.clone();
        let posted = handle.post(move |_| _ = counts.ran.fetch_add(1, Relaxed)).ok()?;
        self.accepted.fetch_add(1, Relaxed);
        Some(posted)
    }
}

/// Posts, sends, cancels, removes, holds up and wakes, each on a thread of its own, against a quit.
fn all_against_a_quit(how: Quit) {
    const EACH: usize = 4;
    let (looper, _) = looper();
    let counts = Arc::new(Counts::default());
    let handling = counts.clone();
    let handler = Handler::new(&looper, move |_, _: u32| _ = handling.ran.fetch_add(1, Relaxed));
    let acts: [fn(&Arc<Counts>, &LooperHandle, &Handler<u32>); 5] = [
        |counts, handle, _| (0..EACH).for_each(|_| drop(counts.post(handle))),
        |counts, handle, _| {
            for _ in 0..EACH {
                let is_cancelled = counts.post(handle).is_some_and(|posted| posted.cancel());
                counts.removed.fetch_add(usize::from(is_cancelled), Relaxed);
            }
        },
        |counts, _, handler| {
            for number in 0..EACH as u32 {
                let is_accepted = handler.message(number).what(number as i32 % 2).send().is_ok();
                counts.accepted.fetch_add(usize::from(is_accepted), Relaxed);
                if number % 2 == 1 {
                    counts.removed.fetch_add(handler.remove(1), Relaxed);
                }
            }
        },
        |_, handle, handler| {
            for _ in 0..2 {
                let barrier = handle.barrier();
                assert!(handler.len() <= EACH);
                drop(barrier);
            }
        },
        |_, handle, _| (0..EACH).for_each(|_| handle.wake().unwrap()),
    ];
    let threads = acts.map(|act| {
        let (counts, handle, handler) = (counts.clone(), looper.handle(), handler.clone());
        thread::spawn(move || act(&counts, &handle, &handler))
    });
    let handle = looper.handle();
    let quitter = thread::spawn(move || match how {
        Quit::Now => handle.quit(),
        Quit::Safely => handle.quit_safely(),
    });

    looper.run().unwrap();

    quitter.join().unwrap();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let MessageCounts { posted, run, removed, dropped, .. } = looper.message_counts();
    let [accepted, ran, taken] = [&counts.accepted, &counts.ran, &counts.removed].map(|count| count.load(Relaxed));
    assert_eq!((posted, run, removed), (accepted as u64, ran as u64, taken as u64));
    assert_eq!(posted, run + removed + dropped, "each ends in one way");
    assert!(looper.is_empty());
}

#[test]
fn q4_c53_c57_whatever_threads_do_against_a_quit_each_message_ends_in_one_way() {
    check(|| all_against_a_quit(Quit::Now));
}

#[test]
fn q4_c53_c57_whatever_threads_do_against_a_safe_quit_each_message_ends_in_one_way() {
    check(|| all_against_a_quit(Quit::Safely));
}

#[test]
fn m5_c1_c63_posts_of_many_threads_all_run_and_those_of_each_in_order() {
    const POSTERS: usize = 4;
    const EACH: usize = 6;
    check(|| {
        let (looper, _) = looper();
        let ran = Rc::new(RefCell::new(Vec::new()));
        let noting = ran.clone();
        let handler = Handler::new(&looper, move |_, message: (usize, usize)| noting.borrow_mut().push(message));
        let posters: Vec<_> = (0..POSTERS)
            .map(|poster| {
                let handler = handler.clone();
                thread::spawn(move || (0..EACH).for_each(|number| drop(handler.send((poster, number)).unwrap())))
            })
            .collect();

        while ran.borrow().len() < POSTERS * EACH {
            looper.poll_once(None).unwrap();
        }

        posters.into_iter().for_each(|poster| poster.join().unwrap());
        for poster in 0..POSTERS {
            let numbers =
                ran.borrow().iter().filter(|(by, _)| *by == poster).map(|(_, number)| *number).collect::<Vec<_>>();
            assert!(numbers.iter().copied().eq(0..EACH), "those of {poster} ran as {numbers:?}");
        }
    });
}

#[test]
fn c56_barriers_that_come_and_go_hold_nothing_up_for_ever() {
    const EACH: usize = 4;
    check(|| {
        let (looper, _) = looper();
        let counts = Arc::new(Counts::default());
        let holders: Vec<_> = (0..2)
            .map(|_| {
                let handle = looper.handle();
                thread::spawn(move || (0..EACH).for_each(|_| drop(handle.barrier())))
            })
            .collect();
        let posters: Vec<_> = (0..2)
            .map(|_| {
                let (handle, counts) = (looper.handle(), counts.clone());
                thread::spawn(move || (0..EACH).for_each(|_| drop(counts.post(&handle))))
            })
            .collect();

        while counts.ran.load(Relaxed) < 2 * EACH {
            looper.poll_once(None).unwrap();
        }

        holders.into_iter().chain(posters).for_each(|thread| thread.join().unwrap());
        assert!(looper.is_empty());
    });
}
