//! The thread that writes: it takes what the tracks hand over, and makes a file of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fs::File,
    io::{self, Write},
    mem,
    path::Path,
    process,
    sync::{Arc, mpsc::Receiver},
};

use super::{
    format::{Format, Kind, Slice},
    sink::{Counts, Label, Parcel},
};
use crate::{core::shared::LooperId, mem::log, sys::thread};

pub(super) struct Writer {
    file: File,
    counts: Arc<Counts>,
    format: Format,
    /// What the threads of loopers are called.
    names: BTreeMap<i32, String>,
    /// Other threads that have posted, which are called as the kernel calls them.
    posters: BTreeSet<i32>,
    /// How many messages each looper had when that was written last.
    pending: BTreeMap<LooperId, usize>,
    flows: u64,
    text: String,
}

impl Writer {
    pub(super) fn new(file: File, counts: Arc<Counts>) -> Writer {
        let format = Format { process: process::id() };
        let (names, posters, pending) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Writer { file, counts, format, names, posters, pending, flows: 0, text: String::new() }
    }

    /// Writes until there is nobody who hands anything over. After an error, it goes on to count what is lost.
    pub(super) fn run(mut self, parcels: &Receiver<Parcel>) -> io::Result<()> {
        let mut outcome = self.begin();
        for parcel in parcels {
            let count = if let Parcel::Slices(_, slices) = &parcel { slices.len() } else { 0 };
            if outcome.is_ok() {
                outcome = self.take(parcel);
            }
            self.counts.settle(count, outcome.is_ok());
            self.note(&outcome);
        }
        let end = |mut writer: Writer| writer.file.write_all(b"\n]}\n");
        outcome.and_then(|()| end(self))
    }

    /// Says once that the file takes nothing more.
    fn note(&self, outcome: &io::Result<()>) {
        if let Err(error) = outcome
            && self.counts.fail()
        {
            log::warn!("the trace ends here, since its file cannot be written: {error}");
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        let program = env::args_os().next().unwrap_or_default();
        let name = Path::new(&program).file_name().unwrap_or_default().to_string_lossy();
        let mut text = String::new();
        self.format.named(&mut text, "process_name", 0, &name);
        let first = text.trim_start_matches([',', '\n']);
        let outcome = write!(self.file, "{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n{first}");
        self.note(&outcome);
        outcome
    }

    fn take(&mut self, parcel: Parcel) -> io::Result<()> {
        match parcel {
            Parcel::Track(label) => self.name(&label),
            Parcel::Slices(label, slices) => {
                slices.iter().for_each(|slice| self.write_slice(&label, slice));
                self.counts.keep(slices);
            }
        }
        let text = mem::take(&mut self.text);
        self.file.write_all(text.as_bytes())?;
        self.text = text;
        self.text.clear();
        Ok(())
    }

    /// Names a looper's thread. Where several loopers share one, it has all their names.
    fn name(&mut self, label: &Label) {
        let name = self.names.entry(label.thread_id).or_default();
        if !name.is_empty() {
            name.push_str(", ");
        }
        name.push_str(&label.name);
        self.format.named(&mut self.text, "thread_name", label.thread_id, name);
    }

    fn write_slice(&mut self, label: &Label, slice: &Slice) {
        let Kind::Message { pending, post, .. } = slice.kind else {
            return self.format.slice(&mut self.text, label, slice);
        };
        if let Some(post) = post {
            self.flows += 1;
            self.name_poster(post.by);
            self.format.posted(&mut self.text, post, self.flows);
        }
        self.format.slice(&mut self.text, label, slice);
        if post.is_some() {
            // Behind the slice: an arrow ends in the one that is the last to have begun at its time.
            self.format.arrived(&mut self.text, label, slice, self.flows);
        }
        let former = self.pending.insert(label.looper, pending);
        if former != Some(pending) {
            self.format.pending(&mut self.text, label, slice.start, pending);
        }
    }

    fn name_poster(&mut self, thread_id: i32) {
        if !self.names.contains_key(&thread_id) && self.posters.insert(thread_id) {
            let name = thread::name_of(thread_id).unwrap_or_else(|| "a thread that has ended".to_owned());
            self.format.named(&mut self.text, "thread_name", thread_id, &name);
        }
    }
}
