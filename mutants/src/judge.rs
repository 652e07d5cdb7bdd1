//! Runs for each mutant the tests that reach it, until one fails.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
    sync::Mutex,
    thread,
    time::Duration,
};

use crate::{
    reach::{self, Test},
    suite::{End, Run, Suite},
};

/// The tests of a mutant are run in parts, so that most mutants cost a few milliseconds: each part ends when its tests
/// take so many seconds more.
const PARTS: [f64; 5] = [0.05, 0.2, 0.8, 4.0, f64::MAX];

/// From this part on, tests of one binary run side by side: they mostly wait.
const SIDE_BY_SIDE: usize = 2;

/// Tests that take longer, in seconds, are run for those mutants only that survive all others.
const SLOW: f64 = 0.6;

/// Tests that take even longer are not run: they do nothing but more of the same.
const TOO_SLOW: f64 = 4.0;

/// What hangs is looked at again with this limit, when nothing else is to be done: a machine that is busy is no mutant.
const PATIENCE: Duration = Duration::from_secs(25);

/// So many tests may hang before it is looked whether they really do.
const HUNG: usize = 2;

struct Judge<'a> {
    suite: &'a Suite,
    tests: &'a [Test],
    /// Tests that have failed without a mutant.
    flaky: Mutex<HashSet<usize>>,
    healthy: Mutex<HashSet<usize>>,
}

enum Outcome {
    Caught(usize),
    Missed,
    /// No test fails but by hanging: those that hung, and the ones that are still to be run.
    Hangs(Vec<usize>, Vec<usize>),
}

pub(crate) fn judge(tree: &Path, folder: &Path, names: &Path, jobs: usize, tests: &[&str]) {
    let fates = fs::read_to_string(folder.join("fates")).expect("the fates");
    let fates = fates.lines().filter_map(|line| line.strip_prefix("planted\t")?.split_once('\t'));
    let numbers: HashMap<&str, u32> = fates.map(|(number, name)| (name, number.parse().expect("a number"))).collect();
    let names = fs::read_to_string(names).expect("the names");
    let suite = Suite::build(tree, folder, tests);
    let most = numbers.values().copied().max().unwrap_or(0);
    let tests = reach::map(&suite, folder, most as usize, jobs);
    let reached = reach::by_mutant(&tests);
    let judge = Judge { suite: &suite, tests: &tests, flaky: Mutex::default(), healthy: Mutex::default() };
    eprintln!("{} tests, {} mutants that any of them reaches", tests.len(), reached.len());

    let hanging = Mutex::new(Vec::new());
    let say = |outcome: &str, name: &str, test: Option<usize>| {
        let test = test.map(|test| &tests[test]);
        let test = test.map_or_else(String::new, |test| format!("{}::{}", suite.binaries[test.binary].0, test.name));
        println!("{outcome}\t{name}\t{test}");
    };
    let mut names: Vec<&str> = names.lines().filter(|name| numbers.contains_key(name)).collect();
    for (range, survives) in [(0.0..SLOW, "survived"), (SLOW..TOO_SLOW, "missed")] {
        let survivors = Mutex::new(Vec::new());
        in_parallel(jobs, &names, |name| {
            let number = numbers[name];
            let these = reached.get(&number).into_iter().flatten().copied();
            let these: Vec<usize> = these.filter(|test| range.contains(&tests[*test].seconds)).collect();
            match judge.try_all(number, &these, HUNG) {
                Outcome::Caught(test) => say("caught", name, Some(test)),
                Outcome::Hangs(hung, rest) => hanging.lock().unwrap().push((*name, number, hung, rest)),
                Outcome::Missed => {
                    say(survives, name, None);
                    survivors.lock().unwrap().push(*name);
                }
            }
        });
        names = survivors.into_inner().unwrap();
    }
    // These mostly wait.
    let hanging = hanging.into_inner().unwrap();
    eprintln!("{} mutants seem to hang", hanging.len());
    in_parallel(jobs * 2, &hanging, |(name, number, hung, rest)| {
        let really_hangs = |hung: &[usize]| {
            let test = hung.iter().find(|test| judge.really_fails(*number, **test, PATIENCE));
            test.map(|test| say("timeout", name, Some(*test))).is_some()
        };
        if really_hangs(hung) {
            return;
        }
        match judge.try_all(*number, rest, usize::MAX) {
            Outcome::Caught(test) => say("caught", name, Some(test)),
            Outcome::Hangs(hung, _) if really_hangs(&hung) => {}
            Outcome::Hangs(..) | Outcome::Missed => say("missed", name, None),
        }
    });
}

