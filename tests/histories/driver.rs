//! Runs a history on the library and on the model, step by step, and compares all that can be seen.

use std::{
    collections::{BTreeSet, HashSet},
    fmt::Debug,
};

use alooper::RejectReason;

use crate::{
    history::History,
    model::Model,
    real::Real,
    seen::{Event, Outcome},
};

/// What has become of the values so far.
#[derive(Default)]
struct Values {
    dropped: HashSet<u32>,
    /// Those that a quit gave up at any time: when they are dropped is compared less closely.
    given_up: HashSet<u32>,
}

/// Runs `history`, and says where the library and the model first differ; otherwise, how many operations there were.
pub(crate) fn compare(history: &History) -> Result<u64, String> {
    let mut model = Model::new(history);
    let mut real = Real::new(history);
    let mut values = Values::default();

    for (number, op) in history.steps.iter().enumerate() {
        let op = &model.instead_of(op);
        let seen = real.step(op);
        let events = real.take_events();
        let expected = model.step(op, &events, &seen);
        let looks = (number + 1) % history.looks_each == 0;
        compare_step(&mut model, looks.then_some(&real), &mut values, (&expected, &seen), events)
            .map_err(|difference| format!("at step {number}, `{op}`, {difference}"))?;
    }

    let had_quit = model.glance().has_quit;
    model.drop_looper();
    real.drop_looper();
    values.note(&real.take_events())?;
    same("the last numbers", &Some(model.glance()), &Some(real.glance()))?;
    (values.dropped.len() == model.numbers() as usize)
        .then_some(())
        .ok_or_else(|| format!("of {} values, dropped were only {:?}", model.numbers(), values.dropped))?;
    let late = real.send_too_late();
    let refused = Outcome::Refused(RejectReason::Dropped);
    if !had_quit {
        same("a post to a dropped looper", &(refused.clone(), refused), &late)?;
    }
    Ok(model.operations())
}

fn compare_step(
    model: &mut Model,
    real: Option<&Real>,
    values: &mut Values,
    (expected, seen): (&Outcome, &Outcome),
    events: Vec<Event>,
) -> Result<(), String> {
    values.given_up.extend(model.given_up());
    values.note(&events)?;
    let (expected_events, events) = (values.comparable(model.take_events()), values.comparable(events));
    if let Some(index) =
        (0..expected_events.len().max(events.len())).find(|i| expected_events.get(*i) != events.get(*i))
    {
        let before = &events[index.saturating_sub(4)..index];
        return Err(format!(
            "after {before:?}\n  expected: {:?}\n      seen: {:?}",
            expected_events.get(index),
            events.get(index)
        ));
    }
    same("the outcome", expected, seen)?;
    if let Some(real) = real {
        // O1.
        if real.is_readable() == Some(false) && model.wants_to_be_polled() {
            return Err("its fd does not tell the host of what there is to do".to_owned());
        }
        model.compare_waits(real.waits())?;
    }
    if let Some(real) = real {
        let (expected_view, view) = (model.view(), real.view());
        same("the view", &expected_view, &view)?;
        let report = view.glance.report;
        let ended = report.run + report.removed + report.dropped;
        same("the sum", &report.posted, &(ended + view.glance.len as u64))?;
    }
    // A turn drops what was given up before it or in it.
    let due = if model.has_turned() { model.end_turn() } else { BTreeSet::new() };
    if let Some(kept) = due.iter().find(|number| !values.dropped.contains(number)) {
        return Err(format!("{kept} was given up and is not dropped"));
    }
    Ok(())
}

fn same<T: Debug + PartialEq>(what: &str, expected: &T, seen: &T) -> Result<(), String> {
    (expected == seen)
        .then_some(())
        .ok_or_else(|| format!("{what} differs\n  expected: {expected:?}\n      seen: {seen:?}"))
}

impl Values {
    fn note(&mut self, events: &[Event]) -> Result<(), String> {
        for event in events {
            if let Event::Dropped(number) = event
                && !self.dropped.insert(*number)
            {
                return Err(format!("{number} is dropped twice"));
            }
        }
        Ok(())
    }

    /// The events, without the drops of what was given up, and with the drops of one operation sorted: in which order
    /// a removal drops, and whether it does so between the calls of its predicate, is not said.
    fn comparable(&self, mut events: Vec<Event>) -> Vec<Event> {
        let is_loose = |event: &Event| matches!(event, Event::Dropped(_) | Event::Asked(_));
        events.retain(|event| !matches!(event, Event::Dropped(number) if self.given_up.contains(number)));
        for loose in events.chunk_by_mut(|one, next| is_loose(one) && is_loose(next)) {
            loose.sort_by_key(|event| match event {
                Event::Dropped(number) => Some(*number),
                _ => None,
            });
        }
        events
    }
}
