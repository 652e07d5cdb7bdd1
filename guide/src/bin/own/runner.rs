//! Chapter 13 of docs/guide: which jobs wait, which run, and for how long they may.

// [events]
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    time::Duration,
};

use alooper::{Handler, Looper, PostedGuard, WeakHandler};

/// What the runner is told.
pub enum Event {
    Start,
    /// The output of a job has ended.
    Done {
        id: usize,
        output: String,
    },
    /// A job has run for as long as it may.
    Late {
        id: usize,
    },
    /// Start nothing more, and end what runs.
    Stop,
}

/// What the runner needs of the world outside it, which a test replaces.
pub trait World {
    /// To drop it ends it.
    type Process;
    /// Starts a job in a free slot. Its end is an [`Event::Done`].
    fn start(&mut self, slot: usize, id: usize, job: &str, runner: Handler<Event>) -> io::Result<Self::Process>;
    fn report(&mut self, job: &str, outcome: &str);
}
// [/events]

// [runner]
pub const LIMIT: Duration = Duration::from_secs(2);

struct Running<P> {
    job: String,
    slot: usize,
    _process: P,
    _limit: PostedGuard<Event>,
}

struct Runner<W: World> {
    world: W,
    waiting: VecDeque<(usize, String)>,
    running: BTreeMap<usize, Running<W::Process>>,
    free: Vec<usize>,
    me: WeakHandler<Event>,
}

pub fn new<W>(looper: &Looper, jobs: impl IntoIterator<Item = String>, slots: usize, world: W) -> Handler<Event>
where
    W: World + 'static,
{
    let waiting = jobs.into_iter().enumerate().collect();
    Handler::new_cyclic(looper, |me| {
        let free = (0..slots).rev().collect();
        let mut runner = Runner { world, waiting, running: BTreeMap::new(), free, me: me.clone() };
        move |looper, event| runner.handle(looper, event)
    })
}
// [/runner]

impl<W: World> Runner<W> {
    // [handle]
    fn handle(&mut self, looper: &Looper, event: Event) {
        match event {
            Event::Start => {}
            Event::Done { id, output } => self.end(id, &output),
            Event::Late { id } => self.end(id, "takes too long"),
            Event::Stop => self.stop(),
        }
        self.fill();
        if self.running.is_empty() {
            looper.quit();
        }
    }

    fn end(&mut self, id: usize, outcome: &str) {
        // A job that was ended is still `Done` when its output ends: by then it is forgotten here.
        let Some(Running { job, slot, .. }) = self.running.remove(&id) else { return };
        self.free.push(slot);
        self.world.report(&job, outcome);
    }
    // [/handle]

    // [fill]
    fn fill(&mut self) {
        while !self.free.is_empty()
            && let Some((id, job)) = self.waiting.pop_front()
            && let Some(slot) = self.free.pop()
        {
            match self.start(slot, id, &job) {
                Ok(running) => _ = self.running.insert(id, running),
                Err(error) => {
                    self.free.push(slot);
                    self.world.report(&job, &error.to_string());
                }
            }
        }
    }

    fn start(&mut self, slot: usize, id: usize, job: &str) -> io::Result<Running<W::Process>> {
        let me = self.me.upgrade().ok_or_else(|| io::Error::other("nobody is interested any more"))?;
        let limit = me.send_delayed(LIMIT, Event::Late { id })?.guard();
        let process = self.world.start(slot, id, job, me)?;
        Ok(Running { job: job.to_owned(), slot, _process: process, _limit: limit })
    }
    // [/fill]

    // [stop]
    fn stop(&mut self) {
        for (_, job) in self.waiting.drain(..) {
            self.world.report(&job, "not started");
        }
        for id in self.running.keys().copied().collect::<Vec<_>>() {
            self.end(id, "stopped");
        }
    }
    // [/stop]
}
