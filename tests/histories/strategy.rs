//! Random histories.

#[path = "strategy_fds.rs"]
mod fds;

use proptest::{collection::vec, option, prelude::*, strategy::Union};

use crate::history::{Awaits, By, HANDLERS, History, Labels, MARKS, Op, Passes, Script, TOKENS, WHATS, When, Which};

/// How deep scripts post messages that have scripts.
const DEPTH: u32 = 2;
/// More than the looper's own thread numbers at a time, and than lie in one piece of memory.
const MANY: usize = 300;
/// So many steps, with it, may follow a quit that is added.
const AFTER: usize = 8;

/// Histories of at most `most` steps; to most of them a quit is added, and a little that is done after it.
pub(crate) fn histories(most: usize) -> impl Strategy<Value = History> {
    let budget = prop_oneof![Just(256_usize), Just(1), Just(2), Just(3)];
    let quit = prop_oneof![1 => Just(vec![]), 2 => Just(vec![Op::Quit]), 1 => Just(vec![Op::QuitSafely])];
    let steps = (vec(step_or_burst(), 1..=most - AFTER), quit, vec(step(), 0..AFTER));
    let spin_limit = prop_oneof![Just(1000_u32), 1..4_u32];
    let looks_each = prop_oneof![3 => Just(1_usize), 1 => Just(2), 2 => Just(7), 2 => Just(1000)];
    let afar = prop_oneof![1 => Just(false), 2 => Just(true)];
    (budget, afar, looks_each, spin_limit, steps).prop_map(
        |(budget, is_afar, looks_each, spin_limit, (before, quit, after))| {
            let before = before.concat();
            // What is looked at after each step of a long history takes long.
            let looks_each = if before.len() > 2 * MANY { looks_each.max(100) } else { looks_each };
            History {
                budget,
                is_afar,
                looks_each,
                spin_limit,
                is_hosted: spin_limit == 1,
                steps: [before, quit, after].concat(),
            }
        },
    )
}

/// A step, or so many that numbers and rooms run out.
fn step_or_burst() -> impl Strategy<Value = Vec<Op>> {
    let once = prop_oneof![
        5 => (by(), when()).prop_map(|(by, when)| Op::Post { by, when, script: Script::from([]) }),
        3 => (0..HANDLERS, labels(), passes(), when()).prop_map(|(to, labels, passes, when)| {
            Op::Send { to, labels, passes, when, script: Script::from([]) }
        }),
        1 => back().prop_map(|back| Op::Cancel { back }),
    ];
    let burst = (once, prop_oneof![3 => 5..40_usize, 1 => MANY..3 * MANY]);
    // Those from other threads take long: as many as go into the queue at once, and a few more.
    let burst = burst.prop_map(|(op, count)| match op {
        Op::Post { by: By::Handle | By::AsynchronousHandle, .. } | Op::Send { .. } if count < MANY => {
            vec![op; count.min(20)]
        }
        Op::Post { by: By::Handle | By::AsynchronousHandle, .. } | Op::Send { .. } => vec![op; MANY],
        op => vec![op; count],
    });
    prop_oneof![60 => step().prop_map(|op| vec![op]), 1 => burst]
}

fn step() -> impl Strategy<Value = Op> {
    prop_oneof![
        60 => anywhere(DEPTH),
        11 => short().prop_map(|timeout| Op::Poll { timeout }),
        5 => short().prop_map(|timeout| Op::PollAll { timeout }),
        5 => short().prop_map(|by| Op::Advance { by }),
        4 => short().prop_map(|by| Op::Oversleep { by }),
        3 => Just(Op::RunOne),
        2 => Just(Op::Wake),
        5 => block(DEPTH),
    ]
}

fn block(depth: u32) -> impl Strategy<Value = Op> {
    let awaits = prop_oneof![
        1 => by().prop_map(Awaits::Sleep),
        2 => back().prop_map(|back| Awaits::Task { back }),
        2 => (by(), back()).prop_map(|(by, back)| Awaits::Timeout { by, back }),
    ];
    (awaits, short(), script(depth)).prop_map(|(awaits, time, script)| Op::Block { awaits, time, script })
}

