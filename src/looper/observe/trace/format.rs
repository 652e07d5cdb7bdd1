//! What runs, as JSON in the trace event format of Chromium, which Perfetto reads too.
//!
//! All times are microseconds with three decimals. `X` is a slice, `s` and `f` are the two ends of an arrow, `C` is a
//! counter and `M` a name.

use std::{
    fmt::{self, Display, Formatter, Write},
    os::fd::RawFd,
};

use super::sink::Label;
use crate::{looper::running::RunningKind, queue::message::Origin};

/// Something that ran, or a wait. Times are nanoseconds from the begin of the trace on.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    pub(super) start: u64,
    pub(super) took: u64,
    pub(super) kind: Kind,
    pub(super) place: Option<Origin>,
    pub(super) panicked: bool,
    /// The trace has ended before it.
    pub(super) is_cut_off: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Message { handler: Option<&'static str>, what: Option<i32>, pending: usize, post: Option<Post> },
    Fd(Option<RawFd>),
    Other(RunningKind),
    Wait { blocked: bool, ready: usize },
}

/// Where a message comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Post {
    pub(super) at: u64,
    /// The thread, as the kernel calls it.
    pub(super) by: i32,
}

impl Slice {
    pub(super) fn new(start: u64, kind: Kind) -> Slice {
        Slice { start, took: 0, kind, place: None, panicked: false, is_cut_off: false }
    }

    fn category(&self) -> &'static str {
        match self.kind {
            Kind::Message { .. } => "message",
            Kind::Fd(_) => "fd",
            Kind::Wait { .. } => "wait",
            Kind::Other(RunningKind::Idle) => "idle",
            Kind::Other(RunningKind::Hook) => "hook",
            Kind::Other(RunningKind::Task) => "task",
            Kind::Other(_) => "other",
        }
    }

    fn name(&self) -> String {
        let kind = match &self.kind {
            Kind::Message { handler: Some(handler), what: Some(what), .. } => format!("{handler} {what}"),
            Kind::Message { handler: Some(handler), .. } => (*handler).to_owned(),
            Kind::Message { .. } => "closure".to_owned(),
            Kind::Fd(Some(fd)) => format!("fd {fd}"),
            _ => self.category().to_owned(),
        };
        match self.place {
            Some(place) => format!("{kind} {}:{}", place.file(), place.line()),
            None => kind,
        }
    }

    fn write_args(&self, text: &mut String) {
        let mut args = Vec::new();
        if let Some(place) = self.place {
            args.push(format!("\"place\":{}", Quoted(&place.to_string())));
        }
        if let Kind::Wait { blocked, ready } = self.kind {
            args.push(format!("\"blocked\":{blocked},\"ready\":{ready}"));
        }
        args.extend(self.panicked.then(|| "\"panicked\":true".to_owned()));
        args.extend(self.is_cut_off.then(|| "\"cut_off\":true".to_owned()));
        put(text, format_args!(",\"args\":{{{}}}", args.join(",")));
    }
}

/// Writes events, each with a comma before it, so that any first one may stand before them.
#[derive(Debug)]
pub(super) struct Format {
    pub(super) process: u32,
}

impl Format {
    /// The slice itself.
    pub(super) fn slice(&self, text: &mut String, label: &Label, slice: &Slice) {
        self.begin(text, "X", label.thread_id, slice.start);
        put(text, format_args!(",\"dur\":{}", Micros(slice.took)));
        put(text, format_args!(",\"cat\":\"{}\",\"name\":{}", slice.category(), Quoted(&slice.name())));
        slice.write_args(text);
        text.push('}');
    }

    /// The arrow `flow` from a post, which is a slice of no length, so that the arrow has where to begin.
    pub(super) fn posted(&self, text: &mut String, post: Post, flow: u64) {
        self.begin(text, "X", post.by, post.at);
        text.push_str(",\"dur\":0.000,\"cat\":\"post\",\"name\":\"post\"}");
        self.begin(text, "s", post.by, post.at);
        put(text, format_args!(",\"id\":{flow},\"cat\":\"posted\",\"name\":\"posted\"}}"));
    }

    /// The end of the arrow `flow`, where a message begins.
    pub(super) fn arrived(&self, text: &mut String, label: &Label, slice: &Slice, flow: u64) {
        self.begin(text, "f", label.thread_id, slice.start);
        put(text, format_args!(",\"bp\":\"e\",\"id\":{flow},\"cat\":\"posted\",\"name\":\"posted\"}}"));
    }

    /// How many messages are pending.
    pub(super) fn pending(&self, text: &mut String, label: &Label, at: u64, pending: usize) {
        self.begin(text, "C", label.thread_id, at);
        let name = format!("queue of {} {}", label.name, label.thread_id);
        put(text, format_args!(",\"name\":{},\"args\":{{\"messages\":{pending}}}}}", Quoted(&name)));
    }

    /// The name of a thread, or of the process.
    pub(super) fn named(&self, text: &mut String, what: &str, thread_id: i32, name: &str) {
        self.begin(text, "M", thread_id, 0);
        put(text, format_args!(",\"name\":\"{what}\",\"args\":{{\"name\":{}}}}}", Quoted(name)));
    }

    fn begin(&self, text: &mut String, phase: &str, thread_id: i32, at: u64) {
        let (process, at) = (self.process, Micros(at));
        put(text, format_args!(",\n{{\"ph\":\"{phase}\",\"pid\":{process},\"tid\":{thread_id},\"ts\":{at}"));
    }
}

/// Writing to a `String` cannot fail.
fn put(text: &mut String, what: fmt::Arguments<'_>) {
    let _ = text.write_fmt(what);
}

/// Nanoseconds, as microseconds.
struct Micros(u64);

impl Display for Micros {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// A text as a string of JSON.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if u32::from(c) < 0x20 => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}
