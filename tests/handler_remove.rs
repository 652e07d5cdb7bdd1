//! Finding a handler's messages again: removing them and asking for them, from any thread, with whatever predicates.
//!
//! Holds R1, R2, R3, R4, R5, R6, R7, M9, M10, T4, T14, X3, X4, C52, C53, C59, C61, C62.

mod support;
#[path = "support/dice.rs"]
mod dice;
#[path = "support/handlers.rs"]
mod handlers;

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    io::Write,
    os::unix::net::UnixStream,
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use alooper::{
    CallError, Handler, Interest, Looper, LooperHandle, Message, Next, Posted, Reason, Token, WeakHandler,
    testing::TestLooper,
};
use dice::Dice;
use handlers::{HOUR, Meddler, Parcel, assert_report, elsewhere, keeper, told, told_many};
use support::{Elsewhere, ms, until_polling, watched};

/// Where a removal is asked for: at home, and on another thread.
#[derive(Clone, Copy, Debug)]
enum Where {
    Home,
    Elsewhere,
}

const WHERES: [Where; 2] = [Where::Home, Where::Elsewhere];

impl Where {
    fn ask<T: Send>(self, ask: impl FnOnce() -> T + Send) -> T {
        match self {
            Where::Home => ask(),
            Where::Elsewhere => elsewhere(ask),
        }
    }
}

/// Sends `messages` to run now.
fn send_each<M: 'static>(handler: &Handler<M>, messages: impl IntoIterator<Item = M>) {
    for message in messages {
        handler.send(message).unwrap();
    }
}

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

