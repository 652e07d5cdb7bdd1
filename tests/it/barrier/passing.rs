//! Barriers: what stands before them and behind them, what passes, and what their end lets go.
//!
//! Holds B1, B2, B3, B5, M3, R4, C54, C55.

use std::{cell::RefCell, ops::ControlFlow, rc::Rc, time::Duration};

use alooper::{Barrier, FdNext, Handler, Interest, Looper, testing::TestLooper};

use crate::support::{Elsewhere, HOUR, codes::scribe, dice::Dice, fds::ready_stream, ms, watched};

#[test]
fn b1_it_stands_behind_what_is_due_and_before_what_is_posted_later() {
    let looper = TestLooper::new().unwrap();
    let (handler, written) = scribe(&looper);
    handler.send_delayed(ms(1), "in a millisecond").unwrap();
    handler.send("due").unwrap();
    handler.send_at(looper.now() - HOUR, "overdue").unwrap();
    let barrier = looper.barrier().unwrap();
    handler.send("posted after it").unwrap();

    assert_eq!(looper.advance(HOUR), 2);
    assert_eq!(written.take(), ["overdue", "due"]);
    drop(barrier);

    assert_eq!(looper.run_until_idle(), 2);
    assert_eq!(written.take(), ["posted after it", "in a millisecond"]);
}

/// A time that was past when the barrier was put up is before it, whenever that is posted.
#[test]
fn b1_what_is_posted_for_a_time_before_it_stands_before_it() {
    let looper = TestLooper::new().unwrap();
    looper.allow_leftovers();
    let (handler, written) = scribe(&looper);
    let put_up = looper.now();
    let _barrier = looper.barrier().unwrap();
    looper.advance(HOUR);

    handler.send_at(put_up, "at its time").unwrap();
    handler.send_at(put_up - Duration::from_nanos(1), "before its time").unwrap();

    assert_eq!(looper.run_until_idle(), 1);
    assert_eq!(written.take(), ["before its time"]);
}

#[test]
fn b2_only_asynchronous_messages_run_in_their_own_order_when_they_are_due() {
    let looper = TestLooper::new().unwrap();
    let (handler, written) = scribe(&looper);
    let barrier = looper.barrier().unwrap();
    for (delay, word) in [(30, "30"), (10, "10"), (20, "20")] {
        handler.asynchronous().send_delayed(ms(delay), word).unwrap();
        handler.send_delayed(ms(delay - 5), "held up").unwrap();
    }
    handler.asynchronous().send_delayed(ms(20), "20 again").unwrap();

    assert_eq!(looper.next_deadline(), Some(looper.now() + ms(10)));
    assert_eq!(looper.advance(ms(10)), 1);
    assert_eq!(looper.advance(HOUR), 3);

    assert_eq!(written.take(), ["10", "20", "20 again", "30"]);
    assert_eq!(looper.next_deadline(), None);
    drop(barrier);
    assert_eq!(looper.run_until_idle(), 3);
}

#[test]
fn b2_the_sleep_is_until_the_asynchronous_message_and_not_the_earlier_one() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let start = looper.now();
        let _barrier = looper.barrier().unwrap();
        looper.post_delayed(ms(2), |_| panic!("it is held up")).unwrap();
        looper.handle().asynchronous().post_delayed(ms(10), |_| ()).unwrap();

        let turn = looper.poll_once(None).unwrap();

        assert_eq!((turn.messages, turn.woken, looper.len()), (1, false, 1));
        assert!(looper.now() - start >= ms(10));
    });
}

#[test]
fn b2_a_barrier_holds_up_neither_fds_nor_wakes() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (near, _far) = ready_stream();
        let (named, _named_far) = ready_stream();
        let _barrier = looper.barrier().unwrap();
        looper.post(|_| panic!("it is held up")).unwrap();
        looper.add_fd(near, Interest::INPUT, |_, _, _| FdNext::Keep).unwrap();
        looper.add_ident(named, Interest::INPUT, 7).unwrap();
        looper.wake().unwrap();

        let turn = looper.poll_once(None).unwrap();

        assert_eq!((turn.messages, turn.fds, turn.idents.len(), turn.woken, turn.more), (0, 1, 1, true, false));
    });
}

/// C54.
#[test]
fn m3_what_is_posted_at_the_front_passes_barriers_the_last_one_first() {
    let looper = TestLooper::new().unwrap();
    looper.allow_leftovers();
    let (handler, written) = scribe(&looper);
    let asynchronous = handler.asynchronous();
    handler.send("due").unwrap();
    handler.send_at_front("front").unwrap();
    let _barriers = [(); 2].map(|()| looper.barrier().unwrap());
    asynchronous.send("asynchronous").unwrap();
    handler.send("held up").unwrap();
    asynchronous.send_at_front("asynchronous front").unwrap();
    handler.send_at_front("front of front").unwrap();

    assert_eq!(looper.run_until_idle(), 5);

    assert_eq!(written.take(), ["front of front", "asynchronous front", "front", "due", "asynchronous"]);
}

