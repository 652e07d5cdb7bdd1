//! The library on the real kernel and a virtual clock, driven by the same operations as the model.

use std::sync::Arc;

use alooper::{
    Looper,
    testing::{TestClock, TestLooper},
};

use crate::{
    history::{History, Op},
    kernel::Kernel,
    seen::{Event, Glance, Outcome, View},
    world::{World, nanos},
};

/// A looper under test.
pub(crate) struct Real {
    /// `None` once it was dropped.
    looper: Option<TestLooper>,
    /// Follows the same clock and has nothing to do: when it waits, time passes and nothing runs.
    sleeper: TestLooper,
    world: Arc<World>,
}

impl Real {
    pub(crate) fn new(history: &History) -> Real {
        let clock = TestClock::new();
        let properties = Looper::builder().budget(history.budget).spin_limit(history.spin_limit);
        let looper = clock.build(properties).unwrap();
        let sleeper = clock.build(Looper::builder()).unwrap();
        looper.allow_leftovers();
        let world = World::new(&looper, history, Kernel::default());
        Real { looper: Some(looper), sleeper, world }
    }

    fn looper(&self) -> &TestLooper {
        self.looper.as_ref().expect("it was not dropped yet")
    }

    pub(crate) fn take_events(&self) -> Vec<Event> {
        self.world.take_events()
    }

    /// Does one step of a history.
    pub(crate) fn step(&self, op: &Op) -> Outcome {
        let looper = self.looper();
        match *op {
            Op::Advance { by } => {
                self.world.fds.let_swap(false);
                Outcome::Ran(self.world.inside(|| looper.advance(nanos(by))))
            }
            Op::Oversleep { by } => {
                assert!(self.sleeper.poll_once(nanos(by)).unwrap().timed_out);
                Outcome::Done
            }
            Op::RunOne => {
                self.world.fds.let_swap(false);
                Outcome::Ran(usize::from(self.world.inside(|| looper.run_one())))
            }
            _ => self.world.step(looper, op),
        }
    }

    /// Whether its fd says that it wants to be polled; `None` if that is not looked at.
    pub(crate) fn is_readable(&self) -> Option<bool> {
        None
    }

    /// How often it has waited; `None` likewise.
    pub(crate) fn waits(&self) -> Option<u64> {
        None
    }

    pub(crate) fn drop_looper(&mut self) {
        self.looper = None;
    }

    pub(crate) fn glance(&self) -> Glance {
        self.world.glance()
    }

    pub(crate) fn send_too_late(&self) -> (Outcome, Outcome) {
        self.world.send_too_late()
    }

    pub(crate) fn view(&self) -> View {
        let looper = self.looper();
        self.world.view(looper, looper.pending(), looper.next_deadline())
    }
}