/// Of each kind of message, one with both labels, one with another number, one with another token, and one with
/// neither: what each removal leaves, and how many it says that it removed.
#[test]
fn r2_each_removal_removes_what_it_names_and_nothing_else() {
    let removals: [(&str, Removal, [bool; 4]); 6] = [
        ("all", |handler, _, _| handler.remove(), [true; 4]),
        ("what", |handler, what, _| handler.remove_what(what), [true, false, true, false]),
        ("token", |handler, _, token| handler.remove_token(token), [true, true, false, false]),
        ("both", |handler, what, token| handler.remove_what_with_token(what, token), [true, false, false, false]),
        ("no such pair", |handler, _, _| handler.remove_what_with_token(1, Token::new()), [false; 4]),
        ("no such token", |handler, _, _| handler.remove_token(Token::new()), [false; 4]),
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
                    assert_eq!(handler.has_what_with_token(what, token), !removed, "{name}, {place:?}");
                }
                assert_eq!((handler.len(), remover.len()), ((4 - count) * each, each));
                assert_eq!(place.ask(|| removal(&handler, 1, token)), 0, "{name} a second time");
                looper.advance(HOUR);
                assert_eq!(kept.take().len(), (4 - count) * (each - 1), "all but what is never due");
                assert_eq!(looper.exit_report().removed, removed as u64);
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

    assert!(!one.has_what(6) && !one.has_if(|number| *number != 1));
    assert_eq!(one.remove_if(|number| *number != 1), 0);
    assert_eq!((one.remove_what(5), one.remove_token(token), one.remove()), (1, 0, 0));
    assert_eq!((one.len(), other.len(), looper.len()), (0, 2, 2));

    looper.idle();
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
    looper.idle();
    for round in 0..100 {
        let (handler, kept) = keeper::<u32>(&looper);
        assert_eq!((handler.len(), handler.has_what(5), handler.remove()), (0, false, 0));
        let own = handler.message(round).what(5).send().unwrap();
        assert!(!ended.cancel() && !ended.is_pending() && own.is_pending());
        drop(handler);
        looper.idle();
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
    assert_eq!((handler.remove_what(0), handler.remove_if(|_| true), handler.remove()), (1, 0, 0));
    assert!(closure.is_pending() && !handler.has_what(0));

    assert_eq!(looper.advance(HOUR), 2);
    assert_eq!((ran.get(), kept.take().len()), (1, 0));
}

/// No barrier is a message.
#[test]
fn r4_barriers_never_match() {
    let looper = TestLooper::new().unwrap();
    let (handler, _kept) = keeper::<u32>(&looper);
    let _barrier = looper.barrier().unwrap();

    assert!(!handler.has_what(0) && !handler.has_if(|_| true));
    assert_eq!((handler.len(), handler.remove_what(0), handler.remove(), looper.len()), (0, 0, 0, 0));
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
        |handler, _| handler.remove(),
        |handler, _| handler.remove_what(7),
        |handler, token| handler.remove_token(token),
        |handler, token| handler.remove_what_with_token(7, token),
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
            assert_report(looper.exit_report(), 6, 2, 4, 0);
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
                0 => (place.ask(|| handler.remove()), keep(&|_| false)),
                1 | 2 => (place.ask(|| handler.remove_what(what)), keep(&|known| known.1 != what)),
                3 | 4 => (place.ask(|| handler.remove_token(tokens[token])), keep(&|known| known.2 != Some(token))),
                5 | 6 => {
                    let removed = place.ask(|| handler.remove_what_with_token(what, tokens[token]));
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
                    assert_eq!(handler.has_what(what), list.iter().any(|known| known.1 == what));
                    assert_eq!(handler.has_token(tokens[token]), list.iter().any(|known| known.2 == Some(token)));
                    let both = |known: &Known| (known.1, known.2) == (what, Some(token));
                    assert_eq!(handler.has_what_with_token(what, tokens[token]), list.iter().any(both));
                }
            });
        }
        let handler = &handlers[0];
        assert_eq!(handler.has_if(|number| number % 7 == 3), known[0].iter().any(|known| known.0 % 7 == 3));
        assert!(looper.exit_report().run > 500 && looper.exit_report().removed > 500, "{:?}", looper.exit_report());
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
                                0 => handler.remove_what(1),
                                1 => usize::from(posted.cancel()),
                                2 => handler.remove_if(|number| number % 3 == 0),
                                3 if number == 53 => handler.remove(),
                                3 => handler.remove_what_with_token(2, token),
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
    type Remove = fn(&Handler<handlers::Told>, &Posted<handlers::Told>) -> usize;
    let removals: [Remove; 4] = [
        |handler, _| handler.remove(),
        |handler, _| handler.remove_what(0),
        |handler, _| handler.remove_if(|_| true),
        |_, posted| usize::from(posted.cancel()),
    ];
    watched(move || {
        for removal in removals {
            let looper = TestLooper::new().unwrap();
            let (handler, _kept) = keeper(&looper);
            let (value, dropped) = told();
            let posted = handler.send(value).unwrap();

            let there = elsewhere(|| {
                assert_eq!(removal(&handler, &posted), 1);
                thread::current().id()
            });

            assert_eq!(dropped.try_iter().collect::<Vec<_>>(), [there]);
        }
    });
}

#[test]
fn r6_a_predicate_looks_at_what_is_pending_when_it_is_asked_once_and_in_order() {
    let looper = TestLooper::new().unwrap();
    let (handler, kept) = keeper(&looper);
    handler.send_delayed(HOUR, 5).unwrap();
    handler.send(3).unwrap();
    elsewhere(|| handler.send(4).unwrap());
    handler.send_at(looper.now() - HOUR, 2).unwrap();
    handler.send_at_front(1).unwrap();

    let mut seen = Vec::new();
    let removed = handler.remove_if(|number| {
        seen.push(*number);
        // Ahead of, between and behind those that it looks at.
        handler.send_at_front(10 + number).unwrap();
        handler.send(20 + number).unwrap();
        handler.send_delayed(2 * HOUR, 30 + number).unwrap();
        number % 2 == 1
    });

    assert_eq!((seen, removed, handler.len()), (vec![1, 2, 3, 4, 5], 3, 2 + 15));
    looper.run_to_end();
    let expected = [15, 14, 13, 12, 11, 2, 4, 21, 22, 23, 24, 25, 31, 32, 33, 34, 35];
    assert_eq!(kept.take(), expected);
}

