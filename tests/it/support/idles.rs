//! Idle handlers that count their runs.

use std::{cell::Cell, rc::Rc};

use alooper::{IdleHandler, IdleNext, Looper};

/// Adds an idle handler that stays, and counts its runs.
pub(crate) fn add_counting(looper: &Looper) -> (IdleHandler, Rc<Cell<u32>>) {
    let runs = Rc::new(Cell::new(0));
    let counting = runs.clone();
    let idle = looper.add_idle(move |_| {
        counting.set(counting.get() + 1);
        IdleNext::Keep
    });
    (idle.unwrap(), runs)
}
