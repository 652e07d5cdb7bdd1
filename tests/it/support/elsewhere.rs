//! Loopers of other threads.

use std::{panic, sync::mpsc, thread};

use alooper::{Looper, LooperHandle, MessageCounts};

/// A looper that runs on a thread of its own until it quits.
pub(crate) struct Elsewhere {
    pub(crate) handle: LooperHandle,
    thread: thread::JoinHandle<MessageCounts>,
}

impl Elsewhere {
    /// Starts the looper after `prepare` has set it up.
    pub(crate) fn run(prepare: impl FnOnce(&Looper) + Send + 'static) -> Elsewhere {
        let (sender, receiver) = mpsc::channel();
        let thread = thread::spawn(move || {
            let looper = Looper::new().unwrap();
            prepare(&looper);
            sender.send(looper.handle()).unwrap();
            looper.run().unwrap()
        });
        Elsewhere { handle: receiver.recv().unwrap(), thread }
    }

    /// Waits for the looper to quit.
    pub(crate) fn join(self) -> MessageCounts {
        self.thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
    }
}