#[test]
fn r6_has_if_removes_nothing_and_stops_at_the_first() {
    let looper = TestLooper::new().unwrap();
    let (handler, kept) = keeper(&looper);
    send_each(&handler, [1, 2, 3]);

    let mut asked = 0;
    let found = handler.has_if(|number| {
        asked += 1;
        *number == 2
    });

    assert_eq!((found, asked, handler.has_if(|number| *number == 4), handler.len()), (true, 2, false, 3));
    looper.idle();
    assert_eq!(kept.take(), [1, 2, 3]);
}

/// What a predicate does to the handler while it looks at the first of three messages, and how many it removes so.
type Act = fn(&Handler<u32>, &Posted<u32>) -> usize;

#[test]
fn r6_each_message_that_a_predicate_itself_removes_counts_once() {
    // Then how often it is asked, whatever it answers.
    let acts: [(&str, Act, usize); 6] = [
        ("nothing", |_, _| 0, 3),
        ("cancels the one it looks at", |_, posted| usize::from(posted.cancel()), 3),
        ("removes all", |handler, _| handler.remove(), 1),
        ("removes what all are", |handler, _| handler.remove_what(7), 1),
        ("removes all by predicate", |handler, _| handler.remove_if(|_| true), 1),
        ("removes another by predicate", |handler, _| handler.remove_if(|number| *number == 2), 2),
    ];
    watched(move || {
        for (name, act, asks) in acts {
            for (answer, inner, outer) in [true, false]
                .into_iter()
                .flat_map(|answer| WHERES.into_iter().flat_map(move |inner| WHERES.map(|outer| (answer, inner, outer))))
            {
                if matches!(inner, Where::Elsewhere) && name.ends_with("by predicate") {
                    // See `remove_if`: two threads look at one message in turn, so that this would wait for itself.
                    continue;
                }
                let looper = TestLooper::new().unwrap();
                let (handler, _kept) = keeper(&looper);
                let first = handler.message(1).what(7).send().unwrap();
                for number in [2, 3] {
                    handler.message(number).what(7).send().unwrap();
                }

                let (mut asked, mut by_act) = (0, 0);
                let removed = outer.ask(|| {
                    handler.remove_if(|number| {
                        asked += 1;
                        if *number == 1 {
                            by_act = inner.ask(|| act(&handler, &first));
                        }
                        answer
                    })
                });

                let ended = looper.exit_report().removed as usize;
                let context = format!("{name}, then {answer}, {inner:?} in {outer:?}");
                assert_eq!((asked, removed + by_act, 3 - handler.len()), (asks, ended, ended), "{context}");
                assert_eq!(looper.idle(), 3 - ended, "{context}");
            }
        }
    });
}

#[test]
fn r6_in_a_predicate_the_message_it_looks_at_is_pending() {
    watched(|| {
        for (inner, outer) in WHERES.into_iter().flat_map(|inner| WHERES.map(|outer| (inner, outer))) {
            let looper = TestLooper::new().unwrap();
            let (handler, kept) = keeper(&looper);
            let token = Token::new();
            let posted = handler.message("looked at").what(7).token(token).send().unwrap();

            let mut asked = 0;
            let removed = outer.ask(|| {
                handler.remove_if(|_| {
                    inner.ask(|| {
                        assert!(posted.is_pending() && handler.has_what(7) && handler.has_token(token));
                        assert!(handler.has_what_with_token(7, token));
                        assert_eq!((handler.len(), handler.looper().len()), (1, 1));
                    });
                    asked += 1;
                    false
                })
            });

            assert_eq!((asked, removed, handler.len()), (1, 0, 1));
            looper.idle();
            assert_eq!(kept.take(), ["looked at"]);
        }
    });
}

