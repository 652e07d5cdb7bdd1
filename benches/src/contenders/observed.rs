//! W19: as W1a-cb, with an observer that wants more or less, or a trace.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use alooper::{DispatchInfo, Looper, Observer, Wants, trace::Trace};

use crate::{
    meter::{Meter, Sample, timed},
    tally::{Tally, Work},
    workload::Watched,
};

/// Counts what it is told, and looks at the times if it wants any: so that none of it can be left out.
struct Counts {
    wants: Wants,
    told: Cell<u64>,
    latest: Cell<Option<Instant>>,
    took: Cell<Duration>,
}

impl Observer for Counts {
    fn wants(&self) -> Wants {
        self.wants
    }

    fn started(&self, dispatch: &DispatchInfo) {
        self.told.set(self.told.get() + 1);
        self.latest.set(dispatch.posted.max(dispatch.started));
    }

    fn finished(&self, _: &DispatchInfo, took: Duration) {
        self.told.set(self.told.get() + 1);
        self.took.set(self.took.get() + took);
    }
}

fn wants(watched: Watched) -> Wants {
    match watched {
        Watched::Messages => Wants::MESSAGES,
        Watched::Times => Wants::MESSAGES | Wants::TIMES,
        Watched::Posts => Wants::MESSAGES | Wants::POSTS,
        _ => Wants::default(),
    }
}

pub fn burst(watched: Watched, meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let looper = Looper::new().expect("a looper is made");
    let counts = Rc::new(Counts {
        wants: wants(watched),
        told: Cell::new(0),
        latest: Cell::new(None),
        took: Cell::new(Duration::ZERO),
    });
    let trace = match watched {
        Watched::Not => None,
        Watched::Trace => {
            let trace = Trace::to_file("/dev/null").expect("it is there");
            trace.attach(&looper);
            Some(trace)
        }
        _ => {
            looper.set_observer(Some(counts.clone()));
            None
        }
    };
    let count = meter.size as u64;
    let sample = meter.repeat(meter.size, || {
        counts.told.set(0);
        let took = timed(|| {
            for value in 0..count {
                let work = Work { tally, value };
                looper.post(move |_| work.run()).expect("the looper runs");
            }
            while tally.count() < count {
                looper.poll_once(Duration::ZERO).expect("the looper polls");
            }
        });
        let told = if matches!(watched, Watched::Not | Watched::Trace) { 0 } else { 2 * count };
        assert_eq!(counts.told.get(), told, "the observer is told of each begin and end");
        tally.settle_below(took, count)
    });
    drop(trace);
    sample
}
