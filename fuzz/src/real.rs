//! The library on the fake kernel or the real one, driven by the same operations as the model.

#[path = "../../tests/histories/real.rs"]
mod linux;

use std::{cell::Cell, sync::Arc, time::Duration};

use alooper::{Looper, fuzzing};

use crate::{
    Kind,
    history::{History, Op},
    kernel::Kernel,
    seen::{Event, Glance, Outcome, View},
    world::{World, nanos},
};

thread_local! {
    /// On which kernel the thread's loopers are.
    pub(crate) static KIND: Cell<Kind> = const { Cell::new(Kind::Fake) };
}

/// A looper under test.
pub(crate) enum Real {
    Fake(Fake),
    Linux(linux::Real),
}

pub(crate) struct Fake {
    /// `None` once it was dropped.
    looper: Option<Looper>,
    kernel: fuzzing::Kernel,
    is_hosted: bool,
    world: Arc<World>,
}

impl Fake {
    fn new(history: &History) -> Fake {
        let kernel = fuzzing::Kernel::new();
        // The alarm of a barrier would be one more thing to get up for.
        let properties = Looper::builder().budget(history.budget).spin_limit(history.spin_limit);
        let properties = properties.barrier_alarm(Duration::ZERO);
        let looper = kernel.build(properties).unwrap();
        let world = World::new(&looper, history, Kernel::fake(kernel.clone()));
        Fake { looper: Some(looper), kernel, is_hosted: history.is_hosted, world }
    }

    fn looper(&self) -> &Looper {
        self.looper.as_ref().expect("it was not dropped yet")
    }

    fn step(&self, op: &Op) -> Outcome {
        match *op {
            Op::Oversleep { by } => {
                self.kernel.pass(nanos(by));
                Outcome::Done
            }
            _ => self.world.step(self.looper(), op),
        }
    }

    fn view(&self) -> View {
        let looper = self.looper();
        self.world.view(looper, fuzzing::pending(looper), fuzzing::next_deadline(looper))
    }
}

impl Real {
    pub(crate) fn new(history: &History) -> Real {
        match KIND.get() {
            Kind::Fake => Real::Fake(Fake::new(history)),
            Kind::Real => Real::Linux(linux::Real::new(history)),
        }
    }

    pub(crate) fn take_events(&self) -> Vec<Event> {
        match self {
            Real::Fake(fake) => fake.world.take_events(),
            Real::Linux(real) => real.take_events(),
        }
    }

    pub(crate) fn step(&self, op: &Op) -> Outcome {
        match self {
            Real::Fake(fake) => fake.step(op),
            Real::Linux(real) => real.step(op),
        }
    }

    pub(crate) fn is_readable(&self) -> Option<bool> {
        match self {
            Real::Fake(fake) => fake.is_hosted.then(|| fake.kernel.is_host_readable()),
            Real::Linux(real) => real.is_readable(),
        }
    }

    pub(crate) fn waits(&self) -> Option<u64> {
        match self {
            Real::Fake(fake) => Some(fake.kernel.waits() as u64),
            Real::Linux(real) => real.waits(),
        }
    }

    pub(crate) fn drop_looper(&mut self) {
        match self {
            Real::Fake(fake) => fake.looper = None,
            Real::Linux(real) => real.drop_looper(),
        }
    }

    pub(crate) fn glance(&self) -> Glance {
        match self {
            Real::Fake(fake) => fake.world.glance(),
            Real::Linux(real) => real.glance(),
        }
    }

    pub(crate) fn send_too_late(&self) -> (Outcome, Outcome) {
        match self {
            Real::Fake(fake) => fake.world.send_too_late(),
            Real::Linux(real) => real.send_too_late(),
        }
    }

    pub(crate) fn view(&self) -> View {
        match self {
            Real::Fake(fake) => fake.view(),
            Real::Linux(real) => real.view(),
        }
    }
}
