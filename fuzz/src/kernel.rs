//! Files on the fake kernel or on the real one.

#[path = "../../tests/histories/kernel.rs"]
mod sockets;

use std::{
    fs,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use alooper::{Events, fuzzing};

pub(crate) use sockets::CONDITIONS;

/// More descriptors than a history has at any one time.
const MOST: usize = 512;

/// Real fds that lend the fake kernel their numbers.
static NUMBERS: LazyLock<Vec<OwnedFd>> =
    LazyLock::new(|| (0..MOST).map(|_| fs::File::open("/dev/null").unwrap().into()).collect());

#[derive(Clone, Debug)]
pub(crate) enum Kernel {
    Fake(Arc<Fake>),
    Real(sockets::Kernel),
}

/// A fake kernel, and which numbers are in use.
#[derive(Debug)]
pub(crate) struct Fake {
    kernel: fuzzing::Kernel,
    in_use: Mutex<Vec<bool>>,
    files: AtomicU64,
}

/// A descriptor. Clones are the same one, which is closed with the last of them.
#[derive(Clone, Debug)]
pub(crate) enum Fd {
    Fake(Arc<Descriptor>),
    Real(sockets::Fd),
}

#[derive(Debug)]
pub(crate) struct Descriptor {
    fake: Arc<Fake>,
    place: usize,
    file: u64,
}

/// What a file's descriptors stand for.
#[derive(Debug)]
pub(crate) enum File {
    Fake { fake: Arc<Fake>, file: u64, ready: Events, is_hung: bool },
    Real(sockets::File),
}

impl Default for Kernel {
    fn default() -> Self {
        Kernel::Real(sockets::Kernel::default())
    }
}

impl Kernel {
    pub(crate) fn fake(kernel: fuzzing::Kernel) -> Kernel {
        Kernel::Fake(Arc::new(Fake { kernel, in_use: Mutex::default(), files: AtomicU64::new(0) }))
    }

    /// Opens a file that is ready for nothing.
    pub(crate) fn open(&self) -> (Fd, File) {
        match self {
            Kernel::Fake(fake) => {
                let file = fake.files.fetch_add(1, Ordering::Relaxed);
                let descriptor = Descriptor::open(fake, file);
                let file = File::Fake { fake: fake.clone(), file, ready: Events::empty(), is_hung: false };
                (Fd::Fake(Arc::new(descriptor)), file)
            }
            Kernel::Real(real) => {
                let (fd, file) = real.open();
                (Fd::Real(fd), File::Real(file))
            }
        }
    }
}

impl Descriptor {
    /// Opens a descriptor with the lowest number that is free.
    fn open(fake: &Arc<Fake>, file: u64) -> Descriptor {
        let mut in_use = fake.in_use.lock().unwrap();
        let place = in_use.iter().position(|in_use| !in_use).unwrap_or_else(|| {
            in_use.push(false);
            in_use.len() - 1
        });
        in_use[place] = true;
        fake.kernel.open(NUMBERS[place].as_raw_fd(), file);
        Descriptor { fake: fake.clone(), place, file }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.fake.kernel.close(NUMBERS[self.place].as_raw_fd());
        self.fake.in_use.lock().unwrap()[self.place] = false;
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Fd::Fake(descriptor) => NUMBERS[descriptor.place].as_fd(),
            Fd::Real(fd) => fd.as_fd(),
        }
    }
}

impl Fd {
    pub(crate) fn number(&self) -> i32 {
        match self {
            Fd::Fake(descriptor) => NUMBERS[descriptor.place].as_raw_fd(),
            Fd::Real(fd) => fd.number(),
        }
    }

    /// Another descriptor of the same file.
    pub(crate) fn dup(&self) -> Fd {
        match self {
            Fd::Fake(descriptor) => Fd::Fake(Arc::new(Descriptor::open(&descriptor.fake, descriptor.file))),
            Fd::Real(fd) => Fd::Real(fd.dup()),
        }
    }

    /// Reads all that there is.
    pub(crate) fn drain(&self, file: &mut File) {
        match (self, file) {
            (Fd::Real(fd), File::Real(file)) => fd.drain(file),
            (_, file) => file.change(|ready| ready.remove(Events::INPUT)),
        }
    }
}

impl File {
    /// Makes it ready for `events`, by the descriptor `near`.
    pub(crate) fn set_ready(&mut self, near: &Fd, events: u8) {
        match (self, near) {
            (File::Real(file), Fd::Real(near)) => file.set_ready(near, events),
            (file, _) => file.change(|ready| *ready = Events::from_bits_truncate(events)),
        }
    }

    pub(crate) fn hang(&mut self) {
        match self {
            File::Fake { is_hung, .. } => {
                *is_hung = true;
                self.change(|_| {});
            }
            File::Real(file) => file.hang(),
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Events)) {
        let File::Fake { fake, file, ready, is_hung } = self else { return };
        change(ready);
        let hung = Events::INPUT | Events::OUTPUT | Events::READ_HANGUP | Events::HANGUP;
        fake.kernel.set_ready(*file, if *is_hung { *ready | hung } else { *ready });
    }
}