/// R6: answers or errors, and afterwards everything works.
#[test]
fn r6_polling_and_calls_in_a_predicate_are_errors_and_everything_else_works() {
    watched(|| {
        let elsewhere = Elsewhere::run(|_| ());
        let other = Looper::new().unwrap();
        let (handler, kept) = keeper(&other);
        for (is_own, handle) in [(false, elsewhere.handle.clone()), (true, other.handle())] {
            handler.send(Message::new(1)).unwrap();

            let mut asked = 0;
            let removed = handler.remove_if(|_| {
                asked += 1;
                assert!(other.poll_once(Duration::ZERO).is_err());
                assert!(other.poll_all(Duration::ZERO).is_err());
                match handle.call(|_| "called") {
                    // S1: on the looper's own thread nobody has to wait.
                    Ok(called) => assert!(is_own && called == "called"),
                    Err(CallError::InPredicate(closure)) => assert!(!is_own && closure(&other) == "called"),
                    Err(error) => panic!("{error:?}"),
                }
                assert_eq!(handle.call_timeout(HOUR, |_| ()).is_ok(), is_own);
                assert!(handle.post_delayed(HOUR, |_| ()).unwrap().cancel());
                let more = handle.handler(|_, _: u32| ()).unwrap();
                let pending = more.message(1).what(3).send_delayed(HOUR).unwrap().guard();
                assert!(more.has_if(|number| *number == 1) && more.remove_if(|_| true) == 1);
                assert!(!pending.posted().is_pending());
                handle.wake().unwrap();
                false
            });
            assert_eq!((asked, removed), (1, 0));

            assert_eq!(other.poll_once(None).unwrap().messages, 1);
            assert_eq!(kept.take().len(), 1);
            assert_eq!(handle.call(|_| 7).unwrap(), 7);
        }
        elsewhere.handle.quit();
        elsewhere.join();
    });
}

#[test]
fn r6_quitting_in_a_predicate_drops_the_messages_once_and_ends_the_looking() {
    watched(|| {
        let quits = [LooperHandle::quit, LooperHandle::quit_safely];
        for (quit, place) in quits.into_iter().flat_map(|quit| WHERES.map(|place| (quit, place))) {
            for answer in [true, false] {
                let looper = Looper::new().unwrap();
                let (values, dropped) = told_many(3);
                let (handler, kept) = keeper(&looper);
                for value in values {
                    handler.send_delayed(HOUR, value).unwrap();
                }
                let mut asked = 0;
                let removed = place.ask(|| {
                    handler.remove_if(|_| {
                        asked += 1;
                        quit(&handler.looper());
                        assert_eq!((handler.len(), handler.looper().len()), (0, 0));
                        answer
                    })
                });
                let report = looper.run().unwrap();

                assert_eq!((asked, removed), (1, 0), "quit comes first: {answer}, {place:?}");
                assert_report(report, 3, 0, 0, 3);
                let home = thread::current().id();
                let mut drops = dropped.try_iter().collect::<Vec<_>>();
                assert_eq!((drops.len(), kept.take().len()), (3, 0));
                drops.retain(|thread| *thread != home);
                assert_eq!(drops, [], "dropped elsewhere: {answer}, {place:?}");
            }
        }
    });
}

#[test]
fn r6_a_predicate_may_drop_the_looper() {
    watched(|| {
        for answer in [true, false] {
            let looper = Looper::new().unwrap();
            let (handler, _kept) = keeper(&looper);
            send_each(&handler, [1, 2, 3]);
            let handle = looper.handle();
            let mut looper = Some(looper);

            let mut asked = 0;
            let removed = handler.remove_if(|_| {
                asked += 1;
                drop(looper.take());
                assert!(handler.is_empty());
                answer
            });

            assert_eq!((asked, removed), (1, 0));
            assert_report(handle.exit_report(), 3, 0, 0, 3);
            let rejected = handler.send(4).unwrap_err();
            assert_eq!((rejected.value, rejected.reason), (4, Reason::Dropped));
        }
    });
}

