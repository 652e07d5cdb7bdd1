//! What is shown: what has happened between two answers of a program.

use std::{cmp::Ordering, collections::HashMap, str::FromStr, time::Duration};

use crate::process::{Answer, Looper, Place};

/// By what the loopers are sorted. All but the names begin with the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Load,
    Queue,
    Late,
    Rate,
    Name,
}

impl Sort {
    const ALL: [Sort; 5] = [Sort::Load, Sort::Queue, Sort::Late, Sort::Rate, Sort::Name];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Sort::Load => "load",
            Sort::Queue => "queue",
            Sort::Late => "late",
            Sort::Rate => "rate",
            Sort::Name => "name",
        }
    }

    pub(crate) fn next(self) -> Sort {
        let at = Sort::ALL.iter().position(|sort| *sort == self).unwrap_or(0);
        Sort::ALL[(at + 1) % Sort::ALL.len()]
    }
}

impl FromStr for Sort {
    type Err = String;

    fn from_str(text: &str) -> Result<Sort, String> {
        let found = Sort::ALL.into_iter().find(|sort| sort.name() == text);
        found.ok_or_else(|| "sort by load, queue, late, rate or name".to_owned())
    }
}

#[derive(Debug)]
pub(crate) struct View {
    pub(crate) rows: Vec<Row>,
    pub(crate) places: Vec<PlaceRow>,
}

/// A looper.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) looper: Looper,
    pub(crate) name: String,
    /// Which share of the time it ran something.
    pub(crate) load: f64,
    /// How late its first message is.
    pub(crate) late: Duration,
    /// Messages per second.
    pub(crate) rate: f64,
    /// Calls of fd callbacks per second.
    pub(crate) fd_rate: f64,
}

/// A place in the source where a looper spent its time.
#[derive(Debug)]
pub(crate) struct PlaceRow {
    pub(crate) looper: String,
    pub(crate) share: f64,
    pub(crate) longest: Duration,
    pub(crate) what: String,
}

impl View {
    pub(crate) fn new(before: &Answer, after: &Answer, sort: Sort) -> View {
        let seconds = Duration::from_nanos(after.at_ns.saturating_sub(before.at_ns)).as_secs_f64();
        let earlier: HashMap<u64, &Looper> = before.loopers.iter().map(|looper| (looper.id, looper)).collect();
        let none = Looper::default();
        let (mut rows, mut places) = (Vec::new(), Vec::new());
        for looper in &after.loopers {
            let before = earlier.get(&looper.id).copied().unwrap_or(&none);
            let own = places_of(before, looper);
            let load = own.iter().fold(0.0, |load, place| load + place.share);
            rows.push(Row::new(before, looper, load, seconds));
            places.extend(own);
        }
        rows.sort_by(|one, other| one.compare(other, sort));
        places.sort_by(|one, other| other.share.total_cmp(&one.share).then(other.longest.cmp(&one.longest)));
        View { rows, places }
    }
}

impl Row {
    fn new(before: &Looper, looper: &Looper, load: f64, seconds: f64) -> Row {
        let per_second = |before: u64, after: u64| {
            if seconds > 0.0 { after.saturating_sub(before) as f64 / seconds } else { 0.0 }
        };
        Row {
            name: name_of(looper),
            load,
            late: Duration::from_nanos(looper.due_ns.map_or(0, |due| due.min(0).unsigned_abs())),
            rate: per_second(before.run, looper.run),
            fd_rate: per_second(before.fd_callbacks, looper.fd_callbacks),
            looper: looper.clone(),
        }
    }

    fn compare(&self, other: &Row, sort: Sort) -> Ordering {
        let order = match sort {
            Sort::Load => other.load.total_cmp(&self.load),
            Sort::Queue => other.looper.pending.cmp(&self.looper.pending),
            Sort::Late => other.late.cmp(&self.late),
            Sort::Rate => other.rate.total_cmp(&self.rate),
            Sort::Name => self.name.cmp(&other.name),
        };
        order.then(self.looper.id.cmp(&other.looper.id))
    }

