//! cargo run -p alooper-guide --bin worker
//!
//! Chapter 7 of docs/guide: a thread with a looper takes requests, answers them, and ends; then one that panics.

use std::{io, panic, thread};

use alooper::{Handler, HandlerThread, Looper};

// [worker]
fn main() -> io::Result<()> {
    let looper = Looper::prepare()?;
    let answers = Handler::new(&looper, |looper, (number, square): (u64, u64)| {
        println!("{number} squared is {square}");
        if number == 3 {
            looper.quit();
        }
    });

    let worker = HandlerThread::spawn("squares")?;
    let requests = worker.handle().handler(move |_, number: u64| {
        // Refused only if the main looper has quit: then nobody wants the answer.
        let _ = answers.send((number, number * number));
    })?;
    for number in 1..=3 {
        requests.send(number)?;
    }
    looper.run()?;

    let name = worker.handle().call(|_| thread::current().name().map(str::to_owned))?;
    println!("a call is answered by the thread {:?}", name.unwrap());

    worker.quit_safely();
    let counts = worker.join()?;
    println!("posted: {}, run: {}, dropped: {}", counts.posted, counts.run, counts.dropped);
    println!("too late: {}", requests.send(4).unwrap_err());
    one_that_panics()
}
// [/worker]

// [panic]
fn one_that_panics() -> io::Result<()> {
    let worker = HandlerThread::spawn("careless")?;
    panic::set_hook(Box::new(|_| ()));
    worker.handle().post(|_| panic!("no such file"))?;
    println!("{}", worker.join().unwrap_err());
    Ok(())
}
// [/panic]