/// There is no looper any more that could drop it; it must not stay until the last front goes.
#[test]
fn r6_what_is_looked_at_when_its_looper_is_dropped_is_dropped_when_the_predicate_has_returned() {
    watched(|| {
        for place in WHERES {
            let looper = Looper::new().unwrap();
            let (values, dropped) = told_many(3);
            let (handler, _kept) = keeper(&looper);
            send_each(&handler, values);
            let (looks, is_looked_at) = mpsc::channel();
            let (gone, is_gone) = mpsc::channel();

            match place {
                Where::Home => {
                    let mut looper = Some(looper);
                    handler.remove_if(|_| {
                        drop(looper.take());
                        true
                    });
                }
                Where::Elsewhere => thread::scope(|scope| {
                    let handler = &handler;
                    let remover = scope.spawn(move || {
                        handler.remove_if(|_| {
                            looks.send(()).unwrap();
                            is_gone.recv().unwrap();
                            true
                        })
                    });
                    is_looked_at.recv().unwrap();
                    drop(looper);
                    gone.send(()).unwrap();
                    assert_eq!(remover.join().unwrap(), 0);
                }),
            }

            assert_eq!(dropped.try_iter().count(), 3, "{place:?}, with a front left");
        }
    });
}

/// The temporary front is the last one then.
#[test]
fn r6_a_predicate_may_drop_the_last_other_front() {
    watched(|| {
        for place in WHERES {
            let looper = TestLooper::new().unwrap();
            let (own, dropped) = told();
            let handler = Handler::new(&looper, move |_, _: u32| own.hold());
            send_each(&handler, [1, 2, 3]);
            let weak = handler.downgrade();

            let removed = place.ask(|| {
                let mut front = Some(handler);
                weak.upgrade().unwrap().remove_if(|_| {
                    drop(front.take());
                    true
                })
            });
            looper.idle();

            assert_eq!((removed, weak.upgrade().is_none()), (3, true));
            assert_eq!(dropped.try_iter().collect::<Vec<_>>(), [thread::current().id()], "{place:?}");
        }
    });
}

/// No lock is held: what the other thread does is done before the predicate returns.
#[test]
fn r6_a_predicate_may_wait_for_a_thread_that_sends_to_and_removes_from_and_asks_the_same_handler() {
    watched(|| {
        let looper = TestLooper::new().unwrap();
        let (handler, kept) = keeper(&looper);
        let token = Token::new();
        for number in 1..=4 {
            handler.message(number).what(number).token(token).send().unwrap();
        }

        let mut seen = Vec::new();
        let removed = handler.remove_if(|number| {
            seen.push(*number);
            elsewhere(|| {
                handler.message(number + 10).what(10).send().unwrap();
                handler.message(number + 20).what(20).send_at_front().unwrap();
                assert!(handler.has_what(*number) && handler.has_token(token) && handler.len() >= 3);
                assert_eq!(handler.remove_what(20), 1);
                // The one behind.
                assert_eq!(handler.remove_what(number + 1), 1);
                assert_eq!(handler.remove_what_with_token(10, token), 0);
                let clone = handler.clone().asynchronous();
                assert!(clone.send_delayed(HOUR, 0).unwrap().cancel());
            });
            *number == 3
        });

        assert_eq!((seen, removed), (vec![1, 3], 1));
        looper.idle();
        assert_eq!(kept.take(), [1, 11, 13]);
    });
}

