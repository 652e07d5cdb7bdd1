//! cargo run --example idle
//!
//! An editor saves when nobody types. An idle handler runs once each time that the looper has nothing left to do, and
//! not again before another message has run: each burst of typing is saved once, and a pause costs nothing.

use std::{cell::RefCell, io, ops::ControlFlow, rc::Rc, time::Duration};

use alooper::{Handler, Looper};

fn main() -> io::Result<()> {
    let looper = Looper::prepare()?;
    let text = Rc::new(RefCell::new(String::new()));

    let typed = text.clone();
    let keyboard = Handler::new(&looper, move |_, key: char| {
        typed.borrow_mut().push(key);
        println!("typed {key:?}");
    });

    let mut saves = 0;
    looper.add_idle(move |looper| {
        saves += 1;
        println!("nothing is due: saved {:?}", text.borrow());
        if !looper.is_empty() {
            return ControlFlow::Continue(());
        }
        println!("nothing will be: {saves} saves for {} keys", text.borrow().chars().count());
        looper.quit();
        ControlFlow::Break(())
    })?;

    // Three bursts, 100 ms apart.
    let start = looper.now();
    for (delay, word) in [(0, "all"), (100, " is"), (200, " well")] {
        for key in word.chars() {
            keyboard.send_at(start + Duration::from_millis(delay), key)?;
        }
    }
    looper.run()?;
    Ok(())
}
