//! Random operations on fds.

use proptest::{collection::vec, option, prelude::*, strategy::Union};

use super::{back, by, script};
use crate::{
    history::{Answer, Answers, How, Op, Returns, Swap},
    kernel::CONDITIONS,
};

/// What may be done with fds anywhere, also from inside a callback.
pub(super) fn anywhere(depth: u32) -> BoxedStrategy<Op> {
    let ready = (back(), 0..=CONDITIONS).prop_map(|(back, events)| Op::Ready { back, events });
    let watch = (by(), back(), how(), interest(), vec(answer(depth), 1..4));
    let watch = watch.prop_map(|(by, back, how, interest, answers)| {
        let answers = if let How::Ident(_) = how { Answers::from([]) } else { Answers::from(answers) };
        Op::Watch { by, back, how, interest, answers }
    });
    let set_interest =
        (by(), back(), interest()).prop_map(|(by, back, interest)| Op::SetInterest { by, back, interest });
    let lend = (back(), swap(), script(depth)).prop_map(|(back, swap, script)| Op::Lend { back, swap, script });
    Union::new_weighted(vec![
        (4, Just(Op::Open).boxed()),
        (2, back().prop_map(|back| Op::Dup { back }).boxed()),
        (2, back().prop_map(|back| Op::Close { back }).boxed()),
        (8, ready.boxed()),
        (1, back().prop_map(|back| Op::Hang { back }).boxed()),
        (8, watch.boxed()),
        (2, set_interest.boxed()),
        (2, (by(), back()).prop_map(|(by, back)| Op::Repoll { by, back }).boxed()),
        (3, (by(), back()).prop_map(|(by, back)| Op::Unwatch { by, back }).boxed()),
        (2, lend.boxed()),
    ])
    .boxed()
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![4 => Just(How::Adding), 2 => Just(How::Replacing), 2 => (0..4_u32).prop_map(How::Ident)]
}

fn answer(depth: u32) -> impl Strategy<Value = Answer> {
    let next = prop_oneof![
        4 => Just(Returns::Keep),
        2 => interest().prop_map(Returns::Interest),
        1 => Just(Returns::Remove),
    ];
    let swap = prop_oneof![3 => Just(None), 1 => swap()];
    (any::<bool>(), swap, script(depth), next).prop_map(|(drains, swap, script, next)| Answer {
        drains,
        swap,
        script,
        next,
    })
}

fn swap() -> impl Strategy<Value = Option<Swap>> {
    option::of(prop_oneof![Just(Swap::Anew), back().prop_map(Swap::Held)])
}

/// Mostly for input.
fn interest() -> impl Strategy<Value = u8> {
    prop_oneof![1 => Just(1_u8), 1 => 0..16_u8]
}
