//! The soak: portion after portion, until the goal is reached.

use std::{
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    Failure,
    dice::Dice,
    fds::{self, Cell},
    ledger::Ledger,
    memory,
    options::Soak,
    plant::{self, Fault},
    process,
    producer::{Producer, Site},
    tally::{self, Count, Portion, Sum, Tally},
};

/// How many messages a portion has at most: some seconds.
const PORTION: u64 = 4_000_000;
/// How long the memory in RAM may grow for, and for how many portions at least: a busy machine does few in a minute.
const WARM_UP: Duration = Duration::from_secs(60);
const PORTIONS_TO_WARM_UP: u64 = 5;
/// By how much it may grow after that.
const GROWTH_KIB: u64 = 1024;
/// By how much what is allocated may grow after the first portion: less than a byte a message, more than a thread that
/// reports at the same time.
const GROWTH_BYTES: i64 = 64 * 1024;
const QUICK_PORTIONS: u64 = 10;
const QUICK_WARM_UP: u64 = 2;
/// How many fds are kept free for loopers and whatever else the process opens.
const SPARE_FDS: u64 = 300;
/// The memory of a planted leak, in bytes: more than any bound.
const PLANTED: usize = 32 << 20;
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// After how many reports without any progress the soak has hung.
const HUNG_AFTER: u32 = 12;

pub fn run(options: &Soak) -> Result<(), Failure> {
    process::tune()?;
    let limit = process::raise_fd_limit()?;
    let fds = options.fds.min(limit.saturating_sub(SPARE_FDS) as usize);
    if fds < options.fds {
        println!("{fds} fds instead of {}: this process may open {limit} files", options.fds);
    }
    let cells: &'static [Cell] = (0..fds).map(|_| Cell::new()).collect::<Result<Vec<_>, _>>()?.leak();
    Ledger::prepare(options.loopers + 2 * options.threads, options.threads);
    let recorded = match &options.record {
        Some(path) => Sum::read(path)?,
        None => Sum::default(),
    };
    if recorded.portions > 0 {
        println!("{} portions are recorded already", recorded.portions);
    }

    let _watch = Watch::start();
    let begun = Instant::now();
    let mut sum = recorded;
    let mut memory = Memory::default();
    let open_fds = process::open_fds();
    for number in 0.. {
        let spent = options.minutes.is_some_and(|minutes| begun.elapsed() >= Duration::from_secs(60 * minutes));
        let has_more = options.messages.saturating_sub(sum.tally.get(Count::Messages));
        let reached = has_more == 0
            && sum.tally.get(Count::Timers) >= options.timers
            && sum.tally.get(Count::FdChanges) >= options.fd_changes;
        if reached || spent {
            break;
        }
        let messages = if options.quick { options.messages / QUICK_PORTIONS } else { PORTION.min(has_more.max(1000)) };
        let seed = match options.seed {
            Some(seed) => seed + number,
            None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64,
        };
        let started = Instant::now();
        portion(options, seed, messages, cells);

        let is_warm = match options.quick {
            true => number >= QUICK_WARM_UP,
            false => number >= PORTIONS_TO_WARM_UP && begun.elapsed() > WARM_UP,
        };
        if is_warm && plant::is_due(Fault::Memory) {
            memory.planted = vec![1; PLANTED];
        }
        let grown_kib = memory.grown_kib(is_warm);
        let grown_bytes = memory.grown_bytes();
        let left_open = process::open_fds();
        if left_open != open_fds {
            tally::find(Count::Leaked, || format!("{left_open} fds are open instead of {open_fds}"));
        }
        let portion = Portion {
            seed,
            seconds: started.elapsed().as_secs_f64(),
            fds: fds as u64,
            grown_kib,
            grown_bytes,
            tally: Tally::take(),
        };
        sum.add(&portion);
        if let Some(path) = &options.record {
            tally::record(path, &portion)?;
            // What others have recorded meanwhile counts, too.
            sum = Sum::read(path)?;
        }
    }
    println!("{sum}");
    if sum.tally.findings() > 0 {
        return Err("something is amiss: see above".into());
    }
    println!("Nothing is lost, doubled, out of order, early or leaked.");
    Ok(())
}

/// Has `messages` posted, and ends all loopers: on a thread of its own, so that what the C library keeps for a thread
/// that frees much goes with it.
fn portion(options: &Soak, seed: u64, messages: u64, cells: &'static [Cell]) {
    thread::scope(|scope| {
        scope.spawn(|| {
            let site = Site::new(options.loopers, options.threads, cells, &mut Dice::new(seed));
            thread::scope(|scope| {
                for number in 0..options.threads {
                    let producer = Producer::new(&site, number, seed, messages.div_ceil(options.threads as u64));
                    scope.spawn(move || producer.run());
                }
            });
            site.close();
        });
    });
    cells.iter().for_each(Cell::check_is_whole);
    fds::check_sources();
}

/// The memory between portions, when there is no looper.
#[derive(Debug, Default)]
struct Memory {
    /// In RAM at most, while warming up.
    warm_kib: u64,
    /// Allocated after the first portion.
    allocated: Option<i64>,
    planted: Vec<u8>,
}

impl Memory {
    fn grown_kib(&mut self, is_warm: bool) -> u64 {
        memory::give_back();
        let resident = process::resident_kib();
        if !is_warm {
            self.warm_kib = self.warm_kib.max(resident);
            return 0;
        }
        let grown = resident.saturating_sub(self.warm_kib);
        if grown >= GROWTH_KIB {
            let planted = self.planted.len() >> 10;
            tally::find(Count::Leaked, || format!("{grown} KiB more in RAM ({planted} planted)"));
        }
        grown
    }

    fn grown_bytes(&mut self) -> i64 {
        let allocated = memory::allocated();
        let grown = allocated - *self.allocated.get_or_insert(allocated);
        if grown >= GROWTH_BYTES {
            tally::find(Count::Leaked, || format!("{grown} bytes more are allocated"));
        }
        grown
    }
}

/// Says now and then how far the soak is, and ends the process if it hangs.
#[derive(Debug)]
struct Watch(Arc<(Mutex<bool>, Condvar)>);

impl Watch {
    fn start() -> Watch {
        let ended = Arc::new((Mutex::new(false), Condvar::new()));
        let watch = Watch(ended.clone());
        thread::spawn(move || {
            let begun = Instant::now();
            let (mut before, mut still) = (Tally::default(), 0);
            let (ended, changed) = &*ended;
            let mut guard = ended.lock().unwrap();
            while !*guard {
                let (woken, timeout) = changed.wait_timeout(guard, REPORT_EVERY).unwrap();
                guard = woken;
                if !timeout.timed_out() {
                    continue;
                }
                let now = Tally::now();
                println!("{:.0} s, {} KiB:{now}", begun.elapsed().as_secs_f64(), process::resident_kib());
                still = if now == before { still + 1 } else { 0 };
                before = now;
                if still >= HUNG_AFTER {
                    eprintln!("nothing has happened for {:?}: it hangs", REPORT_EVERY * still);
                    std::process::exit(3);
                }
            }
        });
        watch
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}