#[test]
fn b3_several_are_released_each_on_its_own_in_any_order() {
    let looper = TestLooper::new().unwrap();
    let (handler, written) = scribe(&looper);
    let mut barriers = ["first", "second", "third"].map(|word| {
        let barrier = looper.barrier().unwrap();
        handler.send(word).unwrap();
        Some(barrier)
    });

    let release = [1, 0, 2].map(|index: usize| {
        drop(barriers[index].take());
        looper.run_until_idle();
        written.take()
    });

    assert_eq!(release, [vec![], vec!["first", "second"], vec!["third"]]);
}

/// What `post` posts while a barrier stands; whether it runs.
fn passes(post: impl FnOnce(&Looper)) -> bool {
    let looper = TestLooper::new().unwrap();
    looper.allow_leftovers();
    let barrier = looper.barrier().unwrap();
    post(&looper);
    let count = looper.run_until_idle();
    drop(barrier);
    assert_eq!(count + looper.run_until_idle(), 1, "it runs now or when the barrier is gone");
    count == 1
}

#[test]
fn b5_each_way_to_post_asynchronously_passes_and_its_plain_counterpart_does_not() {
    let ignore = |_: &Looper, _: i32| ();

    assert!(!passes(|looper| drop(looper.post(|_| ()).unwrap())));
    assert!(!passes(|looper| drop(looper.handle().post(|_| ()).unwrap())));
    assert!(passes(|looper| drop(looper.handle().asynchronous().post(|_| ()).unwrap())));
    assert!(passes(|looper| drop(looper.handle().asynchronous().clone().post_at(looper.now(), |_| ()).unwrap())));
    assert!(passes(|looper| drop(looper.handle().asynchronous().post_delayed(Duration::ZERO, |_| ()).unwrap())));

    assert!(!passes(|looper| drop(Handler::new(looper, ignore).send(1).unwrap())));
    assert!(passes(|looper| drop(Handler::new(looper, ignore).asynchronous().send(1).unwrap())));
    assert!(passes(|looper| drop(Handler::new(looper, ignore).asynchronous().clone().send(1).unwrap())));
    assert!(passes(|looper| drop(Handler::new(looper, ignore).asynchronous().message(1).what(3).send().unwrap())));
    assert!(passes(|looper| drop(Handler::new(looper, ignore).message(1).asynchronous().send().unwrap())));

    assert!(!passes(|looper| drop(looper.handle().handler(ignore).unwrap().send(1).unwrap())));
    assert!(passes(|looper| drop(looper.handle().asynchronous().handler(ignore).unwrap().send(1).unwrap())));
    assert!(passes(|looper| {
        let handler = Handler::new(looper, ignore).asynchronous();
        handler.downgrade().upgrade().unwrap().send(1).unwrap();
    }));
    assert!(!passes(|looper| {
        let handler = Handler::new(looper, ignore);
        handler.asynchronous().looper().post(|_| ()).unwrap();
    }));
}

#[test]
fn b5_every_run_of_an_asynchronous_repeating_post_passes() {
    let looper = TestLooper::new().unwrap();
    let _barrier = looper.barrier().unwrap();
    let tick = |_: &Looper| ControlFlow::Continue(());
    let plain = looper.post_every(ms(10), tick).unwrap();
    let asynchronous = looper.handle().asynchronous().post_every(ms(10), tick).unwrap();

    assert_eq!(looper.advance(ms(50)), 5);

    assert!(plain.cancel() && asynchronous.cancel());
}

#[test]
fn b5_a_call_through_an_asynchronous_handle_passes() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let handle = elsewhere.handle.clone();
        let barrier = handle.barrier().unwrap();

        assert_eq!(handle.asynchronous().call(|_| 5).unwrap(), 5);
        assert!(handle.call_timeout(ms(5), |_| 5).is_err());

        drop(barrier);
        handle.quit();
        elsewhere.join();
    });
}

#[test]
fn b5_the_asynchronous_front_of_a_handler_is_the_same_handler() {
    let looper = TestLooper::new().unwrap();
    let (handler, _) = scribe(&looper);
    let _barrier = looper.barrier().unwrap();
    handler.send("plain").unwrap();
    handler.asynchronous().send("asynchronous").unwrap();

    assert_eq!((handler.len(), handler.asynchronous().len()), (2, 2));
    assert_eq!(handler.asynchronous().clear(), 2);
    assert_eq!((handler.len(), looper.run_until_idle()), (0, 0));
}

