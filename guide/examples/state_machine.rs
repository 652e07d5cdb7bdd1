//! cargo run -p alooper-guide --example state_machine
//!
//! docs/guide/how-to/state-machine.md: a connection is a state machine, its inputs are messages. In virtual time.

use std::{io, time::Duration};

use alooper::{Handler, Looper, PostedGuard, WeakHandler, testing::TestLooper};

#[derive(Debug)]
enum Event {
    Connect,
    Connected,
    Timeout,
    Closed,
}

enum State {
    Idle,
    Connecting { attempt: u32, _timeout: PostedGuard<Event> },
    Online,
    Failed,
}

struct Connection {
    state: State,
    me: WeakHandler<Event>,
}

// [next]
impl Connection {
    /// The next state, from the present one and what has happened.
    fn next(&self, event: Event) -> io::Result<Option<State>> {
        Ok(Some(match (&self.state, event) {
            (State::Idle, Event::Connect) => self.connecting(1)?,
            (State::Connecting { .. }, Event::Connected) => State::Online,
            (State::Connecting { attempt: 3, .. }, Event::Timeout) => State::Failed,
            (State::Connecting { attempt, .. }, Event::Timeout) => self.connecting(attempt + 1)?,
            (State::Online, Event::Closed) => self.connecting(1)?,
            // Anything else is late or makes no sense in this state.
            _ => return Ok(None),
        }))
    }

    fn connecting(&self, attempt: u32) -> io::Result<State> {
        let me = self.me.upgrade().ok_or_else(|| io::Error::other("nobody has the connection"))?;
        let timeout = me.send_delayed(Duration::from_secs(5), Event::Timeout)?.guard();
        Ok(State::Connecting { attempt, _timeout: timeout })
    }
}
// [/next]

fn name(state: &State) -> String {
    match state {
        State::Idle => "idle".to_owned(),
        State::Connecting { attempt, .. } => format!("connecting, attempt {attempt}"),
        State::Online => "online".to_owned(),
        State::Failed => "failed".to_owned(),
    }
}

// [handler]
fn connection(looper: &Looper) -> Handler<Event> {
    let start = looper.now();
    Handler::new_cyclic(looper, |me| {
        let mut connection = Connection { state: State::Idle, me: me.clone() };
        move |looper: &Looper, event| {
            let seconds = looper.now().duration_since(start).as_secs();
            let text = format!("{seconds:>2} s: {event:?}");
            match connection.next(event) {
                // The old state is dropped here, and its timeout is cancelled.
                Ok(Some(state)) => connection.state = state,
                Ok(None) => return println!("{text} is ignored"),
                Err(error) => return println!("{text}: {error}"),
            }
            println!("{text} -> {}", name(&connection.state));
        }
    })
}
// [/handler]

fn main() -> io::Result<()> {
    let looper = TestLooper::new()?;
    let connection = connection(&looper);
    connection.send(Event::Connect)?;
    looper.advance(Duration::from_secs(7));
    connection.send(Event::Connected)?;
    connection.send(Event::Connected)?;
    looper.advance(Duration::from_secs(60));
    connection.send(Event::Closed)?;
    looper.advance(Duration::from_secs(60));
    Ok(())
}
