//! Idle handlers that count their runs.

use std::{cell::Cell, ops::ControlFlow, rc::Rc};

use alooper::{IdleHandler, Looper};

/// Adds an idle handler that stays, and counts its runs.
pub(crate) fn add_counting(looper: &Looper) -> (IdleHandler, Rc<Cell<u32>>) {
    let runs = Rc::new(Cell::new(0));
    let counting = runs.clone();
    let idle = looper.add_idle(move |_| {
        counting.set(counting.get() + 1);
        ControlFlow::Continue(())
    });
    (idle.unwrap(), runs)
}
