//! How many instructions alooper takes for an operation: exact where nanoseconds are noise, so that a change which
//! makes something dearer is found on any machine. The table is part of the repository.
//!
//! Valgrind counts those of a child that repeats a workload once, and of one that repeats it three times: what is left
//! of their difference is two repetitions that find everything warm.

use std::{env, fmt::Write, fs, path::PathBuf, process::Command};

use crate::{
    child::Program,
    driver,
    meter::{Pace, Sample},
    table, watched,
    workload::Workload,
};

/// By how much an operation may become dearer.
const TOLERANCE: f64 = 0.05;
const FEW: usize = 1;
const MANY: usize = 3;

const WORKLOADS: &[(&str, usize)] = &[
    ("W1a-cb", 10_000),
    ("W1a-msg", 10_000),
    ("W1b-cb", 10_000),
    ("W1b-msg", 10_000),
    ("W4a", 10_000),
    ("W4b", 10_000),
    ("W4c", 10_000),
    ("W5", 100),
    ("W6", 1_000),
    ("W12", 10_000),
    ("W13", 10_000),
    ("X2", 20_000),
    ("W19-messages", 10_000),
    ("W19-times", 10_000),
    ("W19-posts", 10_000),
    ("W19-default", 10_000),
    ("W19-trace", 10_000),
];

/// Compares with the table, or replaces it. Whether nothing has become too dear.
pub fn check(update: bool) -> Result<bool, String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("instructions.md");
    let old = Known::read(&fs::read_to_string(&path).unwrap_or_default());
    let new = Known { compiler: compiler()?, counts: count()? };
    let mut rows = vec![["workload", "size", "instructions", "table", "change"].map(str::to_owned).to_vec()];
    let mut dearer = Vec::new();
    for (id, size, count) in &new.counts {
        let known = old.find(id, *size);
        let change = known.map(|known| count / known - 1.0);
        if change.is_some_and(|change| change > TOLERANCE) {
            dearer.push(format!(
                "{id}: {count:.1} instructions for an operation, {:.1} in the table",
                known.unwrap_or_default()
            ));
        }
        let known = known.map_or("-".into(), |known| format!("{known:.1}"));
        let change = change.map_or("-".into(), |change| format!("{:+.1} %", change * 100.0));
        rows.push(vec![id.clone(), size.to_string(), format!("{count:.1}"), known, change]);
    }
    println!("{}", table::rows(&rows, &[0]));
    if update {
        fs::write(&path, new.write()).map_err(|error| format!("instructions.md: {error}"))?;
        println!("the table is replaced");
        return Ok(true);
    }
    if old.counts.is_empty() {
        return Err("there is no table to compare with: make it with --update".into());
    }
    if old.compiler != new.compiler {
        println!("not compared: the table is of {}, this is {}", old.compiler, new.compiler);
        return Ok(true);
    }
    for line in &dearer {
        println!("DEARER by more than {:.0} %: {line}", TOLERANCE * 100.0);
    }
    Ok(dearer.is_empty())
}

fn compiler() -> Result<String, String> {
    let rustc = env::var("RUSTC").unwrap_or("rustc".into());
    let output = Command::new(&rustc).arg("--version").output().map_err(|error| format!("{rustc}: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

type Counts = Vec<(String, usize, f64)>;

fn count() -> Result<Counts, String> {
    let own = driver::own().map_err(|error| error.to_string())?;
    let alooper = own.iter().find(|program| program.name == "alooper").ok_or("alooper is a contender")?;
    WORKLOADS
        .iter()
        .map(|(id, size)| {
            let workload = Workload::find(id).ok_or_else(|| format!("there is no workload {id}"))?;
            driver::progress(&format!("{id} under valgrind"));
            let (few, ops) = instructions(alooper, workload, *size, FEW)?;
            let (many, _) = instructions(alooper, workload, *size, MANY)?;
            driver::progress("");
            Ok((workload.id.to_owned(), *size, (many - few) as f64 / (ops * (MANY - FEW)) as f64))
        })
        .collect()
}

/// The instructions of a whole child, and of how many operations a repetition consists.
fn instructions(
    program: &Program,
    workload: &Workload,
    size: usize,
    repetitions: usize,
) -> Result<(u64, usize), String> {
    let options = "--tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no";
    let mut arguments: Vec<String> = options.split(' ').map(str::to_owned).collect();
    // Only what the nanoseconds are measured of.
    arguments.push("--toggle-collect=*meter*timed*".into());
    arguments.push(program.binary.display().to_string());
    arguments.extend(program.arguments(workload.id, size, Pace::Counted(repetitions)));
    let output = watched::run("valgrind", &arguments)?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let sample = Sample::parse(&stdout).ok_or_else(|| format!("unexpected output: {stdout:?}"))?;
    let count = stderr.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    Ok((count.ok_or("valgrind prints no count")?, sample.ops))
}

/// The table in the file.
struct Known {
    compiler: String,
    counts: Counts,
}

impl Known {
    fn read(text: &str) -> Known {
        let compiler = text.lines().find_map(|line| line.strip_prefix("Compiler: ")).unwrap_or_default().to_owned();
        let counts = text.lines().filter_map(|line| {
            let mut cells = line.split('|').map(str::trim).skip(1);
            Some((cells.next()?.to_owned(), cells.next()?.parse().ok()?, cells.next()?.parse().ok()?))
        });
        Known { compiler, counts: counts.collect() }
    }

    fn write(&self) -> String {
        let mut text = String::from("# Instructions for an operation of alooper\n\n");
        let _ = writeln!(
            text,
            "Compared and written by `cargo run --release -p alooper-bench -- instructions [--update]`.\n"
        );
        let _ = writeln!(text, "Compiler: {}\n", self.compiler);
        let mut rows = vec![["workload", "size", "instructions"].map(str::to_owned).to_vec()];
        let cells =
            |(id, size, count): &(String, usize, f64)| vec![id.clone(), size.to_string(), format!("{count:.1}")];
        rows.extend(self.counts.iter().map(cells));
        text + &table::rows(&rows, &[0])
    }

    fn find(&self, id: &str, size: usize) -> Option<f64> {
        self.counts.iter().find(|known| (known.0.as_str(), known.1) == (id, size)).map(|known| known.2)
    }
}
