//! The page of what can go wrong: it is whole, and what tests/catalogue.md names exists and bears the number.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// How many ways to fail there are.
const COUNT: u32 = 85;
/// In place of a test's name: the documentation test that bears the number, and must not compile.
const DOCTEST: &str = "compile_fail";

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the page says of one number.
struct Row {
    number: u32,
    /// By file.
    tests: Vec<(String, String)>,
    /// The reason, if tests cannot hold it or do not yet.
    reason: Option<String>,
}

/// The rows of the page's tables, in their order.
fn rows() -> Vec<Row> {
    let page = read("tests/catalogue.md");
    page.lines().filter_map(|line| line.strip_prefix("| C")?.strip_suffix(" |")).map(row).collect()
}

fn row(line: &str) -> Row {
    let cells: Vec<_> = line.split(" | ").collect();
    let [number, wrong, instead, held] = cells[..] else { panic!("not four cells: {line}") };
    assert!(wrong.ends_with(['.', '?']) && instead.ends_with('.'), "C{number}: a sentence is missing");
    let mut tests = Vec::new();
    let mut reason = None;
    for part in held.split("; ") {
        match part.split_once(": ").filter(|(file, _)| file.starts_with('`')) {
            Some((file, names)) => {
                let file = file.trim_matches('`');
                tests.extend(names.split(", ").map(|name| (file.to_owned(), name.trim_matches('`').to_owned())));
            }
            None => reason = Some(part.to_owned()),
        }
    }
    Row { number: number.parse().unwrap(), tests, reason }
}

/// All Rust files of `folder` and those in it, relative to the project.
fn files(folder: &str) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(path),
                false => files.push(path.to_str().unwrap().to_owned()),
            }
        }
    }
    files.retain(|file| file.ends_with(".rs"));
    files
}

/// The numbers that stand in `text` as words: `C14` in a comment, `c14` as a part of a name.
fn numbers(text: &str, letter: char) -> BTreeSet<u32> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter_map(|word| word.strip_prefix(letter)?.parse().ok()).collect()
}

/// The tests of a file with the numbers that each bears, in its name or in the comment above it.
fn tests_of(file: &str) -> BTreeMap<String, BTreeSet<u32>> {
    let mut tests = BTreeMap::new();
    let (mut comment, mut is_test) = (String::new(), false);
    for line in read(file).lines().map(str::trim) {
        if line.starts_with("///") {
            comment += line;
        } else if line.starts_with("#[") {
            is_test |= line == "#[test]";
        } else {
            if let Some((name, _)) = line.strip_prefix("fn ").and_then(|rest| rest.split_once('('))
                && is_test
            {
                tests.insert(name.to_owned(), &numbers(name, 'c') | &numbers(&comment, 'C'));
            }
            (comment, is_test) = (String::new(), false);
        }
    }
    tests
}

#[test]
fn each_number_has_a_row_and_something_that_holds_it() {
    let rows = rows();

    assert!(rows.iter().map(|row| row.number).eq(1..=COUNT));
    for Row { number, tests, reason } in rows {
        let is_excused = reason.is_some_and(|reason| {
            // Memory that runs out.
            let is_known = reason.starts_with("by type: ") || number == 67 && reason.starts_with("not claimed: ");
            assert!(is_known, "C{number}: {reason}");
            true
        });
        assert!(is_excused || !tests.is_empty(), "nothing holds C{number}");
    }
}

#[test]
fn each_test_of_the_page_exists_and_one_of_each_row_bears_its_number() {
    let mut known: BTreeMap<String, BTreeMap<String, BTreeSet<u32>>> = BTreeMap::new();
    for Row { number, tests, reason } in rows() {
        let mut bears = reason.is_some();
        for (file, test) in tests {
            if test == DOCTEST {
                let text = read(&file);
                let is_there = text.contains(&format!("{DOCTEST},")) && text.contains(&format!("// C{number}: "));
                assert!(is_there, "{file} has no {DOCTEST} of C{number}");
                continue;
            }
            let tests = known.entry(file.clone()).or_insert_with(|| tests_of(&file));
            let Some(borne) = tests.get(&test) else { panic!("C{number}: {file} has no test {test}") };
            // A control bears its number with another letter.
            bears |= borne.contains(&number) || test.starts_with(&format!("p{number}_"));
        }
        assert!(bears, "no test of C{number}'s row bears its number");
    }
}

#[test]
fn each_number_that_a_test_bears_is_one_of_the_page() {
    let mut borne = BTreeSet::new();
    for file in ["src", "tests"].into_iter().flat_map(files) {
        let text = read(&file);
        let in_comments = text.lines().map(str::trim).filter(|line| line.starts_with("//"));
        let mut found: BTreeSet<u32> = in_comments.flat_map(|line| numbers(line, 'C')).collect();
        found.extend(tests_of(&file).into_values().flatten());
        let unknown: Vec<_> = found.iter().filter(|number| !(1..=COUNT).contains(*number)).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
        borne.extend(found);
    }

    assert!(borne.len() > 70, "only {} numbers were found", borne.len());
}
