//! In which order messages run, and that each ends in one way.
//!
//! Holds M1, M2, M3, M4, M5, M6, M7, M11, C35, C36, C54, C63.

use std::{
    cell::RefCell,
    ops::ControlFlow,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use alooper::{Looper, MessageCounts};

use crate::support::{Elsewhere, HOUR, ms, watched};

/// What callbacks have said, in their order. Callbacks of any thread can be made of it.
struct Said<T> {
    sender: mpsc::Sender<T>,
    receiver: mpsc::Receiver<T>,
}

impl<T: Send + 'static> Said<T> {
    fn new() -> Said<T> {
        let (sender, receiver) = mpsc::channel();
        Said { sender, receiver }
    }

    /// A callback that says `word`.
    fn say(&self, word: T) -> impl FnOnce(&Looper) + Send + 'static + use<T> {
        let sender = self.sender.clone();
        move |_| sender.send(word).unwrap()
    }

    /// What was said since the last time.
    fn so_far(&self) -> Vec<T> {
        self.receiver.try_iter().collect()
    }
}

#[test]
fn m1_messages_run_by_due_time_and_equal_ones_in_posting_order_also_in_the_past() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let said = Said::new();
        let time = looper.now();
        let long_past = time - HOUR;

        looper.post_at(time, said.say("t, first")).unwrap();
        looper.post_at(time, said.say("t, second")).unwrap();
        looper.post_at(time - ms(1), said.say("t-1")).unwrap();
        looper.post_at(long_past, said.say("0")).unwrap();
        looper.poll_once(None).unwrap();

        assert_eq!(said.so_far(), ["0", "t-1", "t, first", "t, second"]);
    });
}

#[test]
fn m1_the_order_of_thousands_is_that_of_a_stable_sort() {
    watched(|| {
        let looper = Looper::builder().budget(7).build().unwrap();
        let handle = looper.handle();
        let said = Said::new();
        let start = looper.now();
        let mut posted: Vec<(Instant, usize)> = Vec::new();
        for index in 0..3000 {
            // 13 different times, in a scrambled order that repeats.
            let due = start - Duration::from_micros(index as u64 * 7919 % 13);
            posted.push((due, index));
            match index % 2 {
                0 => looper.post_at(due, said.say(index)).unwrap(),
                _ => handle.post_at(due, said.say(index)).unwrap(),
            };
        }

        looper.poll_all(None).unwrap();

        posted.sort_by_key(|(due, _)| *due);
        assert_eq!(said.so_far(), posted.into_iter().map(|(_, index)| index).collect::<Vec<_>>());
    });
}

#[test]
fn m1_times_as_far_back_as_an_instant_reaches_are_legal() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let said = Said::new();
        let mut furthest = looper.now();
        for step in (0..63).rev().map(|power| Duration::from_secs(1 << power)) {
            furthest = furthest.checked_sub(step).unwrap_or(furthest);
        }

        looper.post_at(looper.now() - HOUR, said.say("an hour ago")).unwrap();
        looper.post_at(furthest, said.say("long ago")).unwrap();
        looper.poll_once(None).unwrap();

        assert_eq!(said.so_far(), ["long ago", "an hour ago"]);
    });
}

/// C35: a delay of zero is a post.
#[test]
fn m2_a_post_runs_after_what_is_due_and_before_what_is_later() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let said = Said::new();

        let later = looper.post_delayed(HOUR, said.say("later")).unwrap();
        looper.post(said.say("post")).unwrap();
        looper.post_delayed(Duration::ZERO, said.say("no delay")).unwrap();
        looper.post_at(looper.now(), said.say("at now")).unwrap();
        looper.handle().post(said.say("remote post")).unwrap();
        looper.post_at(looper.now() - HOUR, said.say("due before")).unwrap();
        looper.poll_once(None).unwrap();

        assert_eq!(said.so_far(), ["due before", "post", "no delay", "at now", "remote post"]);
        assert!(later.is_pending());
    });
}

#[test]
fn m2_a_post_from_a_message_runs_after_what_is_due_already() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let said = Said::new();
        let last = said.say("posted by the first");
        looper.post(move |looper| drop(looper.post(last))).unwrap();
        looper.post(said.say("second")).unwrap();
        looper.post(said.say("third")).unwrap();

        assert_eq!(looper.poll_once(None).unwrap().messages, 4);

        assert_eq!(said.so_far(), ["second", "third", "posted by the first"]);
    });
}

