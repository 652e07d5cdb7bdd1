//! REFERENCE.md: each test that it names is one, and no test is missing there.

use std::{collections::BTreeSet, fs, path::Path};

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of the tests of a file.
fn tests_of(file: &str) -> BTreeSet<String> {
    let text = read(Path::new("tests/ndk").join(file));
    let after = text.split("#[test]\nfn ").skip(1);
    after.map(|text| text.split('(').next().unwrap().to_owned()).collect()
}

#[test]
fn every_fact_of_the_page_has_its_test_and_every_test_its_fact() {
    let page = read("REFERENCE.md");
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let is_name = |word: &&str| word.matches('_').count() > 3 && !word.starts_with('_') && word.chars().all(is_plain);
    let named: BTreeSet<String> = page.split('`').skip(1).step_by(2).filter(is_name).map(str::to_owned).collect();
    let facts = tests_of("facts.rs");
    let wrong_use = tests_of("wrong_use.rs");

    let known: BTreeSet<String> = facts.union(&wrong_use).cloned().collect();
    let unknown: Vec<_> = named.difference(&known).collect();
    let unnamed: Vec<_> = known.difference(&named).collect();

    assert!(facts.len() > 30, "only {} were found", facts.len());
    assert!(unknown.is_empty(), "no such tests: {unknown:#?}");
    assert!(unnamed.is_empty(), "the page does not name {unnamed:#?}");
}
