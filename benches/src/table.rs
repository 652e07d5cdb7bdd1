//! The tables: Markdown that is aligned, so that a terminal shows it as well.

use std::fmt::Write;

use crate::{
    driver::{self, Series},
    workload::{Target, Unit, Workload, grouped},
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
        let head = [size, "contender", &format!("median {unit}"), "min", "max", "of floor", "bar", "ratio", "reached"];
        Table { workload, rows: vec![head.map(str::to_owned).to_vec()], missed: 0, failed: 0, skipped: 0 }
    }

    pub fn add(&mut self, size: usize, all: &[Series]) {
        let floor = all.iter().find(|series| series.contender == "floor");
        let show = |value: Option<f64>| value.map_or("-".into(), |value| number(value, self.workload.unit));
        for series in all {
            let (bar, ratio, mut verdict) =
                if series.contender == "alooper" { self.judge(size, series, all) } else { Default::default() };
            if let Some(trouble) = &series.trouble {
                let count = if series.is_own { &mut self.failed } else { &mut self.skipped };
                *count += 1;
                verdict = format!("{}: {trouble}", if series.is_own { "FAILED" } else { "skipped" });
            }
            self.missed += usize::from(verdict == NOT_REACHED);
            let of_floor = floor.and_then(|floor| series.ratio(floor));
            self.rows.push(vec![
                grouped(size),
                series.contender.clone(),
                show(series.median()),
                show(series.minimum()),
                show(series.maximum()),
                of_floor.map_or("-".into(), |ratio| format!("{ratio:.2}")),
                bar,
                ratio,
                verdict,
            ]);
        }
    }

    /// The bar, the median of the ratios of each round to it, and whether that is reached.
    fn judge(&self, size: usize, series: &Series, all: &[Series]) -> (String, String, String) {
        let target = (self.workload.target)(size);
        let medians = all.iter().filter_map(|series| Some((series.contender.as_str(), series.median()?)));
        let rival = driver::rival(target, medians).map(|(name, _)| name);
        let rival = rival.and_then(|name| all.iter().find(|series| series.contender == name));
        let ratio = match target {
            Target::Value(most) => series.median().map(|value| value / most),
            _ => rival.and_then(|rival| series.ratio(rival)),
        };
        verdict(target, self.workload.unit, ratio)
    }

    pub fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    pub fn render(&self) -> String {
        let mut text = format!("### {}: {}\n\n", self.workload.id, self.workload.title);
        text += &rows(&self.rows, &[1, 6, 8]);
        text
    }
}

/// What a table says of a bar that is not reached.
pub const NOT_REACHED: &str = "no";

/// The bar, the ratio to what it is of (to the bar itself where that is a value), and whether it is reached.
pub fn verdict(target: Target, unit: Unit, ratio: Option<f64>) -> (String, String, String) {
    let (bar, most) = match target {
        Target::None => return ("-".into(), "-".into(), "-".into()),
        Target::Of(name, most) => (format!("{most:.2} of {name}"), most),
        Target::OfBest(most) => (format!("{most:.2} of best"), most),
        Target::Value(most) => (format!("{most:.0} {}", unit.name()), 1.0),
    };
    match ratio {
        Some(ratio) => {
            // As it is shown.
            let is_reached = (ratio * 100.0).round() / 100.0 <= most;
            (bar, format!("{ratio:.2}"), if is_reached { "yes" } else { NOT_REACHED }.into())
        }
        None => (bar, "-".into(), "-".into()),
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