#[test]
fn r4_barriers_are_no_messages_to_those_who_ask_or_remove() {
    let looper = TestLooper::new().unwrap();
    let (handler, written) = scribe(&looper);
    let barrier = looper.barrier().unwrap();

    assert_eq!((looper.len(), looper.is_empty(), looper.pending().len()), (0, true, 0));
    assert!(handler.is_empty() && !handler.has(0));
    assert_eq!((handler.remove(0), handler.clear()), (0, 0));
    assert!(!looper.is_idle());
    handler.send("held up").unwrap();
    assert_eq!((looper.run_until_idle(), written.take()), (0, vec![]), "it stands still");
    drop(barrier);

    assert_eq!((looper.run_until_idle(), looper.message_counts().posted), (1, 1));
    assert!(looper.is_idle());
}

/// Nobody can release it twice, since nobody can have it twice: this would not compile if it were `Clone`.
#[test]
fn c55_a_barrier_cannot_be_copied_and_any_thread_may_have_it() {
    trait IsNotClone<Ambiguity> {
        fn holds() {}
    }
    impl<T> IsNotClone<()> for T {}
    impl<T: Clone> IsNotClone<u8> for T {}
    fn crosses_threads<T: Send + Sync + 'static>() {}

    <Barrier as IsNotClone<_>>::holds();
    crosses_threads::<Barrier>();
}

/// A list that does what the queue does, slowly.
#[derive(Default)]
struct Model {
    /// What stands, in its order: the place, whether barriers let it pass, and its name; a barrier has no name.
    standing: Vec<((i64, i64), bool, Option<u64>)>,
}

impl Model {
    fn put(&mut self, place: (i64, i64), asynchronous: bool, name: Option<u64>) {
        self.standing.push((place, asynchronous, name));
        self.standing.sort();
    }

    fn remove(&mut self, place: (i64, i64)) {
        self.standing.retain(|(standing, ..)| *standing != place);
    }

    fn run(&mut self, now: i64) -> Vec<u64> {
        let mut names = Vec::new();
        loop {
            let barrier = self.standing.iter().find(|(.., name)| name.is_none()).map(|(place, ..)| *place);
            let may_run = |(place, asynchronous, name): &((i64, i64), bool, Option<u64>)| {
                name.is_some() && place.0 <= now && (*asynchronous || barrier.is_none_or(|barrier| *place < barrier))
            };
            let Some(index) = self.standing.iter().position(may_run) else {
                return names;
            };
            names.extend(self.standing.remove(index).2);
        }
    }
}

/// C55, with several barriers: messages and barriers, put up, posted and released at random.
#[test]
fn b2_b3_the_order_is_that_of_a_naive_list_for_any_sequence() {
    for seed in 1..=60 {
        let mut dice = Dice(seed);
        let looper = TestLooper::new().unwrap();
        looper.allow_leftovers();
        let ran = Rc::new(RefCell::new(Vec::new()));
        let running = ran.clone();
        let handler = Handler::new(&looper, move |_, name: u64| running.borrow_mut().push(name));
        let mut model = Model::default();
        let mut barriers = Vec::new();
        let mut now = 0;

        for step in 1..=400 {
            let asynchronous = dice.below(2) == 0;
            let front = if asynchronous { handler.asynchronous() } else { handler.clone() };
            match dice.below(8) {
                0..=2 => {
                    let delay = dice.below(6);
                    front.send_delayed(ms(delay), step).unwrap();
                    model.put((now + delay as i64, step as i64), asynchronous, Some(step));
                }
                3 => {
                    front.send_at_front(step).unwrap();
                    model.put((i64::MIN, -(step as i64)), asynchronous, Some(step));
                }
                4 if barriers.len() < 3 => {
                    barriers.push(((now, step as i64), looper.barrier().unwrap()));
                    model.put((now, step as i64), false, None);
                }
                5 | 6 if !barriers.is_empty() => {
                    let (place, barrier) = barriers.swap_remove(dice.below(barriers.len() as u64) as usize);
                    drop(barrier);
                    model.remove(place);
                }
                _ => {
                    looper.run_until_idle();
                    assert_eq!(ran.take(), model.run(now), "seed {seed}, step {step}, before time passed");
                    looper.advance(ms(1));
                    now += 1;
                    assert_eq!(ran.take(), model.run(now), "seed {seed}, step {step}");
                }
            }
            let left = model.standing.iter().filter(|(.., name)| name.is_some()).count();
            assert_eq!(looper.len(), left, "seed {seed}, step {step}");
        }
    }
}
