//! Links in the text: what they name exists.
//!
//! Relative links and their anchors in all Markdown files of the repository; of links to elsewhere, that they are
//! well-formed.

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

/// Where the packaged library has no such folder, links into it are not looked at.
const NOT_PACKAGED: [&str; 4] = [".ci", "benches", "crates", "guide"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All Markdown files, without what is built or hidden.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name());
            let is_skipped = name == "target" || name.to_string_lossy().starts_with('.');
            if entry.file_type().unwrap().is_dir() {
                folders.extend((!is_skipped).then_some(path));
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

/// The lines of a page that are not code, without what stands in backticks.
fn prose(page: &str) -> Vec<String> {
    let mut fence = None;
    let mut lines = Vec::new();
    for line in page.lines() {
        let opening: String = line.trim_start().chars().take_while(|c| *c == '`' || *c == '~').collect();
        match &fence {
            None if opening.len() >= 3 => fence = Some(opening),
            None => lines.push(without_code(line)),
            Some(open) if opening.starts_with(open.as_str()) => fence = None,
            Some(_) => {}
        }
    }
    lines
}

fn without_code(line: &str) -> String {
    let parts: Vec<&str> = line.split('`').collect();
    // An odd backtick is one of the text.
    let paired = parts.len() - (parts.len() + 1) % 2;
    let kept = parts.iter().enumerate().filter(|(at, _)| at % 2 == 0 || *at >= paired);
    kept.map(|(_, part)| *part).collect::<Vec<_>>().join("``")
}

/// What the links, pictures and reference definitions of a page point to.
fn targets(page: &str) -> Vec<String> {
    let mut targets = Vec::new();
    for line in prose(page) {
        for rest in line.split("](").skip(1) {
            targets.push(rest.split([')', ' ']).next().unwrap().to_owned());
        }
        for attribute in ["href=\"", "src=\"", "srcset=\""] {
            targets.extend(line.split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
        if let Some((name, target)) = line.split_once("]: ")
            && name.starts_with('[')
        {
            targets.push(target.trim().to_owned());
        }
    }
    targets
}

/// The anchors that a page's headings have where it is shown, and those that it sets itself.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut fence = false;
    for line in page.lines() {
        fence ^= line.trim_start().starts_with("```");
        if fence {
            continue;
        }
        if let Some(heading) = line.strip_prefix('#').map(|rest| rest.trim_start_matches('#'))
            && heading.starts_with(' ')
        {
            let anchor = anchor(heading.trim());
            let number = (1..).map(|number| format!("{anchor}-{number}"));
            let mut names = std::iter::once(anchor.clone()).chain(number);
            let free = names.find(|name| !anchors.contains(name));
            anchors.extend(free);
        }
        for attribute in ["id=\"", "name=\""] {
            anchors.extend(line.split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
    }
    anchors
}

/// The anchor of a heading: its words in small letters, joined by hyphens. Of a link, the text counts.
fn anchor(heading: &str) -> String {
    let mut text = String::new();
    let mut rest = heading;
    while let Some((before, after)) = rest.split_once("](") {
        text.push_str(before);
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    let kept =
        text.to_lowercase().chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c)).collect::<String>();
    kept.replace(' ', "-")
}

/// `path` without `..`, or `None` if it leaves the repository.
fn resolved(path: &Path) -> Option<PathBuf> {
    let mut resolved = PathBuf::new();
    for component in path.strip_prefix(root()).ok()?.components() {
        match component {
            Component::ParentDir => {
                if !resolved.pop() {
                    return None;
                }
            }
            Component::CurDir => {}
            other => resolved.push(other),
        }
    }
    Some(resolved)
}

/// What is wrong with a link, if something is.
fn fault(page: &Path, target: &str) -> Option<String> {
    if let Some(address) = target.strip_prefix("https://").or_else(|| target.strip_prefix("http://")) {
        let host = address.split(['/', '#', '?']).next().unwrap();
        let is_host = host.contains('.') && host.split('.').all(|label| !label.is_empty());
        let is_plain = address.chars().all(|c| c.is_ascii_graphic() && !"<>\"{}|\\^`".contains(c));
        return (!is_host || !is_plain).then(|| "is not an address".to_owned());
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let named = if path.is_empty() { page.to_owned() } else { page.parent().unwrap().join(path) };
    let Some(inside) = resolved(&named) else {
        return Some("leaves the repository".to_owned());
    };
    let first = inside.components().next().map(|first| first.as_os_str().to_owned());
    if first.is_some_and(|first| NOT_PACKAGED.iter().any(|folder| first == *folder) && !root().join(first).exists()) {
        return None;
    }
    let file = root().join(&inside);
    if !file.exists() {
        return Some("does not exist".to_owned());
    }
    let anchor = anchor.filter(|_| file.extension().is_some_and(|extension| extension == "md"))?;
    (!anchors(&read(&file)).contains(anchor)).then(|| format!("has no anchor {anchor}"))
}

#[test]
fn links_and_anchors_exist() {
    let mut count = 0;
    let mut faults = Vec::new();
    for page in pages() {
        for target in targets(&read(&page)) {
            count += 1;
            if let Some(fault) = fault(&page, &target) {
                faults.push(format!("{}: {target} {fault}", page.display()));
            }
        }
    }

    assert!(count > 20, "only {count} links were found");
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn pictures_are_drawn_in_well_formed_files() {
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "svg") {
                let text = read(&path);
                assert!(text.contains("<svg") && text.trim_end().ends_with("</svg>"), "{}", path.display());
                assert!(text.contains("xmlns=\"http://www.w3.org/2000/svg\""), "{}", path.display());
            }
        }
    }
}

#[test]
fn a_link_that_points_nowhere_is_found() {
    let page = root().join("docs/design.md");

    assert_eq!(fault(&page, "semantics.md"), None);
    assert_eq!(fault(&page, "semantics.md#a-turn"), None);
    assert_eq!(fault(&page, "../README.md#when-to-use-something-else"), None);
    assert_eq!(fault(&page, "https://docs.rs/alooper"), None);
    assert_eq!(fault(&page, "nowhere.md").as_deref(), Some("does not exist"));
    assert_eq!(fault(&page, "semantics.md#nothing").as_deref(), Some("has no anchor nothing"));
    assert_eq!(fault(&page, "../../README.md").as_deref(), Some("leaves the repository"));
    assert_eq!(fault(&page, "https://docs rs/alooper").as_deref(), Some("is not an address"));
}

#[test]
fn links_are_found_where_they_are_and_not_in_code() {
    let page = "# A `thing`, and more\n[a](b.md) `[c](d.md)` ![e](f.svg)\n```sh\n[g](h.md)\n```\n[i]: j.md\n# A thing, and more\n";

    assert_eq!(targets(page), ["b.md", "f.svg", "j.md"]);
    assert_eq!(anchors(page).into_iter().collect::<Vec<_>>(), ["a-thing-and-more", "a-thing-and-more-1"]);
}

#[test]
fn a_heading_in_another_script_keeps_its_letters_and_loses_its_punctuation() {
    assert_eq!(anchor("1. 满了的计数器，与“信号量”（Semaphore）"), "1-满了的计数器与信号量semaphore");
    assert_eq!(anchor("`eventfd_signal` 是什么？"), "eventfd_signal-是什么");
}
