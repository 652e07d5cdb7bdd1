//! All tests on the real kernel that can share a process, as one program: modules cost far less to build than binaries.
//! A test that needs a process of its own starts this program again for itself alone (`support::alone`).

mod support;

mod android {
    mod fds;
    mod java;
    mod java_queue;
    mod waiting;
}

mod barrier {
    mod alarm;
    mod cost;
    mod ends;
    mod passing;
}

mod call {
    mod ends;
    mod value;
}

mod examples {
    mod messages;
    mod programs;
}

mod fd {
    mod afar;
    mod arrivals;
    mod bad_input;
    mod dead;
    mod events;
    mod hollow;
    mod muted;
    mod next;
    mod order;
    mod panics;
    mod races;
    mod rebuild;
    mod reentry;
    mod remove;
    mod source;
    mod spin;
    mod stuck;
}

mod fork {
    mod afresh;
    mod inherited;
}

mod handler {
    mod basics;
    mod bounded;
    mod cost;
    mod drops;
    mod ends;
    mod given_up;
    mod keyed;
    mod labels;
    mod life;
    mod many;
    mod meanwhile;
    mod order;
    mod predicates;
    mod predicates_afar;
    mod remove;
}

mod handler_thread {
    mod ends;
    mod start;
}

mod hooks {
    mod runs;
}

mod host {
    mod kinds;
    mod notices;
    mod readable;
}

mod idle {
    mod ends;
    mod runs;
    mod wakes;
}

mod looper {
    mod drops_nested;
    mod forgotten;
    mod guards_kept;
    mod lifecycle;
    mod reentry;
    mod resources;
    mod run;
    mod thread_ends;
}

mod message {
    mod cancel;
    mod cancel_cost;
    mod flood;
    mod histories_real_clock;
    mod large;
    mod order;
    mod order_real_clock;
    mod repeat;
    mod repeat_from;
    mod reschedule;
    mod slot;
}

mod panics {
    mod callbacks;
    mod handlers;
    mod logger;
    mod skipped;
    mod twice;
}

mod quit {
    mod barred;
    mod quit_now;
}

mod source {
    #[cfg(feature = "inotify")]
    mod inotify;
    #[cfg(feature = "offload")]
    mod offload;
    #[cfg(feature = "process")]
    mod process;
    #[cfg(feature = "signals")]
    mod signal_ends;
    #[cfg(feature = "signals")]
    mod signals;
    #[cfg(feature = "wall-clock")]
    mod wall_clock;
}

#[cfg(feature = "async")]
mod task {
    mod block_on;
    mod calls;
    mod channel;
    mod ends;
    mod fds;
    mod forks;
    mod histories;
    mod idle;
    mod spawn;
    mod time;
    mod wakes;
}

mod text {
    mod android_page;
    mod catalogue_page;
    mod controls;
    mod house;
    mod links;
}

mod turn {
    mod phases;
    mod poll_all;
    mod waits;
}

mod virtual_time {
    mod clock;
    mod edges;
    mod looper;
    mod several;
}

mod watch {
    mod dump;
    mod errors;
    #[cfg(feature = "trace")]
    mod full_disk;
    mod histograms;
    #[cfg(feature = "inspect")]
    mod inspect;
    mod notices;
    mod observer;
    mod observers_act;
    mod running;
    mod slow;
    #[cfg(feature = "tracing")]
    mod spans;
    mod stats;
    #[cfg(feature = "trace")]
    mod trace;
    mod wants;
    mod watchdog;
}
