//! Measures alooper against a raw floor and its peers.
//!
//! [`workload`] lists what is measured, and what alooper has to reach. [`contenders`] do it: the floor is what one
//! would write by hand for that workload alone. The [`driver`] lets them take turns, each in a [`child`] process, which
//! repeats the workload for a bounded time ([`meter`]) and proves that all of it was done ([`tally`]). Ratios are to
//! the floor of the same round, since the machine is never the same twice.

mod charts;
mod child;
mod contenders;
mod dice;
mod driver;
mod heap;
mod instructions;
mod meter;
mod options;
mod results;
mod syscalls;
mod table;
mod tally;
mod watched;
mod workload;

use std::{fs, process::ExitCode, time::Instant};

use self::{
    driver::Driver,
    meter::Pace,
    options::{Measure, Options},
    results::Results,
    table::Table,
    workload::Workload,
};

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match options::parse().and_then(run) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("alooper-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<ExitCode, Failure> {
    match options {
        Options::Help => print!("{}", options::HELP),
        Options::Child { contender, workload, size, pace } => child::measure(&contender, &workload, size, pace)?,
        Options::Measure(measure) => return compare(&measure),
        Options::Charts { directory, results } => charts::draw(&directory, &results)?,
        Options::Summary { results } => results::summarize(&results)?,
        Options::Syscalls(measure) => println!("{}", syscalls::measure(&measure.contenders)?.0),
        Options::Instructions { update } if instructions::check(update)? => {}
        Options::Instructions { .. } => return Ok(ExitCode::FAILURE),
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the workloads and prints a table for each. It is no failure of this program when a target is missed, or when
/// another contender than alooper fails.
fn compare(measure: &Measure) -> Result<ExitCode, Failure> {
    let driver = Driver::new(measure)?;
    let mut results = measure.results.as_deref().map(Results::create).transpose()?;
    let (mut text, mut missed, mut failed, mut skipped) = (String::new(), 0, 0, 0);
    let mut show = |table: &str| {
        println!("{table}");
        text += table;
        text.push('\n');
    };
    let sizes = |workload: &Workload| if measure.pace == Pace::Quick { workload.quick } else { workload.sizes };
    let wanted: Vec<_> = workload::ALL.iter().filter(|workload| measure.wants(workload.id)).collect();
    let count: usize = wanted.iter().map(|workload| sizes(workload).len()).sum();
    let (mut row, start) = (0, Instant::now());
    for workload in wanted {
        let mut table = Table::new(workload);
        for size in sizes(workload) {
            row += 1;
            let (id, size_text) = (workload.id, workload::grouped(*size));
            driver::progress(&format!(
                "row {row} of {count}, after {} s: {id} {size_text}\n",
                start.elapsed().as_secs()
            ));
            let all = driver.measure(workload, *size);
            if let Some(results) = &mut results {
                results.add(workload, *size, &all)?;
            }
            table.add(*size, &all);
        }
        if !table.is_empty() {
            show(&table.render());
        }
        missed += table.missed;
        failed += table.failed;
        skipped += table.skipped;
    }
    if measure.wants(workload::W11) {
        match syscalls::measure(&measure.contenders) {
            Ok((table, more)) => {
                show(&table);
                missed += more;
            }
            Err(error) => show(&format!("{}: not measured: {error}\n", workload::W11)),
        }
    }
    println!("{missed} bars not reached, {failed} failures of alooper, {skipped} of others skipped");
    if let Some(path) = &measure.markdown {
        fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
