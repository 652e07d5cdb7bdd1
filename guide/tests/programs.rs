//! The text and the programs of docs/guide are one: what a page shows of a program's code is that code, and what it
//! shows of its output is what the program prints.
//!
//! A page is a chapter, whose programs are the binaries of this crate, or a how-to page, whose programs are its
//! examples. `<!-- code: PROGRAM MARK -->` stands before the code between `// [MARK]` and `// [/MARK]`, and a `console`
//! block has commands and what they print. `<!-- kernel: FILE MARK -->` does the same for files of guide/kernel. After a
//! change, `GUIDE_BLESS=1 cargo test -p alooper-guide` writes all of it into the text. Read then what it has written.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::Read,
    path::{Path, PathBuf},
    process::{self, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// What each command of a page begins with; `bin` or `example` follows, and the program's name.
const COMMAND: &str = "$ cargo run -q -p alooper-guide --";
/// What stands before a program's code, with the program and the mark.
const CODE: &str = "<!-- code: ";
/// What stands before what a file of guide/kernel has: its name, and a mark if it is code. Nothing is run for it here:
/// guide/kernel/run compares the output with what a virtual machine prints.
const KERNEL: &str = "<!-- kernel: ";
/// The two kinds of programs, each with the folder of its code and that of what cargo makes of it.
const KINDS: [(&str, &str, &str); 2] = [("bin", "src/bin", "."), ("example", "examples", "examples")];
/// A program that cannot show its subject on this kernel prints this first.
const SKIPPED: &str = "skipped: ";
/// These have margins of a tenth of a second, which a busy machine may miss, or see when somebody sets the clock: they
/// are tried again.
const TIMED: [&str; 5] = ["epoll_and_eventfd", "looper_timeouts", "own_2_workers", "own_3_timeouts", "wall_clock"];
/// After this long, a program hangs.
const WATCHDOG: Duration = Duration::from_secs(100);

/// A page of the guide with programs.
struct Page {
    path: PathBuf,
    /// `03-waiting.md`, or `how-to/signals.md`
    name: String,
    text: String,
}

impl Page {
    /// How a program says that this is its page.
    fn place(&self) -> String {
        if !is_chapter(&self.name) {
            return format!("//! docs/guide/{}: ", self.name);
        }
        let number: u32 = self.name[..2].parse().unwrap();
        format!("//! Chapter {number} of docs/guide: ")
    }

    /// The programs that it runs, in its order, each with its kind.
    fn programs(&self) -> Vec<(&str, &str)> {
        self.text.lines().filter_map(Command::parse).map(|command| (command.kind, command.program)).collect()
    }

    /// What it shows of the programs, in its order: commands, and which code.
    fn shows(&self) -> Vec<&str> {
        self.text.lines().filter(|line| [COMMAND, CODE, KERNEL].iter().any(|begin| line.starts_with(begin))).collect()
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
            } else if let Some(shown) = line.strip_prefix(KERNEL).and_then(|line| line.strip_suffix(" -->")) {
                put(lines.next().filter(|line| line.starts_with("```")).expect("a block"));
                of_kernel(shown).iter().for_each(|line| put(line));
                lines.by_ref().find(|line| *line == "```").expect("the end of the block");
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

/// A line of a `console` block that runs a program.
struct Command<'a> {
    kind: &'a str,
    program: &'a str,
    arguments: Vec<&'a str>,
}

impl Command<'_> {
    fn parse(line: &str) -> Option<Command<'_>> {
        let mut words = words(line.strip_prefix(COMMAND)?).into_iter();
        let (kind, program) = (words.next()?, words.next()?);
        assert!(matches!(words.next(), None | Some("--")), "arguments come after -- in {line:?}");
        Some(Command { kind, program, arguments: words.collect() })
    }
}

/// The words of a command, of which some stand in single quotes.
fn words(line: &str) -> Vec<&str> {
    let mut is_quoted = false;
    let ends = |c: char| {
        is_quoted ^= c == '\'';
        c == ' ' && !is_quoted
    };
    line.split(ends).map(|word| word.trim_matches('\'')).collect()
}

