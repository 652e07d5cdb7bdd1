//! The track of a looper: its observer, which notes what runs, and where that is kept until it is handed over.

use std::{
    mem,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{
    super::previous::PreviousObserver,
    format::{Kind, Post, Slice},
    sink::{Label, SinkRef},
};
use crate::{
    core::shared::Shared,
    fd::notice::Notice,
    looper::{
        Looper,
        dispatch::ObserverSeat,
        observe::{
            observer::{DispatchInfo, Observer},
            wants::{RunInfo, WaitInfo, Wants},
        },
        running::RunningKind,
    },
    sys::{sync::OwnerCell, time::Clock},
};

/// How many slices are handed over at once: rarely enough that it costs next to nothing.
const BATCH: usize = 1024;

/// What has run on a looper and is not handed over yet.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) label: Arc<Label>,
    sink: SinkRef,
    clock: Clock,
    /// Entered for a moment by the looper's thread, and by the one that finishes the trace.
    noted: OwnerCell<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    slices: Vec<Slice>,
    /// Which of them have begun and not ended: each inside the one before.
    open: Vec<usize>,
}

impl Track {
    fn new(sink: &SinkRef, looper: &Looper) -> Arc<Track> {
        let own = || thread::current().name().map(str::to_owned);
        let name = looper.name().map(str::to_owned).or_else(own).unwrap_or_else(|| "looper".to_owned());
        let thread_id = looper.shared().activity.thread_id;
        let label = Arc::new(Label { name, looper: looper.shared().id, thread_id });
        sink.begin_at(looper.clock().now());
        let noted = OwnerCell::new(looper.shared().owner(), Noted::default());
        let track = Arc::new(Track { label, sink: sink.clone(), clock: looper.clock().clone(), noted });
        sink.add_track(&track);
        track
    }

