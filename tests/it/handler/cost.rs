//! What removing and asking cost: what matches, and not what is queued.
//!
//! Holds R5. What is compared is the time of this thread on its processor, the least of runs that take turns, with much
//! slack: a pass over what is queued costs more than that, which the last test shows.

use std::time::Duration;

use alooper::{Handler, Looper, Token};

use crate::support::{
    HOUR,
    costs::{assert_in_proportion, least_costs},
    watched,
};

/// How many messages stand in the way.
const MANY: u32 = 20_000;
/// How often few are sent and removed.
const ROUNDS: u32 = 30;
/// How many these are.
const FEW: usize = 2;
/// How many times as much it may cost. What is seen is less than 3; one pass over the many is hundreds.
const SLACK: u32 = 20;

/// A handler that is sent what never runs here.
fn silent(looper: &Looper) -> Handler<u32> {
    Handler::new(looper, |_, _| panic!("nothing runs here"))
}

/// Sends few messages that are labelled so, each at its own time among the many.
fn send_few(handler: &Handler<u32>, what: i32, token: Token) {
    for number in 0..FEW as u32 {
        let delay = HOUR + Duration::from_nanos(u64::from(number * (MANY / FEW as u32)));
        handler.message(number).what(what).token(token).send_delayed(delay).unwrap();
    }
}

fn send_many(handler: &Handler<u32>, count: u32) {
    let token = Token::new();
    for number in 0..count {
        let delay = HOUR + Duration::from_nanos(u64::from(number));
        handler.message(number).what(2).token(token).send_delayed(delay).unwrap();
    }
}

/// How something is done to the few: removing gives how many there were, asking gives their number too.
type Act = fn(&Handler<u32>, i32, Token) -> usize;

/// What looks at labels.
const BY_LABEL: [(&str, Act); 3] = [
    ("what", |handler, what, _| handler.remove(what)),
    ("token", |handler, _, token| handler.remove(token)),
    ("what and token", |handler, what, token| handler.remove((what, token))),
];

/// What looks at all messages of the handler.
const BY_HANDLER: [(&str, Act); 2] =
    [("all", |handler, _, _| handler.clear()), ("predicate", |handler, _, _| handler.remove_if(|_| true))];

/// Sends and removes few messages, many times.
fn removing_few(act: Act, handler: &Handler<u32>) -> impl FnMut() {
    let token = Token::new();
    move || {
        for _ in 0..ROUNDS {
            send_few(handler, 1, token);
            assert_eq!(act(handler, 1, token), FEW);
        }
    }
}

#[test]
fn r5_removing_is_no_dearer_for_what_other_handlers_and_the_looper_have_queued() {
    watched(|| {
        let (empty, looper) = (Looper::new().unwrap(), Looper::new().unwrap());
        let (without, with, other) = (silent(&empty), silent(&looper), silent(&looper));
        send_many(&other, MANY);
        for number in 0..MANY / 4 {
            looper.post_delayed(HOUR + Duration::from_nanos(u64::from(number)), |_| ()).unwrap();
        }

        for (name, act) in BY_LABEL.into_iter().chain(BY_HANDLER) {
            assert_in_proportion(name, SLACK, removing_few(act, &without), removing_few(act, &with));
        }
        assert_eq!(other.len(), MANY as usize);
    });
}

/// After the first call for a kind of label.
#[test]
fn r5_removing_by_label_is_no_dearer_for_what_the_same_handler_has_queued_otherwise() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (few, many) = (silent(&looper), silent(&looper));
        send_many(&many, MANY);

        for (name, act) in BY_LABEL {
            assert_in_proportion(name, SLACK, removing_few(act, &few), removing_few(act, &many));
        }
        assert_eq!(many.len(), MANY as usize);
    });
}

#[test]
fn r5_asking_is_no_dearer_for_what_is_queued() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (few, many) = (silent(&looper), silent(&looper));
        let token = Token::new();
        send_many(&many, MANY);
        send_few(&few, 1, token);
        send_few(&many, 1, token);
        let asks: [(&str, Act); 4] = [
            ("len", |handler, _, _| handler.len()),
            ("what", |handler, what, _| usize::from(handler.has(what) && !handler.has(5))),
            ("token", |handler, _, token| usize::from(handler.has(token))),
            ("both", |handler, what, token| usize::from(handler.has((what, token)))),
        ];

        for (name, ask) in asks {
            let asking = |handler: &Handler<u32>| (0..ROUNDS).for_each(|_| assert!(ask(handler, 1, token) > 0));
            assert_in_proportion(name, SLACK, || asking(&few), || asking(&many));
        }
    });
}

/// The many at once cost each no more than few do.
#[test]
fn r5_removing_very_many_costs_in_proportion_to_their_number() {
    watched(|| {
        let removals: [(&str, Act); 3] = [
            ("all", |handler, _, _| handler.clear()),
            ("what", |handler, what, _| handler.remove(what)),
            ("predicate", |handler, _, _| handler.remove_if(|_| true)),
        ];
        let count = MANY / 10;
        for (name, remove) in removals {
            let looper = Looper::new().unwrap();
            let handler = silent(&looper);
            let token = Token::new();
            let few = || {
                for _ in 0..ROUNDS {
                    send_few(&handler, 2, token);
                    assert_eq!(remove(&handler, 2, token), FEW);
                }
            };
            let many = || {
                send_many(&handler, count);
                assert_eq!(remove(&handler, 2, token), count as usize);
            };

            assert_in_proportion(name, SLACK * count / (ROUNDS * FEW as u32), few, many);
        }
    });
}

/// What the other tests would see of a fault: a predicate that looks at all of the many.
#[test]
fn r5_a_pass_over_what_is_queued_would_be_noticed() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let (few, many) = (silent(&looper), silent(&looper));
        send_many(&many, MANY);
        let remove_few = |handler: &Handler<u32>| {
            send_few(handler, 1, Token::new());
            assert_eq!(handler.remove_if(|number| *number == MANY), 0);
            assert_eq!(handler.remove(1), FEW);
        };

        let is_seen = |without: Duration, with: Duration| with > without * SLACK;
        let (without, with) = least_costs(|| remove_few(&few), || remove_few(&many), is_seen);

        assert!(is_seen(without, with), "{with:?}, and without the many {without:?}");
    });
}
