//! Takes the mutants out that do not compile, as the compiler tells, until the rest does.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs,
    path::Path,
    process::Command,
};

use serde_json::Value;

use crate::{
    list::Mutant,
    places::Places,
    plant::{self, Form, Planted},
};

/// Types that do not fit, and names that are not there: with cargo-mutants it would be the same.
const SAME: [&str; 12] =
    ["E0061", "E0107", "E0277", "E0282", "E0283", "E0308", "E0369", "E0425", "E0433", "E0599", "E0600", "E0790"];

/// What becomes of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Planted,
    Unviable,
    /// To be made by cargo-mutants.
    Left,
}

struct File {
    source: String,
    places: Places,
    planted: Planted,
}

/// Puts all mutants into the copy of the library at `tree`, and tells for each whether it is in it.
pub(crate) fn plant_all(tree: &Path, mutants: &[Mutant]) -> HashMap<u32, Fate> {
    let mut fates: HashMap<u32, Fate> = mutants.iter().map(|mutant| (mutant.number, Fate::Planted)).collect();
    let mut files = BTreeMap::new();
    let names: BTreeSet<&String> = mutants.iter().map(|mutant| &mutant.file).collect();
    for name in names {
        let source = fs::read_to_string(tree.join(name)).expect("a source file");
        let places = Places::of(&source).expect("a file that compiles");
        let planted = Planted { text: String::new(), own: Vec::new(), around: Vec::new() };
        files.insert(name.clone(), File { source, places, planted });
    }
    prepare(tree);
    let mut keep_const = HashSet::new();
    for options in [&["check"][..], &["check", "--profile=test"]] {
        for round in 1.. {
            write(tree, mutants, &mut files, &mut fates, &keep_const);
            let errors = errors(tree, options);
            let left = fates.values().filter(|fate| **fate == Fate::Planted).count();
            eprintln!("round {round}: {left} mutants in one build, {} errors", errors.len());
            if errors.is_empty() {
                break;
            }
            let mut is_better = false;
            for error in &errors {
                is_better |= take_out(error, &files, &mut fates, &mut keep_const);
            }
            if !is_better {
                let texts: Vec<_> = errors.iter().map(|error| error["rendered"].as_str().unwrap_or_default()).collect();
                panic!("this does not compile, whatever mutants there are:\n{}", texts.join("\n"));
            }
        }
    }
    fates
}

/// Adds the module that is asked which mutant is on.
fn prepare(tree: &Path) {
    fs::write(tree.join("src/mutant.rs"), include_str!("switch.rs")).expect("a module is written");
    let root = tree.join("src/lib.rs");
    let source = fs::read_to_string(&root).expect("the library's root");
    let at = Places::of(&source).expect("a file that compiles").first_item;
    let (before, behind) = source.split_at(at);
    let module = "#![allow(warnings, arithmetic_overflow, unconditional_panic)]\n#[allow(unsafe_code)]\nmod mutant;\n";
    fs::write(root, format!("{before}{module}{behind}")).expect("the root is written");
}

fn write(
    tree: &Path,
    mutants: &[Mutant],
    files: &mut BTreeMap<String, File>,
    fates: &mut HashMap<u32, Fate>,
    keep_const: &HashSet<String>,
) {
    for (name, file) in files {
        let mut forms = Vec::new();
        for mutant in mutants.iter().filter(|mutant| mutant.file == *name) {
            if fates[&mutant.number] != Fate::Planted {
                continue;
            }
            let form = plant::form(mutant, &file.source, &file.places, keep_const);
            match form {
                Form::Unviable => _ = fates.insert(mutant.number, Fate::Unviable),
                Form::Left => _ = fates.insert(mutant.number, Fate::Left),
                _ => forms.push((mutant.number, form)),
            }
        }
        file.planted = plant::plant(&file.source, &file.places, &forms, keep_const);
        let path = tree.join(name);
        if fs::read_to_string(&path).ok().as_ref() != Some(&file.planted.text) {
            fs::write(path, &file.planted.text).expect("a source file is written");
        }
    }
}

/// What the compiler does not accept.
fn errors(tree: &Path, options: &[&str]) -> Vec<Value> {
    let mut command = Command::new("cargo");
    command.current_dir(tree).args(options).args(["--lib", "--features=testing", "--message-format=json", "-q"]);
    let output = command.output().expect("cargo runs");
    let messages = output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    let messages = messages.filter(|line: &Value| line["reason"] == "compiler-message");
    let mut messages: Vec<Value> = messages.map(|mut line| line["message"].take()).collect();
    // The last one counts the others.
    messages
        .retain(|message| message["level"] == "error" && message["spans"].as_array().is_some_and(|s| !s.is_empty()));
    assert!(!messages.is_empty() || output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    messages
}

/// Takes out the mutants that are to blame for `error`, and tells whether there are any.
fn take_out(
    error: &Value,
    files: &BTreeMap<String, File>,
    fates: &mut HashMap<u32, Fate>,
    keep_const: &mut HashSet<String>,
) -> bool {
    let code = error["code"]["code"].as_str().unwrap_or_default();
    if code == "E0015"
        && let Some(name) = error["message"].as_str().and_then(|text| text.split('`').nth(1))
        && let Some(name) = name.rsplit("::").next()
        && files.values().any(|file| file.places.const_functions.iter().any(|function| function.2 == name))
    {
        keep_const.insert(name.to_owned());
        return true;
    }
    let spans = error["spans"].as_array().into_iter().flatten();
    let mut spans: Vec<&Value> = spans.collect();
    spans.sort_by_key(|span| span["is_primary"] != true);
    for is_own in [true, false] {
        for span in &spans {
            let Some(file) = span["file_name"].as_str().and_then(|name| files.get(name)) else { continue };
            let byte = |key: &str| span[key].as_u64().unwrap_or_default() as usize;
            let (start, end) = (byte("byte_start"), byte("byte_end"));
            let regions = if is_own { &file.planted.own } else { &file.planted.around };
            let covering = regions.iter().filter(|(range, _)| range.start <= start && end <= range.end);
            let Some((range, _)) = covering.min_by_key(|(range, _)| range.len()) else { continue };
            let guilty = regions.iter().filter(|(other, _)| other == range);
            let fate = if is_own && SAME.contains(&code) { Fate::Unviable } else { Fate::Left };
            for (_, number) in guilty {
                fates.insert(*number, fate);
                if fate == Fate::Left {
                    let text = error["rendered"].as_str().unwrap_or_default();
                    eprintln!("mutant {number} is left to cargo-mutants: {text}");
                }
            }
            return true;
        }
    }
    false
}
