//! A trace whose file takes no more: from the beginning, or from the middle on.
//!
//! Holds W8.

use std::{env, fs, io, process, thread, time::Duration};

use alooper::{testing::TestLooper, trace::Trace};
use nix::sys::{
    resource::{Resource, setrlimit},
    signal::{SigSet, Signal},
};
use serde_json::Value;

use crate::support::alone::alone;

fn run(looper: &TestLooper, count: usize) {
    (0..count).for_each(|_| _ = looper.post(|_| ()).unwrap());
    let mut ran = 0;
    while ran < count {
        ran += looper.poll_once(Duration::ZERO).unwrap().messages;
    }
}

/// W8: the loop goes on without the file, and what is not in it is counted.
#[test]
fn w8_a_file_that_cannot_be_written_ends_the_trace_and_not_the_loop() {
    let trace = Trace::to_file("/dev/full").unwrap();
    let looper = TestLooper::new().unwrap();
    trace.attach(&looper);

    run(&looper, 5000);
    looper.set_observer(None);

    // The thread that writes may still have some of them.
    while trace.summary().lost < 5000 {
        thread::yield_now();
    }
    assert_eq!(trace.summary().slices, 0);
    assert_eq!(trace.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert!(Trace::to_file("/nowhere/at/all").is_err());
}

/// How many slices stand in a file that breaks off.
fn slices_in(text: &str) -> u64 {
    let (whole, _torn) = text.rsplit_once(",\n").unwrap();
    let file: Value = format!("{whole}]}}").parse().unwrap();
    let is_slice = |event: &&Value| event["ph"] == "X" && event["cat"] != "post";
    file["traceEvents"].as_array().unwrap().iter().filter(is_slice).count() as u64
}

/// W8: the disk fills while the trace is written. In a process of its own, whose files may not grow beyond a limit: the
/// write that comes to it writes a part.
#[test]
fn w8_what_was_written_before_the_disk_was_full_stays_and_the_loop_goes_on() {
    alone("w8_what_was_written_before_the_disk_was_full_stays_and_the_loop_goes_on", || {
        const ROOM: u64 = 2_000_000;
        const COUNT: usize = 20_000;
        let path = env::temp_dir().join(format!("alooper-trace-{}-full.json", process::id()));
        // The kernel sends a signal with the error, which would end the process.
        SigSet::from(Signal::SIGXFSZ).thread_block().unwrap();
        setrlimit(Resource::RLIMIT_FSIZE, ROOM, ROOM).unwrap();
        let trace = Trace::to_file(&path).unwrap();
        let looper = TestLooper::new().unwrap();
        trace.attach(&looper);

        run(&looper, COUNT);
        while trace.summary().lost == 0 {
            thread::yield_now();
        }
        let before = trace.summary();
        run(&looper, 10);
        let after = trace.summary();
        let error = trace.finish().unwrap_err();
        run(&looper, 10);
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();

        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(after.lost >= before.lost + 10, "the loop goes on, and counts: {after:?}");
        assert_eq!(text.len() as u64, ROOM, "what was written stays");
        let slices = slices_in(&text);
        assert!(after.slices > 0 && after.slices <= slices && slices < COUNT as u64, "{slices}, {after:?}");
    });
}