/// What a block with commands has to show.
fn console(block: &[&str]) -> Vec<String> {
    let mut shown = Vec::new();
    assert!(block.first().is_some_and(|line| line.starts_with(COMMAND)), "a console block begins with {COMMAND:?}");
    for (at, line) in block.iter().enumerate().filter(|(_, line)| line.starts_with("$ ")) {
        let command = Command::parse(line).unwrap_or_else(|| panic!("{line:?} is not checked"));
        let program = command.program;
        let before: Vec<&str> = block[at + 1..].iter().take_while(|line| !line.starts_with("$ ")).copied().collect();
        let attempts = if TIMED.contains(&program) { 3 } else { 1 };
        let mut output = String::new();
        for _ in 0..attempts {
            output = run(&command);
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
fn run(Command { kind, program, arguments }: &Command<'_>) -> String {
    let (.., built) = KINDS.iter().find(|(known, ..)| known == kind).unwrap_or_else(|| panic!("--{kind} {program}"));
    let folder = Path::new(env!("CARGO_BIN_EXE_eventfd_between_processes")).parent().unwrap();
    let mut command = process::Command::new(folder.join(built).join(program));
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
    marked(&source(program), mark)
}

/// What a page shows of guide/kernel: a whole file, or what is marked in one.
fn of_kernel(shown: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernel");
    match shown.split_once(' ') {
        Some((file, mark)) => marked(&read(folder.join(file)), mark),
        None => read(folder.join(shown)).lines().map(str::to_owned).collect(),
    }
}

fn marked(code: &str, mark: &str) -> Vec<String> {
    let is = |line: &str, name: &str| mark_of(line).is_some_and(|mark| mark == name);
    let end = format!("/{mark}");
    let lines: Vec<&str> = code
        .lines()
        .skip_while(|line| !is(line, mark))
        .skip(1)
        .take_while(|line| !is(line, &end))
        .filter(|line| mark_of(line).is_none())
        .collect();
    assert!(!lines.is_empty() && code.lines().any(|line| is(line, &end)), "nothing is marked {mark}");
    let indent = lines.iter().filter(|line| !line.is_empty()).map(|line| line.len() - line.trim_start().len()).min();
    lines.iter().map(|line| line.get(indent.unwrap()..).unwrap_or("").to_owned()).collect()
}

/// The mark that begins in a line of code, Rust's or C's.
fn mark_of(line: &str) -> Option<&str> {
    let line = line.trim();
    let of_c = || line.strip_prefix("/* [")?.strip_suffix("] */");
    line.strip_prefix("// [").and_then(|line| line.strip_suffix(']')).or_else(of_c)
}

fn source(program: &str) -> String {
    let file =
        |(_, folder, _): &_| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(program).with_extension("rs");
    let mut files = KINDS.iter().map(file).filter(|path| path.exists());
    let path = files.next().unwrap_or_else(|| panic!("there is no {program}"));
    assert_eq!(files.next(), None, "two programs have one name");
    read(path)
}

/// All programs, by kind and name. What several of them share is in a folder.
fn programs() -> BTreeSet<(String, String)> {
    let of_kind = |(kind, folder, _): &(&str, &str, &str)| {
        let names = file_names(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
        let program = |name: String| Some(((*kind).to_owned(), name.strip_suffix(".rs")?.to_owned()));
        names.into_iter().filter_map(program).collect::<Vec<_>>()
    };
    KINDS.iter().flat_map(of_kind).collect()
}

/// The guide in each of its languages, English first.
fn folders() -> Vec<PathBuf> {
    let english = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide");
    let chinese = english.join("zh");
    [english, chinese].into_iter().filter(|folder| folder.is_dir()).collect()
}

fn is_chapter(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_digit()) && name.ends_with(".md")
}

/// The chapters in their order, then the how-to pages.
fn pages(folder: &Path) -> Vec<Page> {
    let chapters = file_names(folder).into_iter().filter(|name| is_chapter(name));
    let how_to = folder.join("how-to");
    let how_to = if how_to.is_dir() { file_names(&how_to) } else { BTreeSet::new() };
    let how_to = how_to.into_iter().filter(|name| name != "README.md" && name.ends_with(".md"));
    let names = chapters.chain(how_to.map(|name| format!("how-to/{name}")));
    names.map(|name| Page { path: folder.join(&name), text: read(folder.join(&name)), name }).collect()
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
    for page in folders().iter().flat_map(|folder| pages(folder)) {
        let rendered = page.rendered();
        if env::var_os("GUIDE_BLESS").is_some() {
            fs::write(&page.path, rendered).unwrap();
            continue;
        }
        let lines = page.text.lines().zip(rendered.lines()).enumerate();
        for (at, (text, program)) in lines {
            let place = format!("{} line {}", page.path.display(), at + 1);
            assert_eq!(text, program, "{place}: left the text, right the program");
        }
        assert_eq!(page.text, rendered, "{}", page.path.display());
    }
}

#[test]
fn every_program_has_its_place_on_a_page_and_says_so() {
    let pages = pages(&folders()[0]);
    let mut places = BTreeMap::new();
    for page in &pages {
        for (kind, program) in page.programs() {
            places.entry((kind.to_owned(), program.to_owned())).or_insert(page);
        }
    }
    assert_eq!(places.keys().cloned().collect::<BTreeSet<_>>(), programs());

    for ((kind, program), page) in places {
        assert_eq!(kind == "bin", is_chapter(&page.name), "{program}, a {kind}, is on page {}", page.name);
        let code = source(&program);
        let first = code.lines().next().unwrap();
        let command = format!("//! cargo run -p alooper-guide --{kind} {program}");
        assert!(first == command || first.starts_with(&format!("{command} -- ")), "{program} begins with {command:?}");
        let place = page.place();
        assert!(code.lines().any(|line| line.starts_with(&place)), "{program} says {place:?}");
    }
}

#[test]
fn every_page_shows_code_and_output_of_a_program() {
    for page in folders().iter().flat_map(|folder| pages(folder)) {
        let has_programs = !page.programs().is_empty() && page.text.contains(CODE);
        assert!(has_programs || page.text.contains(KERNEL), "{}", page.name);
    }
}

#[test]
fn every_mark_in_a_program_is_for_code_that_is_shown() {
    let pages = pages(&folders()[0]);
    for (_, program) in programs() {
        for mark in source(&program).lines().filter_map(mark_of).filter(|mark| !mark.starts_with('/')) {
            let shown = format!("<!-- code: {program} {mark} -->");
            assert!(pages.iter().any(|page| page.text.contains(&shown)), "nothing shows {mark} of {program}");
        }
    }
}

#[test]
fn the_index_names_all_chapters_in_their_order() {
    for folder in folders() {
        let index = read(folder.join("README.md"));
        let places: Vec<_> = pages(&folder)
            .iter()
            .filter(|page| is_chapter(&page.name))
            .map(|chapter| index.find(&format!("]({})", chapter.name)).unwrap_or_else(|| panic!("no {}", chapter.name)))
            .collect();
        assert!(!places.is_empty() && places.is_sorted(), "{}", folder.display());
    }
}

#[test]
fn the_index_of_the_how_to_pages_names_all_of_them() {
    for folder in folders() {
        for page in pages(&folder) {
            let Some(name) = page.name.strip_prefix("how-to/") else { continue };
            let index = read(folder.join("how-to/README.md"));
            assert!(index.contains(&format!("]({name})")), "no {name} in the index of {}", folder.display());
        }
    }
}

#[test]
fn each_language_shows_the_same_code_and_commands() {
    let shown = |folder: &PathBuf| -> Vec<(String, Vec<String>)> {
        let chapters = pages(folder).into_iter().filter(|page| is_chapter(&page.name));
        chapters.map(|c| (c.name.clone(), c.shows().into_iter().map(str::to_owned).collect())).collect()
    };
    let folders = folders();
    for folder in &folders[1..] {
        assert_eq!(shown(folder), shown(&folders[0]), "{}", folder.display());
    }
}
