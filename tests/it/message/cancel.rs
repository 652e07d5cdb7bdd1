//! Cancelling what was posted, and asking what is pending: from any thread, exact.
//!
//! Holds R1, R2, R4, C42, C43, C44, C45, C52, C53.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use alooper::{Looper, LooperHandle, Posted};

use crate::support::{
    Elsewhere, HOUR, alone::alone, dice::Dice, handlers::elsewhere, memory::resident_bytes, ms, watched,
};

fn take_any<T>(list: &mut Vec<T>, dice: &mut Dice) -> T {
    list.swap_remove(dice.below(list.len() as u64) as usize)
}

#[test]
fn r1_what_is_cancelled_does_not_start_and_only_the_first_cancel_says_so() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let posted = [
            looper.post(|_| panic!("cancelled")).unwrap(),
            looper.post_delayed(ms(1), |_| panic!("cancelled")).unwrap(),
            looper.post_at(looper.now() - HOUR, |_| panic!("cancelled")).unwrap(),
            looper.post_at_front(|_| panic!("cancelled")).unwrap(),
            handle.post(|_| panic!("cancelled")).unwrap(),
            handle.post_delayed(ms(1), |_| panic!("cancelled")).unwrap(),
            handle.post_at_front(|_| panic!("cancelled")).unwrap(),
        ];
        looper.post(|_| ()).unwrap();

        for (index, posted) in posted.iter().enumerate() {
            let cancel = || (posted.is_pending(), posted.cancel(), posted.is_pending(), posted.cancel());
            let answers = if index % 2 == 0 { cancel() } else { elsewhere(cancel) };
            assert_eq!(answers, (true, true, false, false));
        }

        assert_eq!(looper.len(), 1);
        assert_eq!(looper.poll_once(ms(3)).unwrap().messages, 1);
        assert!(looper.poll_once(ms(3)).unwrap().timed_out);
        assert_eq!(looper.message_counts().removed, 7);
    });
}

#[test]
fn r1_a_message_that_has_run_cannot_be_cancelled() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let posted = [looper.post(|_| ()).unwrap(), looper.handle().post(|_| ()).unwrap()];

        looper.poll_once(None).unwrap();

        assert!(posted.iter().all(|posted| !posted.is_pending() && !posted.cancel()));
        assert_eq!((looper.message_counts().run, looper.message_counts().removed), (2, 0));
    });
}

#[test]
fn r1_a_message_that_runs_is_not_affected_by_its_cancel_from_elsewhere() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (sender, its_handle) = mpsc::channel::<Posted>();
        let finished = Rc::new(Cell::new(false));
        let is_finished = finished.clone();
        let posted = looper.post(move |_| {
            let posted = its_handle.recv().unwrap();
            assert_eq!(elsewhere(|| (posted.is_pending(), posted.cancel())), (false, false));
            is_finished.set(true);
        });
        sender.send(posted.unwrap()).unwrap();

        assert_eq!(looper.poll_once(None).unwrap().messages, 1);

        assert!(finished.get());
        assert_eq!(looper.message_counts().removed, 0);
    });
}

/// C42 and C52: also one that is due in the same turn.
#[test]
fn r1_a_message_cancels_others_of_its_turn_but_not_itself() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let own: Rc<Cell<Option<Posted>>> = Rc::default();
        let is_own = own.clone();
        let (sender, victims) = mpsc::channel::<Posted>();
        let canceller = looper.post_at_front(move |_| {
            assert!(!is_own.take().unwrap().cancel());
            for victim in victims.try_iter() {
                assert!(victim.is_pending());
                assert!(victim.cancel());
            }
        });
        own.set(Some(canceller.unwrap()));
        looper.post(|_| ()).unwrap();
        sender.send(looper.post(|_| panic!("cancelled")).unwrap()).unwrap();
        sender.send(looper.handle().post(|_| panic!("cancelled")).unwrap()).unwrap();
        sender.send(looper.post_delayed(ms(1), |_| panic!("cancelled")).unwrap()).unwrap();
        looper.post(|_| ()).unwrap();

        let turn = looper.poll_once(None).unwrap();

        assert_eq!((turn.messages, turn.more), (3, false));
        assert!(looper.poll_once(ms(3)).unwrap().timed_out);
    });
}

#[test]
fn r2_clones_of_a_posted_name_the_same_message() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let posted = looper.post(|_| ()).unwrap();
        let clone = posted.clone();

        assert!(clone.cancel());

        assert!(!posted.is_pending() && !posted.cancel());
        assert!(looper.is_empty());
    });
}

