//! cargo run -p alooper-guide --example errors
//!
//! docs/guide/how-to/errors.md: `?` with anyhow, and an error in a callback that ends the program.

use std::{cell::RefCell, fs, io, rc::Rc};

use alooper::Looper;
use anyhow::{Context, Result};

// [failing]
/// Where callbacks leave the error that ends the program.
#[derive(Clone, Default)]
struct Failure(Rc<RefCell<Option<anyhow::Error>>>);

impl Failure {
    /// Makes a callback of a function that may fail: its error ends `run`.
    fn catch<F: FnMut(&Looper) -> Result<()>>(&self, mut work: F) -> impl FnMut(&Looper) + use<F> {
        let failure = self.clone();
        move |looper| {
            if let Err(error) = work(looper) {
                failure.0.borrow_mut().get_or_insert(error);
                looper.quit();
            }
        }
    }

    fn into_result(self) -> Result<()> {
        self.0.take().map_or(Ok(()), Err)
    }
}
// [/failing]

// [main]
fn serve() -> Result<()> {
    let looper = Looper::new()?;
    let failure = Failure::default();
    let settings = Rc::new("/no/such/file");
    looper.post(failure.catch(move |_| {
        let text = fs::read_to_string(*settings).with_context(|| format!("cannot read {settings}"))?;
        println!("{text}");
        Ok(())
    }))?;
    looper.run().context("the loop has failed")?;
    failure.into_result()
}

fn post_too_late() -> Result<()> {
    let looper = Looper::new()?;
    looper.quit();
    let not_send = Rc::new("a word");
    looper.post(move |_| println!("{not_send}")).map_err(io::Error::from).context("cannot greet")?;
    Ok(())
}

fn main() -> Result<()> {
    println!("{:#}", serve().unwrap_err());
    let error = post_too_late().unwrap_err();
    println!("{error:#}");
    println!("its kind: {:?}", error.downcast_ref::<io::Error>().map(io::Error::kind));
    Ok(())
}
// [/main]
