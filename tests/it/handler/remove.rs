//! Finding a handler's messages again: removing them and asking for them, by all labels and from any thread.
//!
//! Holds R1, R2, R3, R4, R5, R7, M10, T4, T14, C52, C53, C62.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    rc::Rc,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use alooper::{Handler, Looper, Message, Posted, Token, testing::TestLooper};

use crate::support::{
    Elsewhere, HOUR,
    dice::Dice,
    handlers::{Told, WHERES, assert_report, elsewhere, keeper, told},
    ms, until_polling, watched,
};

/// Sends one message of each kind with these labels, and gives how many they are.
fn send_all_kinds(looper: &Looper, handler: &Handler<&'static str>, what: i32, token: Token) -> usize {
    let draft = || handler.message("label").what(what).token(token);
    draft().send().unwrap();
    draft().send_delayed(HOUR).unwrap();
    draft().send_delayed(Duration::MAX).unwrap();
    draft().send_at(looper.now() - HOUR).unwrap();
    draft().send_at_front().unwrap();
    draft().asynchronous().send().unwrap();
    elsewhere(|| {
        draft().send().unwrap();
        draft().send_delayed(HOUR).unwrap();
        draft().send_at_front().unwrap();
    });
    9
}

type Removal = fn(&Handler<&'static str>, i32, Token) -> usize;

/// It was two: no label and the label zero were one.
#[test]
fn r2_what_was_sent_without_what_is_named_by_none() {
    for lists_before in [true, false] {
        let looper = TestLooper::new().unwrap();
        let (handler, kept) = keeper(&looper);
        let token = Token::new();
        if lists_before {
            // From now on what is sent is listed by its labels at once.
            assert!(!handler.has(0) && !handler.has((0, token)));
        }
        handler.send("plain").unwrap();
        handler.message("zero").what(0).send().unwrap();
        handler.message("token").token(token).send().unwrap();

        assert!(handler.has(0) && !handler.has((0, token)));
        assert_eq!(handler.remove((0, token)), 0);
        assert_eq!(handler.remove(0), 1);

        assert!(!handler.has(0) && handler.has(token));
        let whats: Vec<_> = looper.pending().iter().map(|pending| pending.what).collect();
        assert_eq!(whats, [None, None]);
        looper.run_until_idle();
        assert_eq!(kept.take(), ["plain", "token"]);
    }
}

/// The plain message always has one, zero unless it says another.
#[test]
fn r2_a_plain_message_brings_its_what_also_zero() {
    let looper = TestLooper::new().unwrap();
    let handler = Handler::new(&looper, |_, message: Message| assert_eq!(message.what, 0));
    handler.send(Message::default()).unwrap();
    handler.send(Message::new(0)).unwrap();
    handler.send(Message::new(1)).unwrap();

    assert_eq!((handler.remove(1), handler.remove(0)), (1, 2));
}

/// The closure got the number of before, by which nobody could find the message.
#[test]
fn r2_the_what_that_a_plain_message_is_sent_with_is_the_one_that_it_carries() {
    let looper = TestLooper::new().unwrap();
    let (handler, kept) = keeper(&looper);

    handler.message(Message::new(1)).what(7).send().unwrap();

    assert!(handler.has(7) && !handler.has(1));
    looper.run_until_idle();
    assert_eq!(kept.take().iter().map(|message: &Message| message.what).collect::<Vec<_>>(), [7]);
    looper.quit();
    let refused = handler.message(Message::new(1)).what(7).send().unwrap_err();
    assert_eq!(refused.into_value().unwrap().what, 7);
}

/// Of each kind of message, one with both labels, one with another number, one with another token, and one with
/// neither: what each removal leaves, and how many it says that it removed.
#[test]
fn r2_each_removal_removes_what_it_names_and_nothing_else() {
    let removals: [(&str, Removal, [bool; 4]); 6] = [
        ("all", |handler, _, _| handler.clear(), [true; 4]),
        ("what", |handler, what, _| handler.remove(what), [true, false, true, false]),
        ("token", |handler, _, token| handler.remove(token), [true, true, false, false]),
        ("both", |handler, what, token| handler.remove((what, token)), [true, false, false, false]),
        ("no such pair", |handler, _, _| handler.remove((1, Token::new())), [false; 4]),
        ("no such token", |handler, _, _| handler.remove(Token::new()), [false; 4]),
    ];
    watched(move || {
        for (name, removal, removes) in removals {
            for place in WHERES {
                let looper = TestLooper::new().unwrap();
                let (handler, kept) = keeper::<&str>(&looper);
                let remover = looper.handle().handler(|_, _: &str| ()).unwrap();
                let (token, other) = (Token::new(), Token::new());
                let groups = [(1, token), (2, token), (1, other), (2, other)];
                let each = groups.map(|(what, token)| send_all_kinds(&looper, &handler, what, token))[0];
                send_all_kinds(&looper, &remover, 1, token);

                let removed = place.ask(|| removal(&handler, 1, token));

                let count = removes.iter().filter(|removes| **removes).count();
                assert_eq!(removed, count * each, "{name}, {place:?}");
                for ((what, token), removed) in groups.into_iter().zip(removes) {
                    assert_eq!(handler.has((what, token)), !removed, "{name}, {place:?}");
                }
                assert_eq!((handler.len(), remover.len()), ((4 - count) * each, each));
                assert_eq!(place.ask(|| removal(&handler, 1, token)), 0, "{name} a second time");
                looper.advance(HOUR);
                assert_eq!(kept.take().len(), (4 - count) * (each - 1), "all but what is never due");
                assert_eq!(looper.message_counts().removed, removed as u64);
                looper.allow_leftovers();
            }
        }
    });
}

/// Two handlers with the same labels, and the same type of message.
#[test]
fn r2_handlers_do_not_see_each_others_messages() {
    let looper = TestLooper::new().unwrap();
    let (one, kept) = keeper::<u32>(&looper);
    let (other, others) = keeper::<u32>(&looper);
    let token = Token::new();
    one.message(1).what(5).token(token).send().unwrap();
    other.message(2).what(5).token(token).send().unwrap();
    other.message(3).what(6).send().unwrap();

    assert!(!one.has(6) && !one.has_if(|number| *number != 1));
    assert_eq!(one.remove_if(|number| *number != 1), 0);
    assert_eq!((one.remove(5), one.remove(token), one.clear()), (1, 0, 0));
    assert_eq!((one.len(), other.len(), looper.len()), (0, 2, 2));

    looper.run_until_idle();
    assert_eq!((kept.take(), others.take()), (vec![], vec![2, 3]));
}

/// A handler takes the place of one that is gone, and is not taken for it.
#[test]
fn r2_a_new_handler_has_nothing_to_do_with_those_before() {
    let looper = TestLooper::new().unwrap();
    let (old, old_kept) = keeper::<u32>(&looper);
    let pending = old.message(1).what(5).send_delayed(HOUR).unwrap();
    let ended = old.message(2).what(5).send().unwrap();
    drop(old);
    looper.run_until_idle();
    for round in 0..100 {
        let (handler, kept) = keeper::<u32>(&looper);
        assert_eq!((handler.len(), handler.has(5), handler.clear()), (0, false, 0));
        let own = handler.message(round).what(5).send().unwrap();
        assert!(!ended.cancel() && !ended.is_pending() && own.is_pending());
        drop(handler);
        looper.run_until_idle();
        assert_eq!(kept.take(), [round]);
    }

    assert!(pending.is_pending());
    assert_eq!(looper.advance(HOUR), 1);
    assert_eq!(old_kept.take(), [2, 1]);
}

#[test]
fn r3_closures_and_messages_have_name_spaces_of_their_own() {
    let looper = TestLooper::new().unwrap();
    let (handler, kept) = keeper::<Message>(&looper);
    let ran = Rc::new(Cell::new(0));
    let count = ran.clone();
    let closure = looper.post(move |_| count.set(count.get() + 1)).unwrap();
    looper.handle().post_delayed(HOUR, |_| ()).unwrap();
    handler.send(Message::new(0)).unwrap();

    assert_eq!(handler.len(), 1);
    assert_eq!((handler.remove(0), handler.remove_if(|_| true), handler.clear()), (1, 0, 0));
    assert!(closure.is_pending() && !handler.has(0));

    assert_eq!(looper.advance(HOUR), 2);
    assert_eq!((ran.get(), kept.take().len()), (1, 0));
}

/// No barrier is a message.
#[test]
fn r4_barriers_never_match() {
    let looper = TestLooper::new().unwrap();
    let (handler, _kept) = keeper::<u32>(&looper);
    let _barrier = looper.barrier().unwrap();

    assert!(!handler.has(0) && !handler.has_if(|_| true));
    assert_eq!((handler.len(), handler.remove(0), handler.clear(), looper.len()), (0, 0, 0, 0));
}

#[test]
fn r7_tokens_are_equal_to_their_copies_alone() {
    let tokens: HashSet<Token> = (0..1000).map(|_| Token::new()).chain(elsewhere(|| [Token::new()])).collect();
    let token = Token::new();
    let copy = token;

    assert_eq!(tokens.len(), 1001);
    assert!(token == copy && !tokens.contains(&token));
}

/// C52: a handler removes others of its turn, however they are named.
#[test]
fn r1_what_a_message_removes_from_its_own_turn_does_not_run() {
    type Remove = fn(&Handler<u32>, Token) -> usize;
    let removals: [Remove; 5] = [
        |handler, _| handler.clear(),
        |handler, _| handler.remove(7),
        |handler, token| handler.remove(token),
        |handler, token| handler.remove((7, token)),
        |handler, _| handler.remove_if(|number| *number > 1),
    ];
    watched(move || {
        for (removal, place) in removals.into_iter().flat_map(|removal| WHERES.map(|place| (removal, place))) {
            let looper = TestLooper::new().unwrap();
            let token = Token::new();
            let own = Rc::new(RefCell::new(None::<Handler<u32>>));
            let front = own.clone();
            let handler = Handler::new(&looper, move |_, number| {
                assert_eq!(number, 1, "removed");
                let handler = front.take().unwrap();
                assert_eq!(place.ask(|| removal(&handler, token)), 4);
            });
            handler.send(1).unwrap();
            handler.message(2).what(7).token(token).send().unwrap();
            elsewhere(|| handler.message(3).what(7).token(token).send().unwrap());
            handler.message(4).what(7).token(token).send_at(looper.now() + ms(1)).unwrap();
            handler.message(5).what(7).token(token).send().unwrap();
            looper.post(|_| ()).unwrap();
            own.replace(Some(handler));

            let turn = looper.poll_once(None).unwrap();

            assert_eq!((turn.messages, turn.more), (2, false));
            assert_report(looper.message_counts(), 6, 2, 4, 0);
        }
    });
}

/// R1, R2 and R4, against lists: what each of three handlers has pending, after each of thousands of steps.
#[test]
fn r4_answers_are_exact_after_each_of_thousands_of_steps_on_any_thread() {
    /// What is known of a pending message.
    type Known = (u32, i32, Option<usize>);

    watched(|| {
        let looper = TestLooper::new().unwrap();
        let ran = Arc::new(std::sync::Mutex::new(Vec::new()));
        let handlers = [0, 1, 2].map(|_| {
            let list = ran.clone();
            looper.handle().handler(move |_, number: u32| list.lock().unwrap().push(number)).unwrap()
        });
        let tokens = [Token::new(), Token::new(), Token::new()];
        let mut known: [Vec<Known>; 3] = Default::default();
        let mut dice = Dice(0x0dd_ba11);
        for number in 0..6000 {
            let at = dice.below(3) as usize;
            let (handler, list) = (&handlers[at], &mut known[at]);
            let (what, token) = (dice.below(4) as i32 - 1, dice.below(3) as usize);
            let place = WHERES[usize::from(dice.below(8) == 0)];
            let before = list.len();
            let mut keep = |keep: &dyn Fn(&Known) -> bool| {
                list.retain(keep);
                before - list.len()
            };
            let (removed, expected) = match dice.below(40) {
                0 => (place.ask(|| handler.clear()), keep(&|_| false)),
                1 | 2 => (place.ask(|| handler.remove(what)), keep(&|known| known.1 != what)),
                3 | 4 => (place.ask(|| handler.remove(tokens[token])), keep(&|known| known.2 != Some(token))),
                5 | 6 => {
                    let removed = place.ask(|| handler.remove((what, tokens[token])));
                    (removed, keep(&|known| (known.1, known.2) != (what, Some(token))))
                }
                7 => {
                    let removed = place.ask(|| handler.remove_if(|number| number % 5 == 0));
                    (removed, keep(&|known| known.0 % 5 != 0))
                }
                8 => {
                    looper.advance(Duration::from_nanos(dice.below(5)));
                    let ran: HashSet<u32> = ran.lock().unwrap().drain(..).collect();
                    known.iter_mut().for_each(|list| list.retain(|known| !ran.contains(&known.0)));
                    (0, 0)
                }
                kind => {
                    let mut draft = handler.message(number).what(what);
                    let with_token = dice.below(3) > 0;
                    if with_token {
                        draft = draft.token(tokens[token]);
                    }
                    let delay = Duration::from_nanos(dice.below(40));
                    place
                        .ask(|| match kind % 3 {
                            0 => draft.send(),
                            1 => draft.send_at_front(),
                            _ => draft.send_delayed(delay),
                        })
                        .unwrap();
                    list.push((number, what, with_token.then_some(token)));
                    (0, 0)
                }
            };
            assert_eq!(removed, expected, "step {number}");

            place.ask(|| {
                for (handler, list) in handlers.iter().zip(&known) {
                    assert_eq!((handler.len(), handler.is_empty()), (list.len(), list.is_empty()));
                    assert_eq!(handler.has(what), list.iter().any(|known| known.1 == what));
                    assert_eq!(handler.has(tokens[token]), list.iter().any(|known| known.2 == Some(token)));
                    let both = |known: &Known| (known.1, known.2) == (what, Some(token));
                    assert_eq!(handler.has((what, tokens[token])), list.iter().any(both));
                }
            });
        }
        let handler = &handlers[0];
        assert_eq!(handler.has_if(|number| number % 7 == 3), known[0].iter().any(|known| known.0 % 7 == 3));
        assert!(
            looper.message_counts().run > 500 && looper.message_counts().removed > 500,
            "{:?}",
            looper.message_counts()
        );
        looper.allow_leftovers();
    });
}

/// C53: the looper runs them while two threads remove them, in all ways.
#[test]
fn r1_what_is_removed_while_the_looper_runs_ends_once_in_sum() {
    const ROUNDS: u32 = 40;
    const EACH: u32 = 100;
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let ran = Arc::new(AtomicU64::new(0));
        let count = ran.clone();
        let handler = elsewhere.handle.handler(move |_, _: u32| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let handler = handler.unwrap();
        let token = Token::new();
        let round = Barrier::new(2);

        let removed = thread::scope(|scope| {
            let removers = [0, 1].map(|remover| {
                let (handler, round) = (handler.clone(), &round);
                scope.spawn(move || {
                    let mut removed = 0;
                    for _ in 0..ROUNDS {
                        round.wait();
                        for number in 0..EACH {
                            let draft = handler.message(number).what(number as i32 % 4).token(token);
                            let posted = draft.send().unwrap();
                            removed += match (number + remover) % 5 {
                                0 => handler.remove(1),
                                1 => usize::from(posted.cancel()),
                                2 => handler.remove_if(|number| number % 3 == 0),
                                3 if number == 53 => handler.clear(),
                                3 => handler.remove((2, token)),
                                _ => 0,
                            };
                        }
                    }
                    removed as u64
                })
            });
            removers.map(|remover| remover.join().unwrap()).iter().sum::<u64>()
        });
        elsewhere.handle.quit_safely();

        let report = elsewhere.join();
        let posted = u64::from(2 * ROUNDS * EACH);
        assert_report(report, posted, ran.load(Ordering::Relaxed), removed, report.dropped);
        assert_eq!(report.run + report.removed + report.dropped, posted);
    });
}

