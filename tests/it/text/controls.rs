//! The known bugs of `tests/controls/`: each says what is wrong, and is caught by something that exists.

use std::{fs, path::Path};

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn each_known_bug_says_what_is_wrong_and_is_caught_by_something_that_exists() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/controls");
    let patches: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();

    for patch in &patches {
        let text = read(patch);
        let name = patch.display();
        let (head, change) = text.split_once("\n--- a/").unwrap_or_else(|| panic!("{name} changes nothing"));
        assert!(head.lines().next().is_some_and(|wrong| wrong.ends_with('.')), "{name}: what is wrong?");
        assert!(change.contains("\n@@ "), "{name} is no patch");
        let caught: Vec<_> = head.lines().filter_map(|line| line.strip_prefix("caught by ")).collect();
        assert!(!caught.is_empty(), "{name}: what catches it?");
        for line in caught.into_iter().filter(|line| *line != "fuzz") {
            let (_, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{name}: {line}"));
            let (model, complaint) = rest.split_once(": ").unwrap_or_else(|| panic!("{name}: {line}"));
            let (file, test) = model.split_once("::").unwrap_or_else(|| panic!("{name}: {line}"));
            let models = read(format!("tests/unit/models/{file}.rs"));
            assert!(models.contains(&format!("fn {test}(")), "{name}: there is no model {model}");
            assert!(!complaint.is_empty(), "{name}: what does {model} say?");
        }
    }

    assert!(patches.len() >= 40, "only {} known bugs were found", patches.len());
}