/// The looper sleeps before the message that is looked at, serves fds, and gets up when the predicate has answered.
#[test]
fn r6_the_looper_serves_fds_while_the_next_message_is_looked_at_and_goes_on_after_that() {
    watched(|| {
        for (answer, after) in [(true, vec![2, 3]), (false, vec![1, 2, 3])] {
            let looper = Looper::new().unwrap();
            let handle = looper.handle();
            let (handler, kept) = keeper(&looper);
            send_each(&handler, [1, 2, 3]);
            let (near, mut far) = UnixStream::pair().unwrap();
            let (served, is_served) = mpsc::channel();
            let callback = move |_: &Looper, _: &mut UnixStream, _| {
                served.send(()).unwrap();
                Next::Remove
            };
            looper.add_fd(near, Interest::INPUT, callback).unwrap();
            let (looks, is_looked_at) = mpsc::channel();
            let in_predicate = handler.clone();
            let remover = thread::spawn(move || {
                handler.remove_if(|number| {
                    if *number != 1 {
                        return false;
                    }
                    // What is looked at already is left out, and stays as it is.
                    assert!(!in_predicate.has_if(|number| *number == 1));
                    assert_eq!(in_predicate.remove_if(|number| *number == 1), 0);
                    looks.send(()).unwrap();
                    until_polling(&handle);
                    far.write_all(b"x").unwrap();
                    is_served.recv().unwrap();
                    until_polling(&handle);
                    answer
                })
            });
            is_looked_at.recv().unwrap();

            let turn = looper.poll_once(None).unwrap();
            assert_eq!((turn.messages, turn.fds), (0, 1));
            let mut ran = 0;
            while ran < after.len() {
                let turn = looper.poll_once(None).unwrap();
                assert!(!turn.woken, "it was nobody's wake");
                ran += turn.messages;
            }

            assert_eq!(remover.join().unwrap(), usize::from(answer));
            assert_eq!(kept.take(), after);
        }
    });
}

#[test]
fn r6_a_panic_of_a_predicate_leaves_the_message_and_what_follows() {
    watched(|| {
        for place in WHERES {
            let looper = TestLooper::new().unwrap();
            let (handler, kept) = keeper(&looper);
            send_each(&handler, [1, 2, 3, 4]);
            let explode = |number: &u32| {
                assert!(*number != 3, "three");
                number % 2 == 1
            };

            let panicked = place.ask(|| {
                let remove = || handler.remove_if(explode);
                panic::catch_unwind(AssertUnwindSafe(remove)).unwrap_err().downcast_ref::<&str>().copied()
            });

            assert_eq!((panicked, handler.len()), (Some("three"), 3), "{place:?}");
            assert!(panic::catch_unwind(AssertUnwindSafe(|| handler.has_if(explode))).is_err());
            assert!(handler.looper().call(|_| ()).is_ok(), "it is in no predicate any more");
            assert_eq!(handler.remove_if(|number| *number == 4), 1);
            looper.idle();
            assert_eq!(kept.take(), [2, 3]);
            assert_report(looper.exit_report(), 4, 2, 2, 0);
        }
    });
}

/// A looper that waits for the predicate's answer gets up also if there is none.
#[test]
fn r6_a_predicate_that_panics_lets_the_looper_go_on() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handle = looper.handle();
        let (handler, kept) = keeper(&looper);
        handler.send(1).unwrap();
        let (looks, is_looked_at) = mpsc::channel();
        let remover = thread::spawn(move || {
            handler.remove_if(|_| {
                looks.send(()).unwrap();
                until_polling(&handle);
                panic!("no answer");
            })
        });
        is_looked_at.recv().unwrap();

        assert_eq!(looper.poll_once(None).unwrap().messages, 1);

        assert!(remover.join().is_err());
        assert_eq!(kept.take(), [1]);
    });
}