/// C54.
#[test]
fn m3_what_is_posted_at_the_front_runs_before_everything_and_the_last_one_first() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let said = Said::new();

        looper.post_at_front(said.say("front 1")).unwrap();
        looper.post_at(looper.now() - HOUR, said.say("long due")).unwrap();
        looper.post_at_front(said.say("front 2")).unwrap();
        handle.post_at_front(said.say("front 3")).unwrap();
        looper.post(said.say("post")).unwrap();
        looper.post_at_front(said.say("front 4")).unwrap();
        looper.poll_once(None).unwrap();

        assert_eq!(said.so_far(), ["front 4", "front 3", "front 2", "front 1", "long due", "post"]);
    });
}

#[test]
fn m3_what_a_message_posts_at_the_front_is_next() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let said = Said::new();
        let fronts = (said.say("front 1"), said.say("front 2"));
        looper
            .post(move |looper| {
                looper.post_at_front(fronts.0).unwrap();
                looper.post_at_front(fronts.1).unwrap();
            })
            .unwrap();
        looper.post(said.say("second")).unwrap();

        looper.poll_once(None).unwrap();

        assert_eq!(said.so_far(), ["front 2", "front 1", "second"]);
    });
}

#[test]
fn m4_a_delay_that_overflows_stays_pending_and_can_be_asked_and_cancelled() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let endless = [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_nanos(u64::MAX)];
        let mut posted = Vec::new();
        for delay in endless {
            posted.push(looper.post_delayed(delay, |_| ()).unwrap());
            posted.push(handle.post_delayed(delay, |_| ()).unwrap());
            posted.push(handle.post_every(delay, |_| ControlFlow::Continue(())).unwrap());
        }
        let mut furthest = looper.now();
        for step in (0..63).rev().map(|power| Duration::from_secs(1 << power)) {
            furthest = furthest.checked_add(step).unwrap_or(furthest);
        }
        posted.push(looper.post_at(furthest, |_| ()).unwrap());
        looper.post(|_| ()).unwrap();

        let turn = looper.poll_once(ms(1)).unwrap();

        assert_eq!(turn.messages, 1);
        assert_eq!(looper.len(), posted.len());
        assert!(posted.iter().all(|posted| posted.is_pending()));
        assert!(posted.iter().all(|posted| posted.cancel()));
        assert!(looper.is_empty());
        assert!(looper.poll_once(Duration::ZERO).unwrap().timed_out);
    });
}

/// C63.
#[test]
fn m5_posts_of_each_of_several_threads_run_in_their_order_and_none_is_lost() {
    const PRODUCERS: usize = 4;
    const POSTS: u32 = 100_000;
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let next: Arc<[AtomicU32; PRODUCERS]> = Arc::default();
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                let (handle, next) = (elsewhere.handle.clone(), next.clone());
                thread::spawn(move || {
                    for index in 0..POSTS {
                        let next = next.clone();
                        let in_turn = move |_: &Looper| {
                            assert_eq!(next[producer].swap(index + 1, Ordering::Relaxed), index);
                        };
                        handle.post(in_turn).unwrap();
                    }
                })
            })
            .collect();
        producers.into_iter().for_each(|producer| producer.join().unwrap());

        elsewhere.handle.quit_safely();
        let MessageCounts { posted, run, removed, dropped, .. } = elsewhere.join();

        let all = u64::from(POSTS) * PRODUCERS as u64;
        assert_eq!((posted, run, removed, dropped), (all, all, 0, 0));
        assert!(next.iter().all(|next| next.load(Ordering::Relaxed) == POSTS));
    });
}

#[test]
fn m5_posts_that_happen_one_before_another_on_different_threads_keep_their_order() {
    const ROUNDS: u32 = 5_000;
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let next = Arc::new((Mutex::new(()), AtomicU32::new(0)));
        let ran = Arc::new(AtomicU32::new(0));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (handle, next, ran) = (elsewhere.handle.clone(), next.clone(), ran.clone());
                thread::spawn(move || {
                    for _ in 0..ROUNDS {
                        // The lock orders the posts; the looper takes none of it. That the number is an atomic is for
                        // the thread sanitizer, which does not see std's lock when threads wait for it.
                        let _turn = next.0.lock().unwrap();
                        let (index, ran) = (next.1.fetch_add(1, Ordering::Relaxed), ran.clone());
                        handle.post(move |_| assert_eq!(ran.fetch_add(1, Ordering::Relaxed), index)).unwrap();
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());

        elsewhere.handle.quit_safely();

        assert_eq!(elsewhere.join().run, u64::from(3 * ROUNDS));
    });
}

/// Also M11: the looper takes in what other threads have posted before it posts itself.
#[test]
fn m5_equal_due_times_keep_posting_order_between_the_looper_and_other_threads() {
    watched(|| {
        for due in [Duration::ZERO, ms(3)] {
            let looper = Looper::new().unwrap();
            let due = looper.now() + due;
            let said = Said::new();
            for round in 0..20 {
                let (handle, remote) = (looper.handle(), said.say((round, "remote")));
                thread::spawn(move || handle.post_at(due, remote).unwrap()).join().unwrap();
                looper.post_at(due, said.say((round, "own"))).unwrap();
            }

            while !looper.is_empty() {
                looper.poll_once(None).unwrap();
            }

            let expected: Vec<_> = (0..20).flat_map(|round| [(round, "remote"), (round, "own")]).collect();
            assert_eq!(said.so_far(), expected);
        }
    });
}

