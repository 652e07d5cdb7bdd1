//! A handler's messages that a quit gives up while another thread looks at them.
//!
//! Holds M6, R6.

use std::{
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use alooper::{Handler, Looper};

/// Lets a predicate go on and waits until its thread is done, when it is dropped.
struct EndsThread {
    go_on: mpsc::Sender<()>,
    thread: Option<JoinHandle<usize>>,
}

impl Drop for EndsThread {
    fn drop(&mut self) {
        self.go_on.send(()).unwrap();
        assert_eq!(self.thread.take().unwrap().join().unwrap(), 0, "it was given up");
    }
}

#[test]
fn m6_a_message_is_dropped_that_a_predicate_gives_back_while_what_a_quit_gave_up_is_dropped() {
    let looper = Looper::new().unwrap();
    let value = Arc::new(());
    let handler = Handler::new(&looper, |_, _: Arc<()>| ());
    handler.send(value.clone()).unwrap();
    let (looking, is_looking) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let remover = thread::spawn(move || {
        // The last front, which goes after that.
        handler.remove_if(|_| {
            looking.send(()).unwrap();
            may_go_on.recv().unwrap();
            true
        })
    });
    is_looking.recv().unwrap();
    let ends_thread = EndsThread { go_on, thread: Some(remover) };
    looper.post_delayed(Duration::from_secs(3600), move |_| drop(ends_thread)).unwrap();

    looper.quit();
    assert!(looper.poll_once(Duration::ZERO).unwrap().quit);
    drop(looper);

    assert_eq!(Arc::strong_count(&value), 1, "whoever was given it has dropped it");
}
