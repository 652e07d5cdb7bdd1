//! Making a history that fails shorter.

use crate::history::{Answer, Answers, History, Op, Returns, Script};

/// The most histories that are tried.
const TRIES: usize = 20_000;

/// The shortest history that was found for which `fails` holds, as it does for this one.
pub(crate) fn shrink(history: &History, fails: impl Fn(&History) -> bool) -> History {
    let mut best = history.clone();
    let mut tries = 0;
    loop {
        let candidates = shorter(&best);
        let better = candidates.into_iter().find(|candidate| {
            tries += 1;
            tries <= TRIES && fails(candidate)
        });
        match better {
            Some(better) => best = better,
            None => return best,
        }
    }
}

/// Histories that are a little simpler, the shortest first.
fn shorter(history: &History) -> Vec<History> {
    let with = |steps: Vec<Op>| History { steps, ..history.clone() };
    let mut all = Vec::new();
    let mut length = history.steps.len() / 2;
    while length > 0 {
        for start in (0..history.steps.len()).step_by(length) {
            let end = (start + length).min(history.steps.len());
            all.push(with([&history.steps[..start], &history.steps[end..]].concat()));
        }
        length /= 2;
    }
    for (index, op) in history.steps.iter().enumerate() {
        for simpler in simpler(op) {
            let mut steps = history.steps.clone();
            steps[index] = simpler;
            all.push(with(steps));
        }
    }
    let properties = [
        History { is_afar: false, ..history.clone() },
        History { is_hosted: false, ..history.clone() },
        History { budget: 256, ..history.clone() },
        History { spin_limit: 1000, ..history.clone() },
        History { looks_each: 1000, ..history.clone() },
    ];
    let tell = |history: &History| {
        (history.is_afar, history.is_hosted, history.budget, history.spin_limit, history.looks_each)
    };
    all.extend(properties.into_iter().filter(|other| tell(other) != tell(history)));
    all
}

/// The same operation with less in it.
fn simpler(op: &Op) -> Vec<Op> {
    let of = |script: &Script, make: &dyn Fn(&mut Op, Script)| {
        let scripts = simpler_scripts(script).into_iter();
        scripts
            .map(|script| {
                let mut op = op.clone();
                make(&mut op, script);
                op
            })
            .collect()
    };
    match op {
        Op::Post { script, .. }
        | Op::Send { script, .. }
        | Op::SendBounded { script, .. }
        | Op::Every { script, .. }
        | Op::AddIdle { script, .. }
        | Op::Call { script }
        | Op::Block { script, .. }
        | Op::Lend { script, .. } => of(script, &|op, new| match op {
            Op::Post { script, .. }
            | Op::Send { script, .. }
            | Op::SendBounded { script, .. }
            | Op::Every { script, .. }
            | Op::AddIdle { script, .. }
            | Op::Call { script }
            | Op::Block { script, .. }
            | Op::Lend { script, .. } => *script = new,
            _ => {}
        }),
        Op::Watch { by, back, how, interest, answers } => {
            let with = |answers| Op::Watch {
                by: *by,
                back: *back,
                how: *how,
                interest: *interest,
                answers: Answers::from(answers),
            };
            simpler_answers(answers).into_iter().map(with).collect()
        }
        _ => vec![],
    }
}

fn simpler_scripts(script: &Script) -> Vec<Script> {
    let without = |index: usize| [&script[..index], &script[index + 1..]].concat();
    let mut all: Vec<Script> = (0..script.len()).map(|index| Script::from(without(index))).collect();
    for (index, op) in script.iter().enumerate() {
        for simpler in simpler(op) {
            let mut ops = script.to_vec();
            ops[index] = simpler;
            all.push(Script::from(ops));
        }
    }
    all
}

fn simpler_answers(answers: &[Answer]) -> Vec<Vec<Answer>> {
    let mut all: Vec<Vec<Answer>> =
        (0..answers.len()).map(|index| [&answers[..index], &answers[index + 1..]].concat()).collect();
    for (index, answer) in answers.iter().enumerate() {
        let mut simpler: Vec<Answer> = Vec::new();
        if answer.drains {
            simpler.push(Answer { drains: false, ..answer.clone() });
        }
        if answer.swap.is_some() {
            simpler.push(Answer { swap: None, ..answer.clone() });
        }
        if answer.next != Returns::Keep {
            simpler.push(Answer { next: Returns::Keep, ..answer.clone() });
        }
        let scripts = simpler_scripts(&answer.script).into_iter();
        simpler.extend(scripts.map(|script| Answer { script, ..answer.clone() }));
        for new in simpler {
            let mut answers = answers.to_vec();
            answers[index] = new;
            all.push(answers);
        }
    }
    all
}
