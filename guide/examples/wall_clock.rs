//! cargo run -p alooper-guide --example wall_clock
//!
//! docs/guide/how-to/wall-clock.md: beats at full tenths of a second on the clock on the wall, which somebody may set.

use std::{
    io,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use alooper::{Looper, testing::TestLooper};

const PERIOD: Duration = Duration::from_millis(100);
const HOUR: Duration = Duration::from_secs(3600);

// [beats]
/// The first beat after `now`.
fn beat_after(now: SystemTime) -> SystemTime {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let periods = since.as_nanos() / PERIOD.as_nanos() + 1;
    UNIX_EPOCH + Duration::from_nanos_u128(periods * PERIOD.as_nanos())
}

/// Posts the next beat, which posts the one after it; quits after the third.
fn post_beat(looper: &Looper, count: u32) -> io::Result<()> {
    let when = beat_after(looper.wall_time());
    looper.post_at_wall(when, move |looper| {
        println!("beat {count}: {}", if looper.wall_time() < when { "too early" } else { "not early" });
        if count == 3 {
            looper.quit();
        } else if let Err(error) = post_beat(looper, count + 1) {
            eprintln!("there are no more beats: {error}");
            looper.quit();
        }
    })?;
    Ok(())
}
// [/beats]

// [set]
fn set_the_clock() -> io::Result<()> {
    let looper = TestLooper::new()?;
    let clock = looper.clock();
    let noon = clock.wall_time() + 12 * HOUR;
    clock.set_wall_time(noon);
    looper.post_at_wall(noon + HOUR, |_| println!("one o'clock"))?;
    looper.post_at_wall(noon + 5 * HOUR, |_| println!("five o'clock"))?;

    println!("at noon, the clock is set to eleven, and an hour passes");
    clock.set_wall_time(noon - HOUR);
    looper.advance(HOUR);
    println!("another hour passes");
    looper.advance(HOUR);
    println!("the clock is set to six");
    clock.set_wall_time(noon + 6 * HOUR);
    looper.run_until_idle();
    Ok(())
}
// [/set]

// [suspend]
fn suspend() -> io::Result<()> {
    let looper = TestLooper::new()?;
    looper.post_delayed(HOUR, |_| println!("an hour in which the machine ran"))?;
    looper.post_delayed_boottime(HOUR, |_| println!("an hour, suspended or not"))?;

    println!("the machine is suspended for an hour");
    looper.clock().suspend(HOUR);
    looper.run_until_idle();
    println!("it runs for an hour");
    looper.advance(HOUR);
    Ok(())
}
// [/suspend]

fn main() -> io::Result<()> {
    let looper = Looper::prepare()?;
    post_beat(&looper, 1)?;
    looper.run()?;
    set_the_clock()?;
    suspend()
}
