//! cargo run -p alooper-guide --example back_pressure
//!
//! docs/guide/how-to/back-pressure.md: a fast producer waits for a slow consumer, or is given its message back.

use std::{io, thread};

use alooper::{HandlerEvent, Looper};

fn main() -> io::Result<()> {
    // [bounded]
    let looper = Looper::new()?;
    let (mut count, mut most) = (0, 0);
    let numbers = looper.bounded_handler(4, move |looper, number: u32| {
        (count, most) = (count + 1, most.max(looper.len()));
        if number == 1000 {
            println!("{count} handled, never more than 4 pending: {}", most <= 4);
            looper.quit();
        }
    })?;
    // [/bounded]

    // [try]
    for number in 1..=6 {
        if let Err(refused) = numbers.try_send(number) {
            println!("{:?}: {:?} came back", refused.reason(), refused.into_value());
        }
    }
    let refused = numbers.send(7).expect_err("nobody would make room");
    println!("{:?}: it would wait for itself", refused.reason());
    // [/try]

    // [producer]
    let producer = thread::spawn(move || (7..).find_map(|number| numbers.send(number).err()));
    looper.run()?;
    let refused = producer.join().expect("it does not panic").expect("it sends until it is refused");
    println!("{:?}: one came back after the end", refused.reason());
    // [/producer]

    // [tasks]
    let looper = Looper::new()?;
    let squares = looper.bounded_handler(
        2,
        looper.with_disconnect(move |looper, event| match event {
            HandlerEvent::Message(number) => println!("{number} squared is {}", number * number),
            HandlerEvent::Disconnected => looper.quit(),
        }),
    )?;
    looper.spawn(async move {
        for number in 1..=3_u32 {
            // Waits while two are pending. It fails only if the looper has quit.
            squares.send_async(number).await.expect("it quits after the last one");
        }
    })?;
    looper.run()?;
    // [/tasks]
    Ok(())
}