    pub(super) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        self.label.looper == shared.id
    }

    /// Notes something whole, or the begin of something.
    fn note(&self, slice: Slice, is_begin: bool) {
        let mut noted = self.noted.lock();
        if is_begin {
            let index = noted.slices.len();
            noted.open.push(index);
        }
        noted.slices.push(slice);
    }

    /// Notes the end of what has begun last.
    fn close(&self, took: Duration, panicked: bool) {
        let mut noted = self.noted.lock();
        // There is none if the trace has begun or ended meanwhile.
        if let Some(index) = noted.open.pop()
            && let Some(slice) = noted.slices.get_mut(index)
        {
            (slice.took, slice.panicked) = (nanos(took), panicked);
        }
        if noted.open.is_empty() && noted.slices.len() >= BATCH {
            let full = mem::take(&mut noted.slices);
            drop(noted);
            self.hand_over(full);
        }
    }

    #[cold]
    fn hand_over(&self, full: Vec<Slice>) {
        self.sink.hand_over_slices(&self.label, full);
        let empty = self.sink.spare().unwrap_or_else(|| Vec::with_capacity(BATCH + BATCH / 8));
        let mut noted = self.noted.lock();
        // Another thread may have finished the trace, but nobody has noted anything.
        noted.slices = empty;
    }

    /// Hands over all that there is. What still runs ends here.
    pub(super) fn cut_off(&self) {
        let now = self.sink.nanos(self.clock.now());
        let Noted { mut slices, open } = mem::take(&mut *self.noted.lock());
        for index in open {
            let slice = &mut slices[index];
            (slice.took, slice.is_cut_off) = (now.saturating_sub(slice.start), true);
        }
        self.sink.hand_over_slices(&self.label, slices);
    }

    fn start(&self, instant: Option<Instant>) -> u64 {
        instant.map_or(0, |instant| self.sink.nanos(self.clock.moment(instant)))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Notes all that a looper does, and tells the observer that there was what that one wants.
pub(super) struct Tracer {
    track: Arc<Track>,
    seat: ObserverSeat,
    previous: PreviousObserver,
}

impl Tracer {
    pub(super) fn new(sink: &SinkRef, looper: &Looper) -> Tracer {
        Tracer { track: Track::new(sink, looper), seat: looper.observer_seat(), previous: PreviousObserver::of(looper) }
    }

    fn note(&self, slice: impl FnOnce(&Track) -> Slice, is_begin: bool) {
        if self.track.sink.takes() {
            self.track.note(slice(&self.track), is_begin);
        } else {
            self.end_with_trace();
        }
    }

    fn close(&self, took: Duration, panicked: bool) {
        if self.track.sink.is_open() {
            self.track.close(took, panicked);
        }
    }

    /// Once the trace has ended, gives its place back to the observer that there was: the next message costs nothing more.
    fn end_with_trace(&self) {
        if self.track.sink.has_ended() {
            self.seat.give_back((&raw const *self).cast(), self.previous.observer.clone(), self.previous.wants);
        }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        if self.track.sink.is_open() {
            self.track.cut_off();
        }
    }
}

impl Observer for Tracer {
    fn wants(&self) -> Wants {
        let notices = self.previous.wants & Wants::NOTICES;
        (Wants::all() - Wants::NOTICES) | notices
    }

    fn started(&self, dispatch: &DispatchInfo) {
        // First the other one: if that panics, nothing is told of an end.
        self.previous.told(Wants::MESSAGES).inspect(|previous| previous.started(dispatch));
        self.note(|track| Slice::of_message(dispatch, track), true);
    }

    fn finished(&self, dispatch: &DispatchInfo, took: Duration) {
        self.close(took, false);
        self.previous.told(Wants::MESSAGES).inspect(|previous| previous.finished(dispatch, took));
    }

    fn panicked(&self, dispatch: &DispatchInfo, took: Duration) {
        self.close(took, true);
        self.previous.told(Wants::MESSAGES).inspect(|previous| previous.panicked(dispatch, took));
    }

    fn began(&self, run: &RunInfo) {
        // As above.
        self.previous.told(Wants::of(run.kind)).inspect(|previous| previous.began(run));
        self.note(|track| Slice::of_run(run, track), true);
    }

    fn ended(&self, run: &RunInfo, took: Duration, panicked: bool) {
        self.close(took, panicked);
        self.previous.told(Wants::of(run.kind)).inspect(|previous| previous.ended(run, took, panicked));
    }

    fn waited(&self, wait: &WaitInfo) {
        self.note(|track| Slice::of_wait(wait, track), false);
        self.previous.told(Wants::WAITS).inspect(|previous| previous.waited(wait));
    }

    fn noticed(&self, notice: &Notice) {
        self.previous.told(Wants::NOTICES).inspect(|previous| previous.noticed(notice));
    }
}

impl Slice {
    fn of_message(dispatch: &DispatchInfo, track: &Track) -> Slice {
        let DispatchInfo { handler, what, place, .. } = *dispatch;
        // It wants times, so they are there.
        let (start, pending, at) = match dispatch.times {
            Some(times) => (track.sink.nanos(times.started), times.pending, times.posted),
            None => (0, 0, None),
        };
        let post = at.zip(dispatch.poster).map(|(at, by)| Post { at: track.sink.nanos(at), by });
        Slice { place: Some(place), ..Slice::new(start, Kind::Message { handler, what, pending, post }) }
    }

    fn of_run(run: &RunInfo, track: &Track) -> Slice {
        let kind = match run.kind {
            RunningKind::Fd => Kind::Fd(run.fd),
            kind => Kind::Other(kind),
        };
        Slice { place: Some(run.place), ..Slice::new(track.start(run.started), kind) }
    }

    fn of_wait(wait: &WaitInfo, track: &Track) -> Slice {
        let kind = Kind::Wait { blocked: wait.blocked, ready: wait.ready };
        Slice { took: nanos(wait.took), ..Slice::new(track.start(wait.started), kind) }
    }
}
