//! The order of the house: every promise has a test, and files import only from those above them.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All Rust files below `folder`, relative to the project.
fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(&folder)).unwrap();
        for entry in entries.map(Result::unwrap) {
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// The ids of the rules of docs/semantics.md.
fn rules() -> Vec<String> {
    let page = read("docs/semantics.md");
    let ids = page.lines().filter_map(|line| line.strip_prefix("- **")?.split_once("**"));
    ids.filter(|(_, text)| !text.starts_with(" is kept for")).map(|(id, _)| id.to_owned()).collect()
}

/// The words of `text`: a rule is one in a comment (`T7`) or a part of a test's name (`t7_`).
fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.len() < 4).map(str::to_uppercase)
}

#[test]
fn every_rule_of_the_semantics_is_named_by_a_test() {
    let tests = ["tests", "src"].map(rust_files).concat();
    let tests = tests.iter().filter(|path| !path.ends_with("house.rs")).map(read);
    // What a file says at its top that it holds is a summary, and proves nothing.
    let without_top =
        |text: String| text.lines().skip_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join("\n");
    let with_tests = tests.filter(|text| text.contains("#[test]")).map(without_top);
    let named: HashSet<String> = with_tests.flat_map(|text| words(&text).collect::<Vec<_>>()).collect();

    let rules = rules();
    let unnamed: Vec<_> = rules.iter().filter(|id| !named.contains(*id)).collect();

    assert!(rules.len() > 40, "only {} rules were found", rules.len());
    assert!(unnamed.is_empty(), "no test names {unnamed:?}");
}

/// A file that no `mod` names would be compiled by nobody.
#[test]
fn every_file_of_the_tests_is_a_module_of_them() {
    let main = read("tests/it/main.rs");
    let mut folder = "";
    let mut modules = HashSet::new();
    for line in main.lines() {
        let name = line.trim().strip_prefix("mod ").map(|rest| rest.trim_end_matches([';', ' ', '{']));
        match name {
            Some(name) if line.ends_with('{') => folder = name,
            Some(name) => _ = modules.insert(Path::new("tests/it").join(folder).join(name).with_extension("rs")),
            None if line == "}" => folder = "",
            None => {}
        }
    }

    let is_apart = |path: &Path| path.starts_with("tests/it/support") || path.ends_with("main.rs");
    let files = rust_files("tests/it").into_iter().filter(|path| !is_apart(path));
    let (known, unknown): (Vec<_>, Vec<_>) = files.partition(|path| modules.contains(path));

    assert!(known.len() > 80, "only {} files were found", known.len());
    assert!(unknown.is_empty(), "tests/it/main.rs does not name {unknown:?}");
}

#[test]
fn files_import_only_from_those_above_them() {
    let lib = read("src/lib.rs");
    let modules: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .filter(|module| !["models", "tests"].contains(module))
        .collect();
    let position = |module: &str| modules.iter().position(|known| *known == module);

    let mut wrong = Vec::new();
    for file in rust_files("src") {
        let module = file.components().nth(1).unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        let Some(here) = position(module) else { continue };
        let text = read(&file);
        let code = text.split("#[cfg(all(test, not(alooper_loom)))]\nmod tests").next().unwrap();
        // A page may link to what stands below.
        let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for imported in code.split("crate::").skip(1).flat_map(imported_modules) {
            // Callbacks receive `&Looper`: what a looper consists of stores them, and so names it.
            let is_circle = module == "core" && imported == "looper";
            if !is_circle && position(&imported).is_some_and(|there| there > here) {
                wrong.push(format!("{} imports {imported}", file.display()));
            }
        }
    }

    assert!(modules.len() >= 9, "only {} modules were found", modules.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A newcomer takes them in at a glance.
#[test]
fn the_house_has_at_most_a_dozen_rooms() {
    let rooms = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap().count();

    assert!(rooms <= 12, "src/ has {rooms} entries");
}

/// X3: a panic of the logger must not unwind through the library.
#[test]
fn files_log_by_the_librarys_own_macros() {
    let logs = |text: &str| text.contains("log::warn!") || text.contains("log::error!");
    let own = |text: &str| {
        let imports = text.split("\nuse crate::").skip(1).filter_map(|rest| rest.split(';').next()).collect::<String>();
        imports.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "log")
    };
    let shipped = rust_files("src").into_iter().filter(|path| !path.ends_with("log.rs"));
    let texts: Vec<(PathBuf, String)> = shipped.map(|path| (path.clone(), read(path))).collect();

    let wrong: Vec<_> = texts.iter().filter(|(_, text)| logs(text) && !own(text)).map(|(path, _)| path).collect();

    assert!(texts.iter().any(|(_, text)| logs(text)), "no file logs");
    assert!(wrong.is_empty(), "they do not use crate::log: {wrong:?}");
}

/// The modules that a use of `crate::` names: `rest` is what follows.
fn imported_modules(rest: &str) -> Vec<String> {
    let word = |text: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("").to_owned();
    let Some(list) = rest.strip_prefix('{') else {
        return vec![word(rest)];
    };
    let mut modules = Vec::new();
    let mut depth = 0;
    let mut start = 0;
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                modules.push(word(list[start..at].trim_start()));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                modules.push(word(list[start..at].trim_start()));
                start = at + 1;
            }
            _ => {}
        }
    }
    modules
}
