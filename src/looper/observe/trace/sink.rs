//! Where the tracks of a trace meet: what they hand over to the thread that writes, and what is counted.

use std::{
    mem,
    ops::Deref,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{self, Receiver, Sender},
    },
};

use super::{TraceSummary, format::Slice, track::Track};
use crate::{
    core::shared::{LooperId, Shared},
    sys::{fork::ForkGeneration, sync::Mutex, time::Moment},
};

/// How many slices may wait for the thread that writes: about 64 MiB of them.
const MOST_BEHIND: u64 = 1 << 19;

/// What goes to the thread that writes.
#[derive(Debug)]
pub(super) enum Parcel {
    /// A looper's track begins.
    Track(Arc<Label>),
    /// What has run on it, in the order of its beginning.
    Slices(Arc<Label>, Vec<Slice>),
}

/// What a track is called.
#[derive(Debug)]
pub(super) struct Label {
    pub(super) name: String,
    pub(super) looper: LooperId,
    /// The thread, as the kernel calls it.
    pub(super) thread_id: i32,
}

/// What both sides of a trace count. All are counters and flags of their own: nothing is ordered by them.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) process: ForkGeneration,
    slices: AtomicU64,
    lost: AtomicU64,
    /// What was handed over and is not written.
    behind: AtomicU64,
    /// The file takes nothing more. Written by the thread that writes.
    has_failed: AtomicBool,
    /// What slices were handed over in, empty again: so that the loopers' threads find memory that they know.
    spares: Mutex<Vec<Vec<Slice>>>,
}

/// How many spares are kept.
const SPARES: usize = 8;

impl Counts {
    /// Keeps what slices were handed over in.
    pub(super) fn keep(&self, mut slices: Vec<Slice>) {
        slices.clear();
        let mut spares = self.spares.lock();
        if spares.len() < SPARES {
            spares.push(slices);
        }
    }

    pub(super) fn summary(&self) -> TraceSummary {
        TraceSummary { slices: self.slices.load(Relaxed), lost: self.lost.load(Relaxed) }
    }

    /// Notes that nothing more can be written; whether that is new.
    pub(super) fn fail(&self) -> bool {
        !self.has_failed.swap(true, Relaxed)
    }

    pub(super) fn lose(&self, slices: usize) {
        self.lost.fetch_add(slices as u64, Relaxed);
    }

    /// Counts what was handed over as written, or as lost.
    pub(super) fn settle(&self, slices: usize, is_written: bool) {
        self.behind.fetch_sub(slices as u64, Relaxed);
        let count = if is_written { &self.slices } else { &self.lost };
        count.fetch_add(slices as u64, Relaxed);
    }
}

/// What all tracks of a trace share.
#[derive(Debug)]
pub(super) struct Sink {
    pub(super) counts: Arc<Counts>,
    /// The time that is zero in the file.
    origin: OnceLock<Moment>,
    /// `None` once the trace has ended.
    parcels: Mutex<Option<Sender<Parcel>>>,
    tracks: Mutex<Vec<Weak<Track>>>,
    /// The trace has ended. Orders nothing: what comes in meanwhile is in the file or not.
    has_ended: AtomicBool,
}

impl Sink {
    /// Whether there is something to trace for.
    pub(super) fn is_open(&self) -> bool {
        self.counts.process.is_current() && !self.has_ended.load(Relaxed)
    }

    /// Whether it has ended, in this process.
    pub(super) fn has_ended(&self) -> bool {
        self.counts.process.is_current() && self.has_ended.load(Relaxed)
    }

    /// Whether what begins now may stand in the file. Counts it as lost if it should.
    pub(super) fn takes(&self) -> bool {
        if !self.is_open() {
            return false;
        }
        let has_failed = self.counts.has_failed.load(Relaxed);
        if has_failed {
            self.counts.lose(1);
        }
        !has_failed
    }

    pub(super) fn begin_at(&self, now: Moment) {
        self.origin.get_or_init(|| now);
    }

    /// The nanoseconds from the begin of the trace until `moment`.
    #[inline]
    pub(super) fn nanos(&self, moment: Moment) -> u64 {
        let origin = self.origin.get().copied().unwrap_or(moment);
        moment.nanos_since(origin)
    }

    pub(super) fn has_track_of(&self, shared: &Arc<Shared>) -> bool {
        let tracks: Vec<Arc<Track>> = self.tracks.lock().iter().filter_map(Weak::upgrade).collect();
        tracks.iter().any(|track| track.is_of(shared))
    }

    pub(super) fn add_track(&self, track: &Arc<Track>) {
        let mut tracks = self.tracks.lock();
        tracks.retain(|track| track.strong_count() > 0);
        tracks.push(Arc::downgrade(track));
        drop(tracks);
        self.hand_over(Parcel::Track(track.label.clone()));
    }

    /// Gives `slices` to the thread that writes, or loses them if that is too far behind.
    pub(super) fn hand_over_slices(&self, label: &Arc<Label>, slices: Vec<Slice>) {
        let count = slices.len();
        if count == 0 {
            return;
        }
        let counts = &self.counts;
        if counts.behind.fetch_add(count as u64, Relaxed) > MOST_BEHIND {
            return counts.settle(count, false);
        }
        if !self.hand_over(Parcel::Slices(label.clone(), slices)) {
            counts.settle(count, false);
        }
    }

    /// Room for slices that was used before.
    pub(super) fn spare(&self) -> Option<Vec<Slice>> {
        self.counts.spares.lock().pop()
    }

    fn hand_over(&self, parcel: Parcel) -> bool {
        self.parcels.lock().as_ref().is_some_and(|parcels| parcels.send(parcel).is_ok())
    }

    /// Hands over what there is, and lets the thread that writes come to its end.
    pub(super) fn end(&self) {
        self.has_ended.store(true, Relaxed);
        let tracks = mem::take(&mut *self.tracks.lock());
        tracks.iter().filter_map(Weak::upgrade).for_each(|track| track.cut_off());
        let parcels = self.parcels.lock().take();
        drop(parcels);
    }
}

/// A reference to what is shared. A forked child never drops the last one: what the parent's threads have locked stays
/// locked there.
#[derive(Clone, Debug)]
pub(super) struct SinkRef(Arc<Sink>);

impl SinkRef {
    pub(super) fn new() -> (SinkRef, Receiver<Parcel>) {
        let (sender, parcels) = mpsc::channel();
        let counts = Counts {
            process: ForkGeneration::current(),
            slices: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            behind: AtomicU64::new(0),
            has_failed: AtomicBool::new(false),
            spares: Mutex::new(Vec::new()),
        };
        let sink = Sink {
            counts: Arc::new(counts),
            origin: OnceLock::new(),
            parcels: Mutex::new(Some(sender)),
            tracks: Mutex::new(Vec::new()),
            has_ended: AtomicBool::new(false),
        };
        (SinkRef(Arc::new(sink)), parcels)
    }
}

impl Deref for SinkRef {
    type Target = Sink;

    fn deref(&self) -> &Sink {
        &self.0
    }
}

impl Drop for SinkRef {
    fn drop(&mut self) {
        if !self.counts.process.is_current() {
            mem::forget(self.0.clone());
        }
    }
}