fn in_parallel<T: Sync>(jobs: usize, all: &[T], work: impl Fn(&T) + Sync) {
    let todo = Mutex::new(all.iter());
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(one) = {
                    let mut todo = todo.lock().unwrap();
                    todo.next()
                } {
                    work(one);
                }
            });
        }
    });
}

impl Judge<'_> {
    /// Runs `tests` with a mutant until one fails, or until `hung` of them hang.
    fn try_all(&self, number: u32, tests: &[usize], most_hung: usize) -> Outcome {
        let mut hung = Vec::new();
        let mut rest = tests;
        let mut spent = 0.0;
        for (part, budget) in PARTS.into_iter().enumerate() {
            let mut count = 0;
            let mut seconds = 0.0;
            while count < rest.len() && (count == 0 || spent + seconds < budget) {
                seconds += self.tests[rest[count]].seconds;
                count += 1;
            }
            if count == 0 {
                break;
            }
            spent += seconds;
            let (these, later) = rest.split_at(count);
            rest = later;
            for binary in 0..self.suite.binaries.len() {
                let mut these: Vec<usize> =
                    these.iter().copied().filter(|test| self.tests[*test].binary == binary).collect();
                these.retain(|test| !self.flaky.lock().unwrap().contains(test));
                while !these.is_empty() {
                    match self.run(number, &these, if part >= SIDE_BY_SIDE { 6 } else { 1 }) {
                        None => break,
                        Some((test, true)) => {
                            these.retain(|other| *other != test);
                            hung.push(test);
                            if hung.len() >= most_hung {
                                let rest = these.into_iter().chain(rest.iter().copied()).collect();
                                return Outcome::Hangs(hung, rest);
                            }
                        }
                        Some((test, false)) if self.really_fails(number, test, self.limit(&[test])) => {
                            return Outcome::Caught(test);
                        }
                        Some((test, false)) => these.retain(|other| *other != test),
                    }
                }
            }
        }
        if hung.is_empty() { Outcome::Missed } else { Outcome::Hangs(hung, Vec::new()) }
    }

    fn limit(&self, tests: &[usize]) -> Duration {
        let seconds: f64 = tests.iter().map(|test| self.tests[*test].seconds).sum();
        Duration::from_secs_f64(3.0 + 5.0 * seconds)
    }

    /// Runs `tests`, all of one binary: the one that fails, and whether it hangs.
    fn run(&self, number: u32, tests: &[usize], threads: usize) -> Option<(usize, bool)> {
        let names: Vec<&str> = tests.iter().map(|test| self.tests[*test].name.as_str()).collect();
        let longest = tests.iter().map(|test| self.tests[*test].seconds).fold(0.0, f64::max);
        let run = Run {
            environment: ("ALOOPER_MUTANT", &number.to_string()),
            limit: self.limit(tests),
            watchdog: Duration::from_secs_f64((3.0 + 5.0 * longest).floor()),
            threads,
        };
        let index = |name: String| tests[names.iter().position(|other| *other == name).expect("one of them")];
        match self.suite.run(self.tests[tests[0]].binary, &names, run).0 {
            End::Passed => None,
            End::Failed(name) => Some((index(name), false)),
            End::Hung(name) => Some((index(name), true)),
            // One by one.
            End::Unknown => tests.iter().find_map(|test| self.run(number, &[*test], 1)),
        }
    }

    /// Whether `test` fails with the mutant once more, and passes without.
    fn really_fails(&self, number: u32, test: usize, limit: Duration) -> bool {
        let alone = |number: u32| {
            let environment = ("ALOOPER_MUTANT", &*number.to_string());
            let run = Run { environment, limit, watchdog: limit, threads: 1 };
            self.suite.run(self.tests[test].binary, &[&self.tests[test].name], run).0
        };
        if alone(number) == End::Passed {
            return false;
        }
        if self.healthy.lock().unwrap().contains(&test) {
            return true;
        }
        if alone(0) == End::Passed {
            self.healthy.lock().unwrap().insert(test);
            return true;
        }
        eprintln!("left out, since it fails without a mutant: {}", self.tests[test].name);
        self.flaky.lock().unwrap().insert(test);
        false
    }
}