/// C62.
#[test]
fn m10_a_message_that_another_thread_removes_is_dropped_there_before_the_call_returns() {
    type Remove = fn(&Handler<Told>, &Posted<Told>) -> usize;
    let removals: [Remove; 4] = [
        |handler, _| handler.clear(),
        |handler, _| handler.remove(0),
        |handler, _| handler.remove_if(|_| true),
        |_, posted| usize::from(posted.cancel()),
    ];
    watched(move || {
        for removal in removals {
            let looper = TestLooper::new().unwrap();
            let (handler, _kept) = keeper(&looper);
            let (value, dropped) = told();
            let posted = handler.message(value).what(0).send().unwrap();

            let there = elsewhere(|| {
                assert_eq!(removal(&handler, &posted), 1);
                thread::current().id()
            });

            assert_eq!(dropped.try_iter().collect::<Vec<_>>(), [there]);
        }
    });
}

/// What removes some of two messages with the same number, and says how many.
type Act = fn(&Handler<u32>, &Posted<u32>) -> usize;

/// T4, T14 and R5: there is nothing to reap, and nothing that the looper would have to do.
#[test]
fn r5_removing_and_cancelling_elsewhere_lets_the_looper_sleep() {
    watched(|| {
        let (sender, made) = mpsc::channel();
        let elsewhere = Elsewhere::run(move |looper| {
            let (handler, _kept) = keeper::<u32>(looper);
            sender.send(handler).unwrap();
        });
        let handler = made.recv().unwrap();
        let handle = &elsewhere.handle;
        let acts: [(&str, Act, usize); 5] = [
            ("nothing", |handler, _| handler.remove(99), 0),
            ("by number", |handler, _| handler.remove(7), 2),
            ("by predicate", |handler, _| handler.remove_if(|_| true), 2),
            ("all", |handler, _| handler.clear(), 2),
            ("cancel", |_, posted| usize::from(posted.cancel()), 1),
        ];
        for (name, act, count) in acts {
            handler.clear();
            let posted = [1, 2].map(|number| handler.message(number).what(7).send_delayed(HOUR).unwrap());
            // Once it has done what the sends were for, it sleeps, and only the act could end that.
            handle.call(|_| ()).unwrap();
            until_polling(handle);
            let before = handle.stats();

            assert_eq!(act(&handler, &posted[0]), count, "{name}");

            let after = handle.stats();
            assert_eq!(after.wakes_sent, before.wakes_sent, "{name}");
        }
        handle.quit();
        elsewhere.join();
    });
}