/// What may also be done from inside a callback.
fn anywhere(depth: u32) -> BoxedStrategy<Op> {
    let post = (by(), when(), script(depth)).prop_map(|(by, when, script)| Op::Post { by, when, script });
    let send = (0..HANDLERS, labels(), passes(), when(), script(depth))
        .prop_map(|(to, labels, passes, when, script)| Op::Send { to, labels, passes, when, script });
    let bounded = (prop::bool::weighted(0.25), prop::bool::weighted(0.1), script(depth))
        .prop_map(|(asynchronous, waits, script)| Op::SendBounded { asynchronous, waits, script });
    let every = (by(), 0..6_i64, 1..4_u8, script(depth)).prop_map(|(by, period, runs, script)| Op::Every {
        by,
        period,
        runs: Some(runs),
        script,
    });
    // Without a script, and with a pause, it may go on for ever.
    let ever = (by(), 1..6_i64).prop_map(|(by, period)| Op::Every { by, period, runs: None, script: Script::from([]) });
    let remove = (0..HANDLERS, which()).prop_map(|(from, which)| Op::Remove { from, which });
    let renew = (0..HANDLERS, by()).prop_map(|(slot, by)| Op::Renew { slot, by });
    let idle = (1..3_u8, script(depth)).prop_map(|(runs, script)| {
        let (by, runs) = (By::Looper, Some(runs));
        Op::AddIdle { by, runs, script }
    });
    // When within a turn one runs that a handle has added is not said: so it does nothing that shows it.
    let idle_ever = by().prop_map(|by| Op::AddIdle { by, runs: None, script: Script::from([]) });
    Union::new_weighted(vec![
        (120, post.boxed()),
        (200, send.boxed()),
        (60, bounded.boxed()),
        (8, Just(Op::ClearBounded).boxed()),
        (20, every.boxed()),
        (8, ever.boxed()),
        (60, back().prop_map(|back| Op::Cancel { back }).boxed()),
        (60, (back(), short()).prop_map(|(back, delay)| Op::Reschedule { back, delay }).boxed()),
        (10, back().prop_map(|back| Op::CancelByGuard { back }).boxed()),
        (70, remove.boxed()),
        (25, renew.boxed()),
        (60, (by(), vec(script(depth), 1..=3)).prop_map(|(by, polls)| Op::Spawn { by, polls: polls.into() }).boxed()),
        (60, back().prop_map(|back| Op::WakeTask { back }).boxed()),
        (15, back().prop_map(|back| Op::CancelTask { back }).boxed()),
        (30, Just(Op::Barrier).boxed()),
        (30, back().prop_map(|back| Op::Lift { back }).boxed()),
        (20, idle.boxed()),
        (8, idle_ever.boxed()),
        (10, back().prop_map(|back| Op::RemoveIdle { back }).boxed()),
        (1, Just(Op::Quit).boxed()),
        (4, Just(Op::QuitSafely).boxed()),
        (10, script(depth).prop_map(|script| Op::Call { script }).boxed()),
        (200, fds::anywhere(depth)),
        (3, Just(Op::Wake).boxed()),
        // From inside a callback it is an error.
        (3, Just(Op::Poll { timeout: 0 }).boxed()),
        (3, block(0).boxed()),
    ])
    .boxed()
}

fn script(depth: u32) -> BoxedStrategy<Script> {
    let nothing = Just(Script::from([]));
    if depth == 0 {
        return nothing.boxed();
    }
    let something = vec(anywhere(depth - 1), 1..=3).prop_map(Script::from);
    prop_oneof![3 => nothing, 1 => something].boxed()
}

/// A time that other times are likely to equal.
fn short() -> impl Strategy<Value = i64> {
    prop_oneof![3 => Just(0_i64), 5 => 1..6_i64, 1 => 6..20_i64]
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![
        4 => Just(When::Now),
        4 => short().prop_map(When::After),
        4 => (-4..8_i64).prop_map(When::At),
        2 => Just(When::AtFront),
        1 => Just(When::Never),
    ]
}

fn by() -> impl Strategy<Value = By> {
    prop_oneof![2 => Just(By::Looper), 1 => Just(By::Handle), 1 => Just(By::AsynchronousHandle)]
}

fn passes() -> impl Strategy<Value = Passes> {
    prop_oneof![4 => Just(Passes::AsTheHandler), 1 => Just(Passes::ByDraft), 1 => Just(Passes::ByView)]
}

fn labels() -> impl Strategy<Value = Labels> {
    (option::of(0..WHATS), option::of(0..TOKENS), 0..MARKS).prop_map(|(what, token, mark)| Labels { what, token, mark })
}

fn which() -> impl Strategy<Value = Which> {
    prop_oneof![
        1 => Just(Which::All),
        2 => (0..WHATS).prop_map(Which::What),
        2 => (0..TOKENS).prop_map(Which::Token),
        2 => (0..WHATS, 0..TOKENS).prop_map(|(what, token)| Which::WhatWithToken(what, token)),
        2 => (0..MARKS).prop_map(Which::Marked),
    ]
}

/// Mostly one of the latest.
fn back() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0..4_usize, 2 => 4..40_usize]
}
