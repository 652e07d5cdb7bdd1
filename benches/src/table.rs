//! The tables: Markdown that is aligned, so that a terminal shows it as well.

use std::fmt::Write;

use crate::{
    driver::Series,
    workload::{Kind, Target, Unit, Workload, grouped},
};

/// The rows of one workload.
#[derive(Debug)]
pub struct Table<'a> {
    workload: &'a Workload,
    rows: Vec<Vec<String>>,
    /// How many targets were missed.
    pub missed: usize,
    /// How often alooper failed.
    pub failed: usize,
    /// How many others failed, which says nothing of alooper.
    pub skipped: usize,
}

impl Table<'_> {
    pub fn new(workload: &Workload) -> Table<'_> {
        let size = if workload.size.is_empty() { "-" } else { workload.size };
        let unit = workload.unit.name();
        let head = [size, "contender", &format!("median {unit}"), &format!("min {unit}"), "ratio", "target", ""];
        Table { workload, rows: vec![head.map(str::to_owned).to_vec()], missed: 0, failed: 0, skipped: 0 }
    }

    pub fn add(&mut self, size: usize, all: &[Series]) {
        let Some(floor) = self.floor(all) else { return };
        for series in all {
            let ratio = series.ratio(floor);
            let (target, verdict) =
                if series.contender == "alooper" { self.judge(size, series, ratio) } else { Default::default() };
            let verdict = match &series.trouble {
                Some(trouble) if series.is_own => {
                    self.failed += 1;
                    format!("FAILED: {trouble}")
                }
                Some(trouble) => {
                    self.skipped += 1;
                    format!("skipped: {trouble}")
                }
                None => verdict,
            };
            self.rows.push(vec![
                grouped(size),
                series.contender.clone(),
                series.median().map_or("-".into(), |value| number(value, self.workload.unit)),
                series.minimum().map_or("-".into(), |value| number(value, self.workload.unit)),
                ratio.map_or("-".into(), |ratio| format!("{ratio:.2}")),
                target,
                verdict,
            ]);
        }
    }

    /// What is compared to: for firing, the better of the two; for tasks, a peer.
    fn floor<'s>(&self, all: &'s [Series]) -> Option<&'s Series> {
        let floors = all.iter().filter(|series| match self.workload.kind {
            Kind::TimersFire => series.contender.starts_with("floor"),
            // There is no floor for tasks.
            Kind::TaskWakes => series.contender == "tokio",
            Kind::TaskSpawns => series.contender == "calloop",
            Kind::TaskPair => series.contender != "alooper",
            _ => series.contender == "floor",
        });
        floors.min_by(|a, b| a.median().unwrap_or(f64::MAX).total_cmp(&b.median().unwrap_or(f64::MAX)))
    }

    fn judge(&mut self, size: usize, series: &Series, ratio: Option<f64>) -> (String, String) {
        let (text, reached) = match (self.workload.target)(size) {
            Target::None => return Default::default(),
            // The floor was skipped.
            Target::Ratio(_) if ratio.is_none() => return Default::default(),
            Target::Ratio(most) => (format!("<= {most:.2}x"), ratio.is_some_and(|ratio| ratio <= most)),
            Target::Value(most) => (
                format!("<= {most:.0} {}", self.workload.unit.name()),
                series.median().is_some_and(|value| value <= most),
            ),
        };
        self.missed += usize::from(!reached);
        (text, if reached { "ok" } else { "MISSED" }.into())
    }

    pub fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    pub fn render(&self) -> String {
        let mut text = format!("### {}: {}\n\n", self.workload.id, self.workload.title);
        text += &rows(&self.rows, &[1, 6]);
        text
    }
}

fn number(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Nanoseconds if value < 100.0 => format!("{value:.1}"),
        Unit::Microseconds => format!("{value:.1}"),
        _ => grouped(value.max(0.0).round() as usize),
    }
}

/// Aligned Markdown. The columns `left` are text; the others are numbers, to the right.
pub fn rows(rows: &[Vec<String>], left: &[usize]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0).max(3);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match left.contains(&column) {
                true => write!(text, "| {cell:<width$} "),
                false => write!(text, "| {cell:>width$} "),
            };
        }
        text += "|\n";
        if index == 0 {
            for (column, width) in widths.iter().enumerate() {
                let colon = if left.contains(&column) { "-" } else { ":" };
                let _ = write!(text, "|{}{colon}", "-".repeat(width + 1));
            }
            text += "|\n";
        }
    }
    text
}
