//! The text and the programs of docs/guide are one: what a chapter shows of a program's code is that code, and what it
//! shows of its output is what the program prints.
//!
//! In a chapter, `<!-- code: PROGRAM MARK -->` stands before the code between `// [MARK]` and `// [/MARK]`, and a
//! `console` block has commands and what they print. After a change, `GUIDE_BLESS=1 cargo test -p alooper-guide` writes
//! both into the text. Read then what it has written.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// What each command of a chapter begins with.
const COMMAND: &str = "$ cargo run -q -p alooper-guide --bin ";
/// What stands before a program's code, with the program and the mark.
const CODE: &str = "<!-- code: ";
/// A program that cannot show its subject on this kernel prints this first.
const SKIPPED: &str = "skipped: ";
/// These have margins of a tenth of a second, which a busy machine may miss: they are tried again.
const TIMED: [&str; 2] = ["epoll_and_eventfd", "looper_timeouts"];
/// After this long, a program hangs.
const WATCHDOG: Duration = Duration::from_secs(60);

/// A page of the guide that has a number.
struct Chapter {
    path: PathBuf,
    /// `03-waiting.md`
    name: String,
    text: String,
}

impl Chapter {
    fn number(&self) -> u32 {
        self.name[..2].parse().unwrap()
    }

    /// The programs that it runs, in its order.
    fn programs(&self) -> Vec<&str> {
        let commands = self.text.lines().filter_map(|line| line.strip_prefix(COMMAND));
        commands.map(|command| command.split(' ').next().unwrap()).collect()
    }

    /// What it shows of the programs, in its order: commands, and which code.
    fn shows(&self) -> Vec<&str> {
        self.text.lines().filter(|line| line.starts_with(COMMAND) || line.starts_with(CODE)).collect()
    }

    /// The text as it has to be.
    fn rendered(&self) -> String {
        let mut lines = self.text.lines();
        let mut text = String::new();
        let mut put = |line: &str| {
            text.push_str(line);
            text.push('\n');
        };
        while let Some(line) = lines.next() {
            put(line);
            if let Some(code) = line.strip_prefix(CODE).and_then(|line| line.strip_suffix(" -->")) {
                let (program, mark) = code.split_once(' ').expect("a program and a mark");
                assert_eq!(lines.next(), Some("```rust"), "{}: after {line}", self.name);
                put("```rust");
                excerpt(program, mark).iter().for_each(|line| put(line));
                lines.by_ref().find(|line| *line == "```").expect("the end of the code");
                put("```");
            } else if line == "```console" {
                let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
                console(&block).iter().for_each(|line| put(line));
                put("```");
            } else if line.starts_with("```") {
                assert_ne!(line, "```rust", "{}: which program's code is this?", self.name);
                lines.by_ref().take_while(|line| *line != "```").for_each(&mut put);
                put("```");
            }
        }
        text
    }
}

/// What a block with commands has to show.
fn console(block: &[&str]) -> Vec<String> {
    let mut shown = Vec::new();
    assert!(block.first().is_some_and(|line| line.starts_with(COMMAND)), "a console block begins with {COMMAND:?}");
    for (at, line) in block.iter().enumerate().filter(|(_, line)| line.starts_with("$ ")) {
        let command = line.strip_prefix(COMMAND).unwrap_or_else(|| panic!("{line:?} is not checked"));
        let mut words = command.split(' ');
        let program = words.next().unwrap();
        assert!(matches!(words.next(), None | Some("--")), "arguments come after -- in {line:?}");
        let arguments: Vec<&str> = words.collect();

        let before: Vec<&str> = block[at + 1..].iter().take_while(|line| !line.starts_with("$ ")).copied().collect();
        let attempts = if TIMED.contains(&program) { 3 } else { 1 };
        let mut output = String::new();
        for _ in 0..attempts {
            output = run(program, &arguments);
            if output.lines().eq(before.iter().copied()) {
                break;
            }
        }
        shown.push((*line).to_owned());
        if output.starts_with(SKIPPED) {
            eprintln!("{program}: {}", output.trim());
            shown.extend(before.iter().map(ToString::to_string));
        } else {
            shown.extend(output.lines().map(str::to_owned));
        }
    }
    shown
}

/// Runs a program that cargo has built for this test, and gives what it prints.
fn run(program: &str, arguments: &[&str]) -> String {
    let path = Path::new(env!("CARGO_BIN_EXE_eventfd_between_processes")).with_file_name(program);
    let mut command = Command::new(path);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (sender, output) = mpsc::channel();
    thread::spawn(move || {
        let (mut printed, mut complaint) = (String::new(), String::new());
        stdout.read_to_string(&mut printed).unwrap();
        stderr.read_to_string(&mut complaint).unwrap();
        sender.send((printed, complaint)).unwrap();
    });
    let Ok((printed, complaint)) = output.recv_timeout(WATCHDOG) else {
        child.kill().unwrap();
        panic!("{program} hangs");
    };
    let status = child.wait().unwrap();
    assert!(status.success() && complaint.is_empty(), "{program}: {status}, {complaint}");
    printed
}