#[test]
fn r2_dropping_what_posting_returned_cancels_nothing_but_a_guard_does() {
    watched(|| {
        let looper = Looper::new().unwrap();
        drop(looper.post(|_| ()).unwrap());
        let guard = looper.post(|_| panic!("cancelled")).unwrap().guard();
        let remote = looper.handle().post(|_| panic!("cancelled")).unwrap().guard();
        assert!(guard.posted().is_pending());
        assert_eq!(looper.len(), 3);

        drop(guard);
        elsewhere(move || drop(remote));

        assert_eq!(looper.len(), 1);
        assert_eq!(looper.poll_once(None).unwrap().messages, 1);
    });
}

#[test]
fn r2_a_guard_of_a_message_that_has_run_does_nothing() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let guard = looper.post(|_| ()).unwrap().guard();
        looper.poll_once(None).unwrap();
        looper.post(|_| ()).unwrap();

        drop(guard);

        assert_eq!((looper.len(), looper.message_counts().removed), (1, 0));
    });
}

#[test]
fn r4_len_and_is_pending_are_exact_after_each_of_thousands_of_steps_on_any_thread() {
    watched(|| {
        let looper = Looper::builder().budget(3).build().unwrap();
        let handle = looper.handle();
        let mut dice = Dice(0xdeca_f000);
        let mut pending: Vec<Posted> = Vec::new();
        for step in 0..3000 {
            match dice.below(6) {
                0 => pending.push(looper.post(|_| ()).unwrap()),
                1 => pending.push(elsewhere(|| handle.post(|_| ()).unwrap())),
                2 => pending.push(handle.post_delayed(HOUR, |_| ()).unwrap()),
                3 if step % 10 == 0 => {
                    let ran = looper.poll_once(Duration::ZERO).unwrap().messages;
                    let before = pending.len();
                    pending.retain(Posted::is_pending);
                    assert_eq!(before - pending.len(), ran);
                }
                _ if pending.is_empty() => {}
                4 => assert!(take_any(&mut pending, &mut dice).cancel()),
                _ => {
                    let posted = take_any(&mut pending, &mut dice);
                    assert!(elsewhere(|| posted.cancel()));
                }
            }
            assert_eq!(looper.len(), pending.len());
            assert_eq!(looper.is_empty(), pending.is_empty());
            if step % 50 == 0 {
                assert_eq!(elsewhere(|| (handle.len(), handle.is_empty())), (pending.len(), pending.is_empty()));
                assert!(pending.iter().all(Posted::is_pending));
            }
        }
        let report = looper.message_counts();
        assert_eq!(report.posted - report.run - report.removed, pending.len() as u64);
    });
}

#[test]
fn c43_cancelling_some_timers_disturbs_no_other() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let mut dice = Dice(0x5eed);
        let (sender, ran) = mpsc::channel();
        let start = looper.now();
        let mut expected = Vec::new();
        let mut posted = Vec::new();
        for index in 0..1000 {
            let due = start + Duration::from_micros(dice.below(3000));
            let sender = sender.clone();
            expected.push((due, index));
            posted.push(looper.post_at(due, move |_| sender.send((due, index)).unwrap()).unwrap());
        }
        for (index, posted) in posted.iter().enumerate() {
            if dice.below(2) == 0 {
                assert!(posted.cancel());
                expected.retain(|(_, other)| *other != index);
            }
        }

        while !looper.is_empty() {
            looper.poll_once(None).unwrap();
        }

        expected.sort_by_key(|(due, _)| *due);
        assert_eq!(ran.try_iter().collect::<Vec<_>>(), expected);
    });
}

/// Posts and cancels many times.
fn arm_and_cancel(times: usize, handle: &LooperHandle) {
    for index in 0..times {
        let payload = Box::new(index);
        let posted = match index % 3 {
            0 => handle.post(|_| drop(payload)).unwrap(),
            1 => handle.post_delayed(HOUR, |_| drop(payload)).unwrap(),
            _ => handle.post_at_front(|_| drop(payload)).unwrap(),
        };
        assert!(posted.cancel());
    }
}

#[test]
fn c44_hundreds_of_thousands_posted_and_cancelled_leave_no_memory_behind() {
    alone("c44_hundreds_of_thousands_posted_and_cancelled_leave_no_memory_behind", || {
        const TIMES: usize = 240_000;
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        for _ in 0..100 {
            looper.post_delayed(HOUR, |_| ()).unwrap();
        }
        arm_and_cancel(10_000, &handle);
        let memory = resident_bytes();

        // The looper takes no turn meanwhile, so nothing is cleared up later.
        arm_and_cancel(TIMES / 2, &handle);
        elsewhere(|| arm_and_cancel(TIMES / 4, &handle));
        for _ in 0..TIMES / 4 {
            assert!(looper.post_delayed(HOUR, |_| ()).unwrap().cancel());
        }

        // A leak of three bytes each would be more.
        let grown = resident_bytes().saturating_sub(memory);
        assert!(grown < 512 * 1024, "{grown} bytes more");
        assert_eq!(looper.len(), 100);
        assert_eq!(looper.message_counts().removed, TIMES as u64 + 10_000);
    });
}

