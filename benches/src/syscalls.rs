//! W11: how many system calls a loop makes that is busy, counted by strace.
//!
//! The calls of two sizes are compared, so that those of the beginning and of the end cancel.

use std::collections::BTreeMap;

use crate::{
    child::Program,
    driver,
    meter::Pace,
    table, watched,
    workload::{SYSCALLS, Target, W11},
};

const SIZE: usize = 20_000;

/// How often each call was made, in 1000 messages.
type Calls = BTreeMap<String, f64>;

/// The table, and how many targets were missed.
pub fn measure(wanted: &[String]) -> Result<(String, usize), String> {
    let mut rows =
        vec![["scenario", "contender", "calls", "eventfd writes", "which", "target", ""].map(str::to_owned).to_vec()];
    let mut missed = 0;
    let own = driver::own().map_err(|error| error.to_string())?;
    for workload in SYSCALLS {
        for program in own.iter().filter(|program| wanted.is_empty() || wanted.contains(&program.name)) {
            let Some(calls) = calls(program, workload.id)? else { continue };
            let all: f64 = calls.values().sum();
            let writes = calls.get("write").copied().unwrap_or_default();
            let mut which: Vec<_> = calls.iter().filter(|(_, count)| **count >= 0.05).collect();
            which.sort_by(|a, b| b.1.total_cmp(a.1));
            let which: Vec<_> = which.iter().map(|(name, count)| format!("{name} {count:.1}")).collect();
            let (target, verdict) = match (workload.target)(SIZE) {
                Target::Value(most) if program.name == "alooper" => {
                    let reached = all <= most && writes <= 1.0;
                    missed += usize::from(!reached);
                    (format!("<= {most:.0}, writes <= 1"), if reached { "ok" } else { "MISSED" })
                }
                _ => (String::new(), ""),
            };
            let cells = [
                workload.id.into(),
                program.name.clone(),
                format!("{all:.1}"),
                format!("{writes:.1}"),
                which.join(", "),
            ];
            rows.push(cells.into_iter().chain([target, verdict.into()]).collect());
        }
    }
    let mut text =
        format!("### {W11}: system calls in 1000 closures while the loop is busy, without those for memory\n\n");
    for workload in SYSCALLS {
        text += &format!("- {}: {}\n", workload.id, workload.title);
    }
    text.push('\n');
    text += &table::rows(&rows, &[0, 1, 4, 6]);
    Ok((text, missed))
}

/// `None` if the contender does not offer it.
fn calls(program: &Program, workload: &str) -> Result<Option<Calls>, String> {
    let (Some(one), Some(two)) = (trace(program, workload, SIZE)?, trace(program, workload, 2 * SIZE)?) else {
        return Ok(None);
    };
    let mut calls = two;
    for (name, count) in one {
        *calls.entry(name).or_default() -= count;
    }
    calls.values_mut().for_each(|count| *count *= 1000.0 / SIZE as f64);
    Ok(Some(calls))
}

fn trace(program: &Program, workload: &str, size: usize) -> Result<Option<Calls>, String> {
    // How an allocator grows is no matter of the loop.
    let options = "-f -qq -c -U name,calls -e trace=!brk,mmap,munmap,mremap,mprotect,madvise --";
    let mut arguments: Vec<String> = options.split(' ').map(str::to_owned).collect();
    arguments.push(program.binary.display().to_string());
    arguments.extend(program.arguments(workload, size, Pace::Counted(1)));
    let output = watched::run("strace", &arguments)?;
    if String::from_utf8_lossy(&output.stdout).trim() == "none" {
        return Ok(None);
    }
    Ok(Some(parse(&String::from_utf8_lossy(&output.stderr))))
}

/// Reads lines of a name and a number, and no total.
fn parse(summary: &str) -> Calls {
    let lines = summary.lines().filter_map(|line| {
        let (name, count) = line.trim().split_once(' ')?;
        Some((name.to_owned(), count.trim().parse().ok()?))
    });
    lines.filter(|(name, _)| name != "total").collect()
}
