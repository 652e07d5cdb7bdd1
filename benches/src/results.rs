//! The results as a file, and the table of `docs/performance.md` that is made of one.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::Path,
    process::Command,
};

use serde::{Deserialize, Serialize};

use crate::{
    Failure,
    driver::{self, Series},
    table,
    workload::{self, Target, Workload},
};

/// What one contender has reached for one workload and size.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    workload: String,
    size: usize,
    contender: String,
    unit: String,
    median: f64,
    min: f64,
    max: f64,
    rounds: usize,
}

/// A file of results: comments that say where and with what they were measured, then a row for each result.
pub struct Results {
    rows: csv::Writer<File>,
}

impl Results {
    pub fn create(path: &Path) -> io::Result<Results> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = File::create(path)?;
        for line in about() {
            writeln!(file, "# {line}")?;
        }
        Ok(Results { rows: csv::Writer::from_writer(file) })
    }

    pub fn add(&mut self, workload: &Workload, size: usize, all: &[Series]) -> Result<(), Failure> {
        for series in all {
            let (Some(median), Some(min), Some(max)) = (series.median(), series.minimum(), series.maximum()) else {
                continue;
            };
            let round = |value: f64| (value * 100.0).round() / 100.0;
            self.rows.serialize(Record {
                workload: workload.id.to_owned(),
                size,
                contender: series.contender.clone(),
                unit: workload.unit.name().to_owned(),
                median: round(median),
                min: round(min),
                max: round(max),
                rounds: series.values.iter().flatten().count(),
            })?;
        }
        Ok(self.rows.flush()?)
    }
}

/// Where and with what is measured.
fn about() -> Vec<String> {
    let say = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output().map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&output).trim().to_owned()
    };
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models: Vec<_> = cpus.lines().filter_map(|line| line.strip_prefix("model name")?.split_once(": ")).collect();
    let model = models.first().map_or("unknown processor", |(_, model)| model);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let lock = include_str!("../../Cargo.lock");
    let mut versions = ["alooper", "calloop", "tokio"]
        .map(|name| {
            let version = lock.split(&format!("name = \"{name}\"\nversion = \"")).nth(1);
            format!("{name} {}", version.and_then(|rest| rest.split('"').next()).unwrap_or("?"))
        })
        .to_vec();
    versions.push(option_env!("LIBUV_VERSION").map_or("no libuv".into(), |version| format!("libuv {version}")));
    vec![
        format!("{} of {model}, Linux {}", models.len(), kernel.trim()),
        format!("{}, {}", say("date", "+%F"), say("rustc", "--version")),
        versions.join(", "),
    ]
}

/// The records of a file, by the place of their workload and by size; and what it says of itself.
type Read = (BTreeMap<(usize, usize), Vec<Record>>, String);

fn read(path: &Path) -> Result<Read, Failure> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let about: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# ")).collect();
    let mut results: BTreeMap<(usize, usize), Vec<Record>> = BTreeMap::new();
    for record in csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(text.as_bytes()).deserialize() {
        let record: Record = record?;
        let place = workload::ALL.iter().position(|workload| workload.id == record.workload);
        let place = place.ok_or_else(|| format!("there is no workload {}", record.workload))?;
        results.entry((place, record.size)).or_default().push(record);
    }
    Ok((results, about.join("; ")))
}

/// A contender with its points: size and median.
pub type Line = (String, Vec<(f64, f64)>);

/// What a chart shows of a workload, and where it was measured.
pub fn lines(path: &Path, id: &str) -> Result<(Vec<Line>, String), Failure> {
    let (results, about) = read(path)?;
    let mut lines: Vec<Line> = Vec::new();
    for ((place, size), records) in results {
        for record in records.into_iter().filter(|_| workload::ALL[place].id == id) {
            let point = (size as f64, record.median);
            match lines.iter_mut().find(|(name, _)| *name == record.contender) {
                Some((_, points)) => points.push(point),
                None => lines.push((record.contender, vec![point])),
            }
        }
    }
    Ok((lines, about))
}

/// Prints the table of a file of results: alooper beside the floor, the best peer and its bar.
pub fn summarize(path: &Path) -> Result<(), Failure> {
    let (results, about) = read(path)?;
    let head = ["workload", "size", "unit", "floor", "best peer", "", "alooper", "spread", "bar", "ratio", "reached"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for ((place, size), records) in results {
        let find = |name: &str| records.iter().find(|record| record.contender == name);
        let Some(own) = find("alooper") else { continue };
        let (workload, target) = (&workload::ALL[place], (workload::ALL[place].target)(size));
        let medians = || records.iter().map(|record| (record.contender.as_str(), record.median));
        let best = driver::rival(Target::None, medians());
        let ratio = match target {
            Target::Value(most) => Some(own.median / most),
            _ => driver::rival(target, medians()).map(|(_, value)| own.median / value),
        };
        let (bar, ratio, reached) = table::verdict(target, workload.unit, ratio);
        rows.push(vec![
            own.workload.clone(),
            workload::grouped(size),
            own.unit.clone(),
            find("floor").map_or("-".to_owned(), |floor| figure(floor.median)),
            best.map_or("-", |(name, _)| name).to_owned(),
            best.map_or(String::new(), |(_, value)| figure(value)),
            figure(own.median),
            format!("{}..{}", figure(own.min), figure(own.max)),
            bar,
            ratio,
            reached,
        ]);
    }
    let count = |word: &str| rows.iter().filter(|row| row[10] == word).count();
    println!("{about}: {} bars reached, {} not\n", count("yes"), count(table::NOT_REACHED));
    print!("{}", table::rows(&rows, &[0, 2, 4, 8, 10]));
    Ok(())
}

fn figure(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { workload::grouped(value.round() as usize) }
}
