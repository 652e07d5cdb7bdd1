//! The page for Android engineers: what docs/android.md names exists in src, and what the page of Android's own cases names
//! exists in tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn page() -> String {
    read("docs/android.md")
}

/// The page of Android's own test cases.
fn cases_page() -> String {
    read("tests/it/android/README.md")
}

/// The text of all Rust files of `folder` and those in it.
fn sources(folder: impl AsRef<Path>) -> Vec<String> {
    let mut texts = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                texts.push(read(path));
            }
        }
    }
    texts
}

/// The first word of `text`, if it is one.
fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && word(text) == text
}

/// What stands in backticks.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The cells of a row of a table; `None` for any other line, and for what heads a table.
fn cells(line: &str) -> Option<Vec<&str>> {
    let row = line.strip_prefix("| ")?.strip_suffix(" |")?;
    let cells: Vec<_> = row.split('|').map(str::trim).collect();
    let is_head = cells.iter().all(|cell| !cell.contains('`')) && cells.contains(&"how it compares");
    (!is_head).then_some(cells)
}

/// What follows the generics of an `impl`.
fn after_generics(text: &str) -> &str {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return text[at..].trim_start_matches('>').trim_start();
        }
    }
    text
}

/// What can be named of the library.
#[derive(Default)]
struct Api {
    types: BTreeSet<String>,
    /// Public methods, constants, fields and variants, by type.
    members: BTreeMap<String, BTreeSet<String>>,
}

fn api() -> Api {
    let mut api = Api::default();
    for text in sources("src") {
        let mut owner = (String::new(), "");
        for line in text.lines().map(str::trim_start).filter(|line| !line.starts_with("//")) {
            let declared = ["struct", "enum", "trait"].into_iter().find_map(|kind| {
                let rest = line.strip_prefix("pub ")?.strip_prefix(kind)?.strip_prefix(' ')?;
                Some((word(rest).to_owned(), kind))
            });
            if let Some(declared) = declared {
                api.types.insert(declared.0.clone());
                owner = declared;
            } else if let Some(rest) = line.strip_prefix("impl").filter(|rest| rest.starts_with([' ', '<'])) {
                let of = after_generics(rest.trim_start());
                let of = of.split_once(" for ").map_or(of, |(_, of)| of);
                owner = (word(of).to_owned(), "impl");
            }
            let member = match (line.strip_prefix("pub "), owner.1) {
                (Some(rest), _) => rest.strip_prefix("fn ").or_else(|| rest.contains(": ").then_some(rest)),
                (None, "trait") => line.strip_prefix("fn "),
                (None, "enum") => line.starts_with(|c: char| c.is_ascii_uppercase()).then_some(line),
                (None, "struct") => line.strip_prefix("const "),
                _ => None,
            };
            if let Some(member) = member {
                api.members.entry(owner.0.clone()).or_default().insert(word(member).to_owned());
            }
        }
    }
    api
}

#[test]
fn every_item_that_the_page_names_is_public() {
    let api = api();
    let page = page();
    let mut count = 0;
    let mut unknown = Vec::new();
    for line in page.lines() {
        // The first cell is Android's.
        let ours = cells(line).map_or_else(|| line.to_owned(), |cells| cells[1..].concat());
        let items = code(&ours).filter_map(|item| item.split_once("::"));
        for (of, item) in items.filter(|(of, item)| of.starts_with(char::is_uppercase) && is_word(item)) {
            count += 1;
            if !api.types.contains(of) || !api.members.get(of).is_some_and(|members| members.contains(item)) {
                unknown.push(format!("{of}::{item}"));
            }
        }
    }

    assert!(count > 200, "only {count} items were found");
    assert!(unknown.is_empty(), "not in src: {unknown:?}");
}

#[test]
fn every_type_in_the_alooper_column_is_public() {
    let api = api();
    let page = page();
    let ours: Vec<_> = page.lines().filter_map(cells).map(|cells| cells[1]).flat_map(code).collect();
    let types: Vec<_> = ours.into_iter().filter(|item| is_word(item) && item.starts_with(char::is_uppercase)).collect();

    let unknown: Vec<_> = types.iter().filter(|name| **name != "Debug" && !api.types.contains(**name)).collect();

    assert!(types.len() > 5, "only {types:?} were found");
    assert!(unknown.is_empty(), "not in src: {unknown:?}");
}

#[test]
fn every_row_says_how_it_compares() {
    let page = page() + &cases_page();
    let rows: Vec<_> = page.lines().filter_map(cells).collect();
    let says = |cell: &str| ["same", "better", "differs", "left out"].iter().any(|word| cell.starts_with(word));
    let explains = |cell: &str| cell.starts_with("same") || cell.starts_with("differs") || cell.contains(": ");

    let silent: Vec<_> = rows.iter().filter(|row| row.len() != 3 || !says(row[2]) || !explains(row[2])).collect();

    assert!(rows.len() > 130, "only {} rows were found", rows.len());
    assert!(silent.is_empty(), "{silent:#?}");
}

/// The name that a test has here: Android's, in snake case.
fn snake(case: &str) -> String {
    let mut name = String::new();
    let mut last = '_';
    for c in case.replace("FD", "Fd").chars() {
        if c.is_uppercase() && last != '_' {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
        last = c;
    }
    name
}

#[test]
fn each_of_androids_cases_has_a_test_of_its_name() {
    let page = cases_page();
    let tests = sources("tests").join("\n");
    let is_test = |name: &str| tests.contains(&format!("#[test]\nfn {name}() {{"));
    let cases: Vec<_> = page.lines().filter_map(cells).collect();

    let misnamed: Vec<_> =
        cases.iter().filter(|row| row[1] != format!("`{}`", snake(row[0].trim_matches('`')))).collect();
    let names: Vec<_> = code(&page).filter(|item| is_word(item) && item.matches('_').count() > 3).collect();
    let names: Vec<_> = names.into_iter().filter(|name| !name.contains(char::is_uppercase)).collect();
    let missing: Vec<_> = names.iter().filter(|name| !is_test(name)).collect();

    assert_eq!(cases.len(), 31);
    assert!(misnamed.is_empty(), "{misnamed:#?}");
    assert!(names.len() > 31, "only {} tests were found", names.len());
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}

/// The ids of rules that `text` names in brackets.
fn ids(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| {
        let (letter, number) = word.split_at(word.len().min(1));
        !number.is_empty()
            && letter.chars().all(|c| c.is_ascii_uppercase())
            && number.chars().all(|c| c.is_ascii_digit())
    })
}

#[test]
fn every_rule_that_the_page_and_the_readme_name_is_promised() {
    let promises = read("docs/semantics.md");
    for page in [page(), read("README.md")] {
        let named: Vec<_> = ids(&page).filter(|id| !id.starts_with('C')).collect();

        let unknown: Vec<_> = named.iter().filter(|id| !promises.contains(&format!("- **{id}**"))).collect();

        assert!(named.len() > 15, "only {named:?} were found");
        assert!(unknown.is_empty(), "not in docs/semantics.md: {unknown:?}");
    }
}
