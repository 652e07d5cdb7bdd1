//! cargo run --example handler_thread
//!
//! A thread that handles messages: commands for a worker that has its own state, as values of an enum. What it sends
//! back arrives on the main thread's looper, between everything else that happens there.

use std::{io, thread};

use alooper::{Handler, HandlerThread, Looper};

/// What the worker can be told.
enum Command {
    Add { word: &'static str },
    Count { reply: Handler<usize> },
}

fn main() -> io::Result<()> {
    let main = Looper::prepare_main()?;
    let replies = Handler::new(&main, |looper, count: usize| {
        println!("[{}] the worker knows {count} words", name());
        if count == 3 {
            looper.quit();
        }
    });

    // It takes messages as soon as it is spawned. The state is the closure's own: no lock guards it.
    let worker = HandlerThread::spawn("worker")?;
    let mut words = Vec::new();
    let commands = worker.handle().handler(move |_, command: Command| match command {
        Command::Add { word } => {
            println!("[{}] learns {word:?}", name());
            words.push(word);
        }
        // Refused only if the main looper has quit: then nobody wants the answer.
        Command::Count { reply } => drop(reply.send(words.len())),
    })?;

    commands.send(Command::Add { word: "looper" })?;
    commands.send(Command::Add { word: "handler" })?;
    commands.send(Command::Count { reply: replies.clone() })?;
    commands.send(Command::Add { word: "message" })?;
    commands.send(Command::Count { reply: replies })?;
    main.run()?;

    // A call waits for its value, and runs when all before it has.
    let answer = worker.handle().call(|_| format!("[{}] answers a call", name()))?;
    println!("[{}] {answer}", name());

    worker.quit_safely();
    let report = worker.join()?;
    println!("[{}] the worker has ended: {} messages posted, {} run", name(), report.posted, report.run);
    match commands.send(Command::Add { word: "quit" }) {
        Err(refused) => println!("[{}] another one is refused: {refused}", name()),
        Ok(_) => println!("[{}] another one is accepted after the end!", name()),
    }
    Ok(())
}

fn name() -> String {
    thread::current().name().unwrap_or("?").to_owned()
}