    /// What it runs now, or that it does not.
    pub(crate) fn now(&self) -> String {
        let Some(running) = &self.looper.running else {
            return self.looper.state.clone();
        };
        let lasted = short(Duration::from_nanos(running.for_ns));
        format!("{} for {lasted}", what(&running.kind, running.place.as_deref()))
    }
}

fn name_of(looper: &Looper) -> String {
    looper.name.clone().unwrap_or_else(|| format!("#{}", looper.id))
}

fn places_of(before: &Looper, after: &Looper) -> Vec<PlaceRow> {
    let samples = after.samples.saturating_sub(before.samples).max(1) as f64;
    let seen_before = |place: &Place| {
        let same = |earlier: &&Place| (&earlier.kind, &earlier.place) == (&place.kind, &place.place);
        before.places.iter().find(same).map_or(0, |earlier| earlier.seen)
    };
    let row = |place: &Place| {
        let seen = place.seen.saturating_sub(seen_before(place));
        (seen > 0).then(|| PlaceRow {
            looper: name_of(after),
            share: seen as f64 / samples,
            longest: Duration::from_nanos(place.longest_ns),
            what: what(&place.kind, place.place.as_deref()),
        })
    };
    after.places.iter().filter_map(row).collect()
}

fn what(kind: &str, place: Option<&str>) -> String {
    place.map_or_else(|| kind.to_owned(), |place| format!("{kind} {place}"))
}

/// To three digits or so: what a person reads.
pub(crate) fn short(duration: Duration) -> String {
    format!("{duration:.1?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: u32, seen: u64) -> Place {
        Place { kind: "message".into(), place: Some(format!("a.rs:{line}:1")), seen, longest_ns: 5_000_000 }
    }

    fn answer(at_ns: u64, runs: [u64; 2], samples: u64, places: Vec<Place>) -> Answer {
        let names = ["b", "a"];
        let looper = |at: usize| Looper {
            id: at as u64,
            name: Some(names[at].into()),
            run: runs[at],
            samples,
            pending: at as u64,
            due_ns: Some([-3_000_000, 7_000_000][at]),
            places: if at == 0 { places.clone() } else { Vec::new() },
            ..Looper::default()
        };
        Answer { at_ns, loopers: vec![looper(0), looper(1)] }
    }

    #[test]
    fn rates_and_shares_are_those_between_two_answers() {
        let before = answer(1_000_000_000, [100, 0], 50, vec![place(1, 40)]);
        let after = answer(3_000_000_000, [300, 1000], 250, vec![place(2, 100), place(1, 50)]);

        let view = View::new(&before, &after, Sort::Load);

        let rows: Vec<_> = view.rows.iter().map(|row| (row.name.as_str(), row.load, row.rate, row.late)).collect();
        let (late, early) = (Duration::from_millis(3), Duration::ZERO);
        assert_eq!(rows, [("b", 0.55, 100.0, late), ("a", 0.0, 500.0, early)]);
        let places: Vec<_> = view.places.iter().map(|place| (place.what.as_str(), place.share)).collect();
        assert_eq!(places, [("message a.rs:2:1", 0.5), ("message a.rs:1:1", 0.05)]);
    }

    #[test]
    fn rows_are_sorted_by_each_key() {
        let (before, after) = (answer(0, [0, 0], 0, vec![]), answer(1, [1, 2], 10, vec![place(1, 9)]));

        let first = |sort| View::new(&before, &after, sort).rows[0].name.clone();

        let keys = ["load", "queue", "late", "rate", "name"].map(|key| key.parse().unwrap());
        assert_eq!(keys.map(first), ["b", "a", "b", "a", "a"]);
        assert_eq!(keys.map(Sort::next).map(Sort::name), ["queue", "late", "rate", "name", "load"]);
        assert!("speed".parse::<Sort>().is_err());
    }

    /// Nothing was counted twice, and time has not passed: nothing divides by zero.
    #[test]
    fn two_equal_answers_show_nothing_that_happened() {
        let same = answer(5, [7, 7], 3, vec![place(1, 2)]);

        let view = View::new(&same, &same, Sort::Rate);

        assert!(view.places.is_empty());
        assert!(view.rows.iter().all(|row| row.rate == 0.0 && row.load == 0.0));
    }
}
