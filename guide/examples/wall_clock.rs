//! cargo run -p alooper-guide --example wall_clock
//!
//! docs/guide/how-to/wall-clock.md: beats at full tenths of a second on the clock on the wall, which somebody may set.

use std::{
    io,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use alooper::{FdNext, Interest, Looper};
use nix::{
    errno::Errno,
    sys::{
        time::TimeSpec,
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
    },
    unistd::read,
};

const PERIOD: Duration = Duration::from_millis(100);

// [arm]
/// The first beat after `now`.
fn beat_after(now: SystemTime) -> SystemTime {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let periods = since.as_nanos() / PERIOD.as_nanos() + 1;
    UNIX_EPOCH + Duration::from_nanos_u128(periods * PERIOD.as_nanos())
}

/// Makes the timer readable at the next beat, or when the clock is set before that. Gives the beat.
fn arm(timer: &TimerFd) -> io::Result<SystemTime> {
    let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
    loop {
        let beat = beat_after(SystemTime::now());
        let time = beat.duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
        match timer.set(Expiration::OneShot(TimeSpec::from_duration(time)), flags) {
            // The clock was set since we looked at it.
            Err(Errno::ECANCELED) => continue,
            set => set?,
        }
        return Ok(beat);
    }
}
// [/arm]

// [told]
#[derive(Debug)]
enum Told {
    TheTimeHasCome,
    TheClockWasSet,
    Nothing,
}

/// What a read of the timer has told.
fn told(read: nix::Result<usize>) -> io::Result<Told> {
    match read {
        Ok(_) => Ok(Told::TheTimeHasCome),
        Err(Errno::ECANCELED) => Ok(Told::TheClockWasSet),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(Told::Nothing),
        Err(error) => Err(error.into()),
    }
}
// [/told]

fn main() -> io::Result<()> {
    let looper = Looper::prepare()?;
    let timer = TimerFd::new(ClockId::CLOCK_REALTIME, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;

    // [beats]
    // From the first call on, the kernel looks out for who sets the clock. The second one looks at the clock.
    arm(&timer)?;
    let mut beat = arm(&timer)?;
    let mut count = 0;
    looper.add_fd(timer, Interest::INPUT, move |looper, timer, _| {
        match told(read(&*timer, &mut [0; 8])) {
            Ok(Told::Nothing) => return FdNext::Keep,
            Ok(Told::TheTimeHasCome) => {
                count += 1;
                println!("beat {count}: {}", if SystemTime::now() < beat { "too early" } else { "not early" });
            }
            Ok(Told::TheClockWasSet) => println!("the clock was set"),
            Err(error) => eprintln!("the timer cannot be read: {error}"),
        }
        if count == 3 {
            looper.quit();
            return FdNext::Remove;
        }
        match arm(timer) {
            Ok(next) => {
                beat = next;
                FdNext::Keep
            }
            Err(error) => {
                eprintln!("there are no more beats: {error}");
                looper.quit();
                FdNext::Remove
            }
        }
    })?;
    looper.run()?;
    // [/beats]

    println!("when the kernel says ECANCELED: {:?}", told(Err(Errno::ECANCELED))?);
    let time = UNIX_EPOCH + Duration::from_millis(1234);
    for (what, now) in [
        ("as it was", time),
        ("an hour ahead", time + Duration::from_secs(3600)),
        ("a second back", time - Duration::from_secs(1)),
    ] {
        let beat = beat_after(now).duration_since(now).map_err(io::Error::other)?;
        println!("the clock {what}: the next beat is in {beat:?}");
    }
    Ok(())
}