#[test]
fn c45_a_stale_posted_never_touches_a_later_message() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let mut stale = Vec::new();
        for round in 0..200 {
            let posted = looper.post(|_| ()).unwrap();
            match round % 2 {
                0 => assert!(posted.cancel()),
                _ => assert_eq!(looper.poll_once(None).unwrap().messages, 1),
            }
            stale.push(posted);
        }
        let fresh: Vec<_> = (0..10).map(|_| looper.post(|_| ()).unwrap()).collect();

        assert!(stale.iter().all(|stale| !stale.is_pending() && !stale.cancel()));

        assert!(fresh.iter().all(Posted::is_pending));
        assert_eq!(looper.poll_once(None).unwrap().messages, 10);
    });
}

/// The looper runs what two threads cancel and a third one posts.
#[test]
fn c53_each_message_runs_or_is_cancelled_by_one_of_the_racing_threads() {
    const MESSAGES: usize = 20_000;
    watched(|| {
        let looper = Elsewhere::run(|_| ());
        let handle = looper.handle.clone();
        // By message: how often it ran or was cancelled.
        let ends: Arc<Vec<AtomicU32>> = Arc::new((0..MESSAGES).map(|_| AtomicU32::new(0)).collect());
        let cancellers: Vec<_> = (0..2)
            .map(|_| {
                let (sender, victims) = mpsc::channel::<(usize, Posted)>();
                let ends = ends.clone();
                let cancel_all = move || {
                    let mut cancelled = 0;
                    for (index, posted) in victims {
                        if posted.cancel() {
                            assert!(!posted.is_pending());
                            ends[index].fetch_add(1, Ordering::Relaxed);
                            cancelled += 1;
                        }
                    }
                    cancelled
                };
                (sender, thread::spawn(cancel_all))
            })
            .collect();
        for index in 0..MESSAGES {
            let its_ends = ends.clone();
            let run = move |_: &Looper| {
                its_ends[index].fetch_add(1, Ordering::Relaxed);
            };
            let posted = handle.post(run).unwrap();
            for (victims, _) in &cancellers {
                victims.send((index, posted.clone())).unwrap();
            }
        }
        let cancelled: u64 = cancellers
            .into_iter()
            .map(|(victims, thread)| {
                drop(victims);
                thread.join().unwrap()
            })
            .sum();
        handle.quit_safely();
        let report = looper.join();

        assert_eq!((report.posted, report.dropped), (MESSAGES as u64, 0));
        assert_eq!((report.removed, report.run), (cancelled, MESSAGES as u64 - cancelled));
        assert!(ends.iter().all(|ends| ends.load(Ordering::Relaxed) == 1));
    });
}

#[test]
fn c53_local_messages_that_another_thread_cancels_while_they_run_end_in_one_way() {
    const MESSAGES: usize = 5_000;
    watched(|| {
        let (sender, victims) = mpsc::channel::<Posted>();
        // By message: how often it ran, and then how often it was dropped on the looper's thread.
        let ends: Arc<Vec<(AtomicU32, AtomicU32)>> = Arc::new((0..MESSAGES).map(|_| Default::default()).collect());
        let its_ends = ends.clone();
        let looper = Elsewhere::run(move |looper| {
            for index in 0..MESSAGES {
                let end = End { ends: its_ends.clone(), index, home: thread::current().id() };
                let posted = looper.post(move |_| {
                    end.ends[end.index].0.fetch_add(1, Ordering::Relaxed);
                });
                sender.send(posted.unwrap()).unwrap();
            }
        });
        // From the last on, so that looper and canceller meet.
        let victims: Vec<_> = victims.iter().collect();
        let cancelled = victims.iter().rev().filter(|posted| posted.cancel()).count();
        looper.handle.quit_safely();
        let report = looper.join();

        assert_eq!((report.removed, report.run), (cancelled as u64, (MESSAGES - cancelled) as u64));
        let runs: u32 = ends.iter().map(|(runs, _)| runs.load(Ordering::Relaxed)).sum();
        assert_eq!(runs as usize, MESSAGES - cancelled);
        assert!(ends.iter().all(|(runs, _)| runs.load(Ordering::Relaxed) <= 1));
        assert!(ends.iter().all(|(_, drops)| drops.load(Ordering::Relaxed) == 1));
    });
}

/// Counts that it is dropped where it should be.
struct End {
    ends: Arc<Vec<(AtomicU32, AtomicU32)>>,
    index: usize,
    home: thread::ThreadId,
}

impl Drop for End {
    fn drop(&mut self) {
        if thread::current().id() == self.home {
            self.ends[self.index].1.fetch_add(1, Ordering::Relaxed);
        }
    }
}
