//! The list of cargo-mutants.

use std::{fs, ops::Range, path::Path};

use serde_json::Value;

/// What is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Genre {
    Body,
    Binary,
    Unary,
    Guard,
    Arm,
    Field,
}

#[derive(Debug)]
pub(crate) struct Mutant {
    /// From 1 on: 0 is the code as it is.
    pub(crate) number: u32,
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) genre: Genre,
    /// What is replaced: lines and columns, from 1 on.
    pub(crate) span: Range<(usize, usize)>,
    pub(crate) replacement: String,
    pub(crate) returns: String,
}

/// Reads what `cargo mutants --list --json` has printed.
pub(crate) fn read(path: &Path) -> Vec<Mutant> {
    let list: Vec<Value> = serde_json::from_slice(&fs::read(path).expect("the list of mutants")).expect("a list");
    list.iter().zip(1..).map(|(mutant, number)| read_one(mutant, number)).collect()
}

fn read_one(mutant: &Value, number: u32) -> Mutant {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let place = |place: &Value| {
        let number = |key: &str| place[key].as_u64().expect("a number") as usize;
        (number("line"), number("column"))
    };
    let genre = match mutant["genre"].as_str() {
        Some("FnValue") => Genre::Body,
        Some("BinaryOperator") => Genre::Binary,
        Some("UnaryOperator") => Genre::Unary,
        Some("MatchArmGuard") => Genre::Guard,
        Some("MatchArm") => Genre::Arm,
        Some("StructField") => Genre::Field,
        other => panic!("a genre of mutants that is not known here: {other:?}"),
    };
    Mutant {
        number,
        name: text(&mutant["name"]),
        file: text(&mutant["file"]),
        genre,
        span: place(&mutant["span"]["start"])..place(&mutant["span"]["end"]),
        replacement: text(&mutant["replacement"]),
        returns: mutant["function"]["return_type"].as_str().unwrap_or_default().to_owned(),
    }
}