/// The code of a program between two marks, without other marks, and as far to the left as it goes.
fn excerpt(program: &str, mark: &str) -> Vec<String> {
    let code = source(program);
    let (begin, end) = (format!("// [{mark}]"), format!("// [/{mark}]"));
    let is_mark = |line: &str| mark_of(line).is_some();
    let lines: Vec<&str> = code
        .lines()
        .skip_while(|line| line.trim() != begin)
        .skip(1)
        .take_while(|line| line.trim() != end)
        .filter(|line| !is_mark(line))
        .collect();
    assert!(!lines.is_empty() && code.lines().any(|line| line.trim() == end), "{program} has nothing marked {mark}");
    let indent = lines.iter().filter(|line| !line.is_empty()).map(|line| line.len() - line.trim_start().len()).min();
    lines.iter().map(|line| line.get(indent.unwrap()..).unwrap_or("").to_owned()).collect()
}

/// The mark that begins in a line of code.
fn mark_of(line: &str) -> Option<&str> {
    line.trim().strip_prefix("// [")?.strip_suffix(']')
}

fn source(program: &str) -> String {
    read(programs_folder().join(program).with_extension("rs"))
}

fn programs_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin")
}

fn programs() -> BTreeSet<String> {
    let names = file_names(&programs_folder());
    names.iter().map(|name| name.strip_suffix(".rs").unwrap().to_owned()).collect()
}

/// The guide in each of its languages, English first.
fn folders() -> Vec<PathBuf> {
    let english = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide");
    let chinese = english.join("zh");
    [english, chinese].into_iter().filter(|folder| folder.is_dir()).collect()
}

fn chapters(folder: &Path) -> Vec<Chapter> {
    let has_number = |name: &String| name.starts_with(|c: char| c.is_ascii_digit()) && name.ends_with(".md");
    let names = file_names(folder).into_iter().filter(has_number);
    names.map(|name| Chapter { path: folder.join(&name), text: read(folder.join(&name)), name }).collect()
}

fn file_names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

#[test]
fn what_the_text_shows_is_what_the_programs_are_and_print() {
    for chapter in folders().iter().flat_map(|folder| chapters(folder)) {
        let rendered = chapter.rendered();
        if env::var_os("GUIDE_BLESS").is_some() {
            fs::write(&chapter.path, rendered).unwrap();
            continue;
        }
        let lines = chapter.text.lines().zip(rendered.lines()).enumerate();
        for (at, (text, program)) in lines {
            let place = format!("{} line {}", chapter.path.display(), at + 1);
            assert_eq!(text, program, "{place}: left the text, right the program");
        }
        assert_eq!(chapter.text, rendered, "{}", chapter.path.display());
    }
}

#[test]
fn every_program_has_its_place_in_a_chapter_and_says_so() {
    let chapters = chapters(&folders()[0]);
    let mut places = BTreeMap::new();
    for chapter in &chapters {
        for program in chapter.programs() {
            places.entry(program.to_owned()).or_insert(chapter.number());
        }
    }
    assert_eq!(places.keys().cloned().collect::<BTreeSet<_>>(), programs());

    for (program, number) in places {
        let code = source(&program);
        let first = code.lines().next().unwrap();
        let command = format!("//! cargo run -p alooper-guide --bin {program}");
        assert!(first == command || first.starts_with(&format!("{command} -- ")), "{program} begins with {command:?}");
        let place = format!("//! Chapter {number} of docs/guide: ");
        assert!(code.lines().any(|line| line.starts_with(&place)), "{program} says {place:?}");
    }
}

#[test]
fn every_mark_in_a_program_is_for_code_that_is_shown() {
    let chapters = chapters(&folders()[0]);
    for program in programs() {
        for mark in source(&program).lines().filter_map(mark_of).filter(|mark| !mark.starts_with('/')) {
            let shown = format!("<!-- code: {program} {mark} -->");
            assert!(chapters.iter().any(|chapter| chapter.text.contains(&shown)), "nothing shows {mark} of {program}");
        }
    }
}

#[test]
fn the_index_names_all_chapters_in_their_order() {
    for folder in folders() {
        let index = read(folder.join("README.md"));
        let places: Vec<_> = chapters(&folder)
            .iter()
            .map(|chapter| index.find(&format!("]({})", chapter.name)).unwrap_or_else(|| panic!("no {}", chapter.name)))
            .collect();
        assert!(!places.is_empty() && places.is_sorted(), "{}", folder.display());
    }
}

#[test]
fn each_language_shows_the_same_code_and_commands() {
    let shown = |folder: &PathBuf| -> Vec<(String, Vec<String>)> {
        let chapters = chapters(folder);
        chapters.iter().map(|c| (c.name.clone(), c.shows().into_iter().map(str::to_owned).collect())).collect()
    };
    let folders = folders();
    for folder in &folders[1..] {
        assert_eq!(shown(folder), shown(&folders[0]), "{}", folder.display());
    }
}
