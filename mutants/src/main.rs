//! Finds for each mutant of cargo-mutants a test that fails, with all mutants in one build.
//!
//! `alooper-mutants plant TREE LIST FOLDER` puts all mutants of LIST (`cargo mutants --list --json`) into the copy of
//! the library at TREE, each to be chosen at run time, and writes FOLDER/fates: `planted`, `unviable`, or `left` to
//! cargo-mutants, with the mutant's number and name.
//!
//! `alooper-mutants judge TREE FOLDER NAMES JOBS TEST..` finds out which of the tests TEST (`lib`, or a file of tests/)
//! reach which mutants, runs for each mutant named in NAMES those that reach it, the quickest first, until one fails,
//! and prints the mutant's outcome as soon as it has one: `caught`, `missed` or `timeout`, its name, and the test.

use std::{env, fs, path::Path, process::ExitCode};

mod judge;
mod list;
mod places;
mod plant;
mod reach;
mod suite;
mod viable;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["plant", tree, list, folder] => plant(Path::new(tree), Path::new(list), Path::new(folder)),
        ["judge", tree, folder, names, jobs, ref tests @ ..] => {
            let jobs = jobs.parse().expect("a number of jobs");
            let folder = fs::canonicalize(folder).expect("a folder");
            judge::judge(&fs::canonicalize(tree).expect("a folder"), &folder, Path::new(names), jobs, tests);
        }
        _ => {
            eprintln!("usage: alooper-mutants plant TREE LIST FOLDER | judge TREE FOLDER NAMES JOBS TEST..");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn plant(tree: &Path, list: &Path, folder: &Path) {
    let mutants = list::read(list);
    let fates = viable::plant_all(tree, &mutants);
    let mut text = String::new();
    for mutant in &mutants {
        let fate = match fates[&mutant.number] {
            viable::Fate::Planted => "planted",
            viable::Fate::Unviable => "unviable",
            viable::Fate::Left => "left",
        };
        text += &format!("{fate}\t{}\t{}\n", mutant.number, mutant.name);
    }
    fs::write(folder.join("fates"), text).expect("the fates are written");
}
