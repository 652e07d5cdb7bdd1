//! The results as a file, and the table of `docs/performance.md` that is made of one.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::Path,
    process::Command,
};

use serde::{Deserialize, Serialize};

use crate::{Failure, driver::Series, table, workload::Workload};

/// What one contender has reached for one workload and size.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    workload: String,
    size: usize,
    contender: String,
    unit: String,
    median: f64,
    min: f64,
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
            let (Some(median), Some(min)) = (series.median(), series.minimum()) else { continue };
            let round = |value: f64| (value * 100.0).round() / 100.0;
            self.rows.serialize(Record {
                workload: workload.id.to_owned(),
                size,
                contender: series.contender.clone(),
                unit: workload.unit.name().to_owned(),
                median: round(median),
                min: round(min),
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
    let versions = ["calloop", "tokio"].map(|name| {
        let version = lock.split(&format!("name = \"{name}\"\nversion = \"")).nth(1);
        format!("{name} {}", version.and_then(|rest| rest.split('"').next()).unwrap_or("?"))
    });
    vec![
        format!("{} of {model}, Linux {}", models.len(), kernel.trim()),
        format!("{}, {}", say("date", "+%F"), say("rustc", "--version")),
        versions.join(", "),
    ]
}

/// Prints the table of a file of results: alooper beside the best peer and the floor.
pub fn summarize(path: &Path) -> Result<(), Failure> {
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_path(path)?;
    let mut results: BTreeMap<(usize, usize), Vec<Record>> = BTreeMap::new();
    for record in reader.deserialize() {
        let record: Record = record?;
        let place = crate::workload::ALL.iter().position(|workload| workload.id == record.workload);
        let place = place.ok_or_else(|| format!("there is no workload {}", record.workload))?;
        results.entry((place, record.size)).or_default().push(record);
    }
    let mut rows =
        vec![["workload", "size", "unit", "floor", "best peer", "", "alooper", "of best"].map(str::to_owned).to_vec()];
    for records in results.values() {
        let find = |name: &str| records.iter().find(|record| record.contender == name);
        let Some(own) = find("alooper") else { continue };
        let peers =
            records.iter().filter(|record| record.contender != "alooper" && !record.contender.starts_with("floor"));
        let best = peers.min_by(|a, b| a.median.total_cmp(&b.median));
        rows.push(vec![
            own.workload.clone(),
            crate::workload::grouped(own.size),
            own.unit.clone(),
            find("floor").map_or("-".to_owned(), |floor| figure(floor.median)),
            best.map_or("-".to_owned(), |best| best.contender.clone()),
            best.map_or(String::new(), |best| figure(best.median)),
            figure(own.median),
            best.map_or("-".to_owned(), |best| format!("{:.2}", own.median / best.median)),
        ]);
    }
    print!("{}", table::rows(&rows, &[0, 2, 4]));
    Ok(())
}

fn figure(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { crate::workload::grouped(value.round() as usize) }
}