/// R1 holds of a message that another thread looks at, too, and then lets be.
#[test]
fn r1_a_removal_by_predicate_passes_over_nothing_that_another_thread_looks_at() {
    watched(|| {
        for _ in 0..50 {
            let looper = TestLooper::new().unwrap();
            let (handler, _kept) = keeper(&looper);
            send_each(&handler, [1, 2]);
            let (looks, is_looked_at) = mpsc::channel();
            let (comes, is_coming) = mpsc::channel();

            let (kept, removed) = thread::scope(|scope| {
                let handler = &handler;
                let keeping = scope.spawn(move || {
                    handler.remove_if(|number| {
                        if *number == 2 {
                            looks.send(()).unwrap();
                            is_coming.recv().unwrap();
                            // For the other one to come to this message meanwhile.
                            (0..200).for_each(|_| thread::yield_now());
                        }
                        false
                    })
                });
                is_looked_at.recv().unwrap();
                let removed = handler.remove_if(|number| {
                    if *number == 1 {
                        comes.send(()).unwrap();
                    }
                    true
                });
                (keeping.join().unwrap(), removed)
            });

            assert_eq!((kept, removed, handler.len()), (0, 2, 0));
        }
    });
}

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
            ("nothing", |handler, _| handler.remove_what(99), 0),
            ("by number", |handler, _| handler.remove_what(7), 2),
            ("by predicate", |handler, _| handler.remove_if(|_| true), 2),
            ("all", |handler, _| handler.remove(), 2),
            ("cancel", |_, posted| usize::from(posted.cancel()), 1),
        ];
        for (name, act, count) in acts {
            handler.remove();
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

#[test]
fn r6_threads_that_remove_by_predicate_at_once_remove_each_message_once() {
    const COUNT: usize = 5000;
    watched(|| {
        for runs in [false, true] {
            let (start, ran) = (Arc::new(Barrier::new(4)), Arc::new(AtomicUsize::new(0)));
            let (values, dropped) = told_many(COUNT);
            let elsewhere = Elsewhere::run({
                let start = start.clone();
                move |looper| {
                    looper
                        .post(move |_| {
                            start.wait();
                        })
                        .unwrap();
                }
            });
            let count = ran.clone();
            let handler = elsewhere.handle.handler(move |_, _| {
                count.fetch_add(1, Ordering::Relaxed);
            });
            let handler = handler.unwrap();
            let delay = if runs { Duration::ZERO } else { HOUR };
            for value in values {
                handler.send_delayed(delay, value).unwrap();
            }

            let removers = [0, 1, 2].map(|_| {
                let (handler, start) = (handler.clone(), start.clone());
                thread::spawn(move || {
                    start.wait();
                    let mut asked = 0;
                    let removed = handler.remove_if(|_| {
                        asked += 1;
                        true
                    });
                    assert!(asked >= removed);
                    removed
                })
            });
            let removed: usize = removers.map(|remover| remover.join().unwrap()).iter().sum();
            elsewhere.handle.quit_safely();
            let report = elsewhere.join();

            let ran = ran.load(Ordering::Relaxed);
            assert_report(report, COUNT as u64 + 1, ran as u64 + 1, removed as u64, 0);
            assert_eq!(dropped.try_iter().count(), COUNT);
            assert!(runs || ran == 0);
        }
    });
}

/// A removal of all messages of a handler of values that are hard to drop.
type RemoveParcels = fn(&Handler<Parcel>, &Posted<Parcel>) -> usize;

/// C59.
#[test]
fn m9_a_removed_value_whose_drop_uses_everything_is_dropped_with_nothing_held() {
    let removals: [(&str, RemoveParcels); 5] = [
        ("all", |handler, _| handler.remove()),
        ("what", |handler, _| handler.remove_what(1)),
        ("predicate", |handler, _| handler.remove_if(|parcel| parcel.is_some())),
        ("cancel", |_, posted| usize::from(posted.cancel())),
        ("cancel in a predicate", |handler, posted| {
            let mut cancelled = 0;
            handler.remove_if(|_| {
                cancelled += usize::from(posted.cancel());
                false
            });
            cancelled
        }),
    ];
    watched(move || {
        for ((name, removal), place) in removals.into_iter().flat_map(|removal| WHERES.map(|place| (removal, place))) {
            let looper = TestLooper::new().unwrap();
            let (handler, _kept) = keeper::<Parcel>(&looper);
            let (meddler, dropped) = Meddler::new(&handler);
            // Of the meddler's own victim, there is nothing left to remove.
            handler.remove_if(|parcel| parcel.is_none());
            let posted = handler.message(Some(meddler)).what(1).send().unwrap();
            let front = handler.message(None).what(1).send_at_front().unwrap();

            let (removed, there) = place.ask(|| (removal(&handler, &posted), thread::current().id()));

            assert_eq!(dropped.try_iter().collect::<Vec<_>>(), [there], "{name}, {place:?}");
            let left = usize::from(front.is_pending());
            assert_eq!((removed, handler.len()), (2 - left, left), "{name}, {place:?}");
            assert_eq!(looper.idle(), left);
            let report = looper.exit_report();
            assert_eq!((report.posted, report.dropped), (report.run + report.removed, 0), "{name}, {place:?}");
        }
    });
}

/// Sends another one of its kind when it is dropped, for as long as it is taken.
struct Again(Option<WeakHandler<Again>>);

impl Drop for Again {
    fn drop(&mut self) {
        let Some(weak) = self.0.take() else {
            return;
        };
        if let Some(Err(mut rejected)) = weak.upgrade().map(|handler| handler.send(Again(Some(weak)))) {
            rejected.value.0 = None;
        }
    }
}

#[test]
fn x4_removing_values_whose_drop_sends_again_removes_what_was_there_once() {
    watched(|| {
        for place in WHERES {
            let looper = Looper::new().unwrap();
            let handler = looper.handle().handler(|_, _: Again| ()).unwrap();
            for _ in 0..100 {
                handler.message(Again(Some(handler.downgrade()))).what(1).send().unwrap();
            }

            assert_eq!(place.ask(|| handler.remove_what(1)), 100);
            assert_eq!((handler.len(), handler.has_what(1)), (100, false));
            assert_eq!(place.ask(|| handler.remove()), 100);
            assert_eq!(place.ask(|| handler.remove_if(|_| true)), 100);
            let turn = looper.poll_once(None).unwrap();
            assert_eq!((turn.messages, turn.more, handler.len()), (256, true, 100), "what is handled sends again, too");
            looper.quit();

            let report = looper.run().unwrap();
            assert_eq!((report.removed, report.posted), (300, report.run + report.removed + report.dropped));
        }
    });
}

/// Panics when it is dropped, if it is to.
struct Fragile(bool, #[expect(dead_code, reason = "is dropped")] handlers::Told);

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(!self.0, "fragile");
    }
}

