//! Random operations on a looper, each compared with a model of `docs/semantics.md`: see `fuzz/README.md`.
//!
//! History, model and driver are those of `tests/histories/`, where random histories of another origin run as a test.

#[cfg(not(alooper_fuzz))]
compile_error!(
    "the fake kernel is there only with `--cfg alooper_fuzz`: call this from its own folder, or set RUSTFLAGS"
);

mod decode;
#[path = "../../tests/histories/driver.rs"]
mod driver;
#[path = "../../tests/histories/history.rs"]
mod history;
mod kernel;
#[path = "../../tests/histories/model.rs"]
mod model;
mod real;
#[cfg(test)]
mod regressions;
#[path = "../../tests/histories/seen.rs"]
mod seen;
mod shrink;
#[path = "../../tests/histories/world.rs"]
mod world;

use std::{
    any::Any,
    panic::{self, AssertUnwindSafe},
    process,
    sync::Once,
};

use history::History;

/// Which kernel a looper is tried on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The library's own, which can do what no real one can be made to do.
    Fake,
    /// Linux.
    Real,
}

/// A history that goes otherwise than the model says.
#[derive(Debug)]
pub struct Difference {
    history: History,
    kind: Kind,
}

/// Runs the history that `data` stands for, as a fuzz target: a difference is printed and ends the process.
pub fn run(data: &[u8], kind: Kind) {
    // A panic is a difference like others: it is told with a short history, and not where it happens.
    static SILENCE: Once = Once::new();
    SILENCE.call_once(|| panic::set_hook(Box::new(|_| {})));
    if let Err(difference) = check(data, kind) {
        eprintln!("{}", difference.explain());
        process::abort();
    }
}

/// Runs the history that `data` stands for, and gives how many operations it had.
///
/// # Errors
/// Where library and model differ.
pub fn check(data: &[u8], kind: Kind) -> Result<u64, Difference> {
    let history = decode::history(data, kind);
    compare(&history, kind).map_err(|_| Difference { history, kind })
}

impl Difference {
    /// The shortest history that was found to differ, in words and as code, with the difference.
    #[must_use]
    pub fn explain(&self) -> String {
        let Difference { history, kind } = self;
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        let short = shrink::shrink(history, |history| compare(history, *kind).is_err());
        let difference = compare(&short, *kind).err().unwrap_or_default();
        panic::set_hook(hook);
        format!("{difference}\nin {short:?}\nas a test on the {kind:?} kernel:\n{}", short.code())
    }
}

/// Runs a history. A panic is a difference, too.
fn compare(history: &History, kind: Kind) -> Result<u64, String> {
    real::KIND.set(kind);
    let run = || driver::compare(history);
    panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(format!("it panics: {}", text_of(&*panic))))
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref().copied()).unwrap_or("something")
}
