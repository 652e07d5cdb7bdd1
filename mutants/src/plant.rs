//! Puts all mutants of a file into it, each behind a question whether it is on.
//!
//! Only one is on at a time, so what it changes is the code as it is but for that change, and stands beside the code in
//! which the others are: `(if is(7) { a - b } else { a + b })`.

use std::{collections::HashSet, ops::Range};

use crate::{
    list::{Genre, Mutant},
    places::{Bytes, Places},
};

/// What cannot be put in, and what can.
pub(crate) enum Form {
    /// `range` is put behind a question; where it is on, `code` is in its place.
    Instead { range: Bytes, code: String },
    /// Before and behind `range`.
    Around { range: Bytes, before: String, behind: String },
    /// Not with cargo-mutants either.
    Unviable,
    /// It is left to cargo-mutants.
    Left,
}

/// A file in which all mutants are.
pub(crate) struct Planted {
    pub(crate) text: String,
    /// Where the code of a mutant is.
    pub(crate) own: Vec<(Range<usize>, u32)>,
    /// Where a mutant and the code beside it are.
    pub(crate) around: Vec<(Range<usize>, u32)>,
}

/// How `mutant` is put into the file.
pub(crate) fn form(mutant: &Mutant, source: &str, places: &Places, keep_const: &HashSet<String>) -> Form {
    let start = mutant.span.start;
    let byte = places.byte(start);
    let is_kept = |name: &String| keep_const.contains(name);
    // A body may begin with a constant.
    let is_body = mutant.genre == Genre::Body;
    if places.constants.iter().any(|range| range.contains(&byte) && !(is_body && range.start == byte))
        || places.const_functions.iter().any(|(_, range, name)| range.contains(&byte) && is_kept(name))
    {
        return Form::Left;
    }
    let number = mutant.number;
    let is = format!("crate::mutant::is({number})");
    let instead = |range: &Bytes, change: &Bytes, with: &str| {
        let (before, behind) = (&source[range.start..change.start], &source[change.end..range.end]);
        Form::Instead { range: range.clone(), code: format!("{before}{with}{behind}") }
    };
    match mutant.genre {
        Genre::Body if mutant.returns.contains("impl ") => Form::Left,
        Genre::Body => {
            let before = format!("if {is} {{ return {}; }} ", mutant.replacement);
            Form::Around { range: byte..byte, before, behind: String::new() }
        }
        Genre::Binary => match places.binaries.get(&start) {
            Some(binary) if binary.is_let_chain => Form::Unviable,
            Some(binary) => instead(&binary.chain, &binary.operator, &mutant.replacement),
            None => Form::Left,
        },
        Genre::Unary => match places.unaries.get(&start) {
            Some((operator, range)) => instead(range, operator, &mutant.replacement),
            None => Form::Left,
        },
        Genre::Guard => match (places.guards.get(&start), mutant.replacement.as_str()) {
            (Some(range), "true") => around(range, &format!("({is} || ("), "))"),
            (Some(range), "false") => around(range, &format!("(!{is} && ("), "))"),
            _ => Form::Left,
        },
        Genre::Arm => match places.arms.get(&start) {
            Some(arm) if !arm.is_spare => Form::Left,
            Some(arm) => match &arm.guard {
                Some(guard) => around(guard, &format!("(!{is} && ("), "))"),
                None => around(&(arm.pattern_end..arm.pattern_end), &format!(" if !{is}"), ""),
            },
            None => Form::Left,
        },
        Genre::Field => match places.fields.get(&start) {
            Some(field) => instead(&field.expression, &field.field, ""),
            None => Form::Left,
        },
    }
}

fn around(range: &Bytes, before: &str, behind: &str) -> Form {
    Form::Around { range: range.clone(), before: before.to_owned(), behind: behind.to_owned() }
}

/// What is written at one place of the file.
struct Insertion {
    at: usize,
    /// What ends comes before what begins; of what begins, the outer one first; of what ends, the inner one.
    order: (u8, isize, i64),
    text: String,
    number: u32,
    is_own: bool,
}

/// The file with those of its mutants that have a form.
pub(crate) fn plant(source: &str, places: &Places, forms: &[(u32, Form)], keep_const: &HashSet<String>) -> Planted {
    let mut insertions = Vec::new();
    for (number, form) in forms {
        let number = *number;
        let (range, before, behind, is_own) = match form {
            Form::Instead { range, code } => {
                let before = format!("(if crate::mutant::is({number}) {{ {code} }} else {{ ");
                (range, before, " })".to_owned(), true)
            }
            Form::Around { range, before, behind } => (range, before.clone(), behind.clone(), true),
            Form::Unviable | Form::Left => continue,
        };
        let length = range.len() as isize;
        // What has no length stands before what begins there.
        let begins = if length == 0 { (1, 0, i64::from(number)) } else { (2, -length, i64::from(number)) };
        insertions.push(Insertion { at: range.start, order: begins, text: before, number, is_own });
        let ends = (0, length, -i64::from(number));
        insertions.push(Insertion { at: range.end, order: ends, text: behind, number, is_own: false });
    }
    insertions.retain(|insertion| !insertion.text.is_empty());
    insertions.sort_by_key(|insertion| (insertion.at, insertion.order));

    let is_dropped = |at: usize| {
        let words = places.const_functions.iter().filter(|(_, _, name)| !keep_const.contains(name));
        words.map(|(word, _, _)| word.clone()).find(|word| word.start == at)
    };
    let mut planted = Planted { text: String::new(), own: Vec::new(), around: Vec::new() };
    let mut insertions = insertions.into_iter().peekable();
    let mut open = Vec::new();
    let mut at = 0;
    loop {
        while let Some(insertion) = insertions.next_if(|next| next.at == at) {
            let start = planted.text.len();
            planted.text.push_str(&insertion.text);
            let range = start..planted.text.len();
            if insertion.is_own {
                planted.own.push((range.clone(), insertion.number));
                open.push((start, insertion.number));
            } else if let Some(index) = open.iter().rposition(|(_, number)| *number == insertion.number) {
                let (start, number) = open.remove(index);
                planted.around.push((start..range.end, number));
            }
        }
        if let Some(word) = is_dropped(at) {
            at = word.end;
            continue;
        }
        let Some(next) = source[at..].chars().next() else { break };
        planted.text.push(next);
        at += next.len_utf8();
    }
    planted
}