/// C61.
#[test]
fn x3_values_that_panic_when_they_are_removed_do_not_keep_the_others_from_being_dropped() {
    type Remove = fn(&Handler<Fragile>) -> usize;
    let removals: [Remove; 2] = [|handler| handler.remove(), |handler| handler.remove_what(0)];
    watched(move || {
        for (removal, place) in removals.into_iter().flat_map(|removal| WHERES.map(|place| (removal, place))) {
            let looper = TestLooper::new().unwrap();
            let (handler, _kept) = keeper(&looper);
            let (values, dropped) = told_many(5);
            send_each(
                &handler,
                values
                    .into_iter()
                    .zip([false, true, true, false, true])
                    .map(|(told, is_fragile)| Fragile(is_fragile, told)),
            );

            let panicked = place.ask(|| panic::catch_unwind(AssertUnwindSafe(|| removal(&handler))).is_err());

            assert!(panicked);
            assert_eq!((dropped.try_iter().count(), handler.len()), (5, 0), "{place:?}");
            assert_report(looper.exit_report(), 5, 0, 5, 0);
            handler.send(Fragile(false, told().0)).unwrap();
            assert_eq!(looper.idle(), 1);
        }
    });
}

/// C61: it ends there, and can be asked for again.
#[test]
fn x3_a_value_that_panics_when_a_predicate_has_it_removed_leaves_the_others_pending() {
    watched(|| {
        for place in WHERES {
            let looper = TestLooper::new().unwrap();
            let (handler, _kept) = keeper(&looper);
            let (values, dropped) = told_many(3);
            send_each(
                &handler,
                values.into_iter().zip([true, false, true]).map(|(told, is_fragile)| Fragile(is_fragile, told)),
            );
            let remove = || panic::catch_unwind(AssertUnwindSafe(|| handler.remove_if(|_| true))).ok();

            assert_eq!((place.ask(remove), handler.len(), dropped.try_iter().count()), (None, 2, 1));
            assert_eq!((place.ask(remove), handler.len(), dropped.try_iter().count()), (None, 0, 2));
            assert_eq!(place.ask(remove), Some(0));
            assert_report(looper.exit_report(), 3, 0, 3, 0);
        }
    });
}