#[test]
fn m11_what_another_thread_posts_at_the_front_while_a_message_runs_is_next() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let said = Said::new();
        let fronts = (said.say("front 1"), said.say("front 2"));
        looper
            .post(move |looper| {
                let handle = looper.handle();
                let other = thread::spawn(move || {
                    handle.post_at_front(fronts.0).unwrap();
                    handle.post_at_front(fronts.1).unwrap();
                });
                other.join().unwrap();
            })
            .unwrap();
        looper.post(said.say("second")).unwrap();
        looper.post(said.say("third")).unwrap();

        assert_eq!(looper.poll_once(None).unwrap().messages, 5);

        assert_eq!(said.so_far(), ["front 2", "front 1", "second", "third"]);
    });
}

#[test]
fn m11_fronts_of_the_looper_and_of_other_threads_are_in_one_order() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let said = Said::new();
        for round in 0..10 {
            let (handle, remote) = (looper.handle(), said.say((round, "remote")));
            thread::spawn(move || handle.post_at_front(remote).unwrap()).join().unwrap();
            looper.post_at_front(said.say((round, "own"))).unwrap();
        }

        looper.poll_once(None).unwrap();

        let expected: Vec<_> = (0..10).rev().flat_map(|round| [(round, "own"), (round, "remote")]).collect();
        assert_eq!(said.so_far(), expected);
    });
}

#[test]
fn m6_each_message_ends_in_exactly_one_way_and_the_report_counts_it_there() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let said = Said::new();
        for _ in 0..3 {
            looper.post(said.say("ran")).unwrap();
        }
        let cancelled = [
            looper.post(said.say("cancelled")).unwrap(),
            handle.post_at_front(said.say("cancelled")).unwrap(),
            handle.post_delayed(HOUR, said.say("cancelled")).unwrap(),
        ];
        assert!(cancelled.iter().all(|posted| posted.cancel()));
        looper.poll_once(None).unwrap();
        let halfway = looper.message_counts();
        for delay in [Duration::ZERO, ms(1), HOUR, Duration::MAX] {
            looper.post_delayed(delay, said.say("dropped")).unwrap();
        }

        looper.quit();
        let MessageCounts { posted, run, removed, dropped, .. } = looper.run().unwrap();

        assert_eq!((halfway.posted, halfway.run, halfway.removed, halfway.dropped), (6, 3, 3, 0));
        assert_eq!((posted, run, removed, dropped), (10, 3, 3, 4));
        assert_eq!(said.so_far(), ["ran"; 3]);
    });
}

#[test]
fn m7_a_message_that_runs_is_no_longer_pending() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let own = Rc::new(RefCell::new(None));
        let posted = {
            let own = own.clone();
            let posted = looper.post(move |looper| {
                let posted: alooper::Posted = own.take().unwrap();
                assert!(!posted.is_pending());
                assert!(!posted.cancel());
                assert_eq!((looper.len(), looper.handle().is_empty()), (0, true));
            });
            posted.unwrap()
        };
        own.replace(Some(posted.clone()));
        assert!(posted.is_pending());

        assert_eq!(looper.poll_once(None).unwrap().messages, 1);

        assert!(own.take().is_none() && !posted.is_pending());
    });
}

/// A message at the front runs while another one waits behind it there.
#[test]
fn m3_m11_what_is_posted_at_the_front_comes_before_what_stands_there_from_any_thread() {
    watched(|| {
        for from_another_thread in [false, true] {
            let looper = Looper::new().unwrap();
            let (sender, ran) = mpsc::channel();
            let note = |name| {
                let sender = sender.clone();
                move |_: &Looper| sender.send(name).unwrap()
            };
            let newest = note("newest");
            let first = note("first");
            looper.post_at_front(note("older")).unwrap();
            let post = move |looper: &Looper| {
                first(looper);
                let handle = looper.handle();
                if from_another_thread {
                    thread::spawn(move || drop(handle.post_at_front(newest).unwrap())).join().unwrap();
                } else {
                    looper.post_at_front(newest).unwrap();
                }
            };
            looper.post_at_front(post).unwrap();

            assert_eq!(looper.poll_once(ms(0)).unwrap().messages, 3);

            assert_eq!(ran.try_iter().collect::<Vec<_>>(), ["first", "newest", "older"]);
        }
    });
}
