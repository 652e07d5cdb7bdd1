//! Which test reaches which mutants, and how long it takes.

use std::{collections::HashMap, fs, path::Path, sync::Mutex, thread, time::Duration};

use crate::suite::{End, Run, Suite};

/// Of what one test takes alone; a healthy one takes a small part of it.
const LIMIT: Duration = Duration::from_secs(120);

#[derive(Clone, Debug)]
pub(crate) struct Test {
    pub(crate) binary: usize,
    pub(crate) name: String,
    pub(crate) seconds: f64,
    pub(crate) reaches: Vec<u32>,
}

/// All tests that pass without a mutant, each run alone. What is found is kept in `folder` for the same build.
pub(crate) fn map(suite: &Suite, folder: &Path, numbers: usize, jobs: usize) -> Vec<Test> {
    let kept = folder.join("reached");
    if let Ok(text) = fs::read_to_string(&kept) {
        return text.lines().map(|line| parse(suite, line).expect("what this program has written")).collect();
    }
    let todo = Mutex::new(suite.tests().into_iter());
    let found = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for job in 0..jobs {
            let (todo, found) = (&todo, &found);
            scope.spawn(move || {
                let path = folder.join(format!("reached.{job}"));
                while let Some((binary, name)) = {
                    let mut todo = todo.lock().unwrap();
                    todo.next()
                } {
                    fs::write(&path, vec![0; numbers + 1]).expect("a file for what is reached");
                    let environment = ("ALOOPER_MUTANTS_REACHED", path.to_str().expect("a path"));
                    let run = Run { environment, limit: LIMIT, watchdog: LIMIT, threads: 1 };
                    let (end, duration) = suite.run(binary, &[&name], run);
                    if end != End::Passed {
                        eprintln!("left out, since it fails without a mutant: {}::{name}", suite.binaries[binary].0);
                        continue;
                    }
                    let bytes = fs::read(&path).expect("what was reached");
                    let reaches = (0..).zip(bytes).filter(|(_, byte)| *byte == 1).map(|(number, _)| number).collect();
                    found.lock().unwrap().push(Test { binary, name, seconds: duration.as_secs_f64(), reaches });
                }
                _ = fs::remove_file(path);
            });
        }
    });
    let mut tests = found.into_inner().unwrap();
    tests.sort_by(|left, right| left.seconds.total_cmp(&right.seconds));
    let lines: String = tests.iter().map(|test| print(suite, test)).collect();
    fs::write(kept, lines).expect("the map is written");
    tests
}

fn print(suite: &Suite, test: &Test) -> String {
    let numbers: Vec<String> = test.reaches.iter().map(u32::to_string).collect();
    format!("{}\t{}\t{:.6}\t{}\n", suite.binaries[test.binary].0, test.name, test.seconds, numbers.join(" "))
}

fn parse(suite: &Suite, line: &str) -> Option<Test> {
    let mut parts = line.split('\t');
    let binary = parts.next()?;
    let binary = suite.binaries.iter().position(|(name, _)| name == binary)?;
    let (name, seconds) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
    let reaches = parts.next()?.split_whitespace().map(|number| number.parse().ok()).collect::<Option<_>>()?;
    Some(Test { binary, name, seconds, reaches })
}

/// For each mutant, the indices of the tests that reach it, the quickest first.
pub(crate) fn by_mutant(tests: &[Test]) -> HashMap<u32, Vec<usize>> {
    let mut reached: HashMap<u32, Vec<usize>> = HashMap::new();
    for (index, test) in tests.iter().enumerate() {
        for number in &test.reaches {
            reached.entry(*number).or_default().push(index);
        }
    }
    reached
}
