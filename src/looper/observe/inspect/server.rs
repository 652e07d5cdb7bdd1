//! The listener, and what its clients share.

use std::{
    cell::{Cell, RefCell},
    io,
    ops::ControlFlow,
    os::unix::net::{UnixListener, UnixStream},
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

use super::{
    client::Client,
    report::{failure, report},
    sampler::Sampler,
};
use crate::{
    fd::FdNext,
    looper::{Looper, fd_source::FdHandle, posted::PostedGuard},
    mem::log,
    sys::{fork::ForkGeneration, interest::Interest, sync::Mutex, unix_socket},
};

/// How often loopers are looked at while a client is connected.
const PERIOD: Duration = Duration::from_millis(10);
/// How many clients there may be at once.
const MOST_CLIENTS: usize = 8;
/// For how long nobody is accepted after the kernel could not do that, for lack of fds for instance.
const REST: Duration = Duration::from_millis(200);

/// Whose the looper is that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The inspector's.
    Own,
    /// The program's.
    Lent,
}

/// The fds that a service watches, for the thread that ends it. A forked child locks nothing.
#[derive(Debug)]
pub(super) struct Fds {
    process: ForkGeneration,
    /// `None` once the service has ended.
    watched: Mutex<Option<Vec<FdHandle>>>,
}

impl Fds {
    pub(super) fn new() -> Fds {
        Fds { process: ForkGeneration::current(), watched: Mutex::new(Some(Vec::new())) }
    }

    /// Ends each registration, and lets there be no further one.
    pub(super) fn end(&self) {
        if self.process.is_current() {
            let watched = self.watched.lock().take();
            watched.into_iter().flatten().for_each(|fd| _ = fd.remove());
        }
    }

    /// Ends `fd` with the service: at once if that has ended.
    fn add(&self, fd: FdHandle) {
        let mut watched = self.watched.lock();
        if let Some(watched) = watched.as_mut() {
            watched.retain(FdHandle::is_registered);
            watched.push(fd);
            return;
        }
        drop(watched);
        fd.remove();
    }
}

/// What all clients share, on the looper's thread.
pub(super) struct Server {
    sampler: RefCell<Sampler>,
    /// What all loopers do, until they are looked at again: however often clients ask, loopers are not.
    report: RefCell<Option<Rc<[u8]>>>,
    /// Looks at loopers, while somebody is connected.
    looks: RefCell<Option<PostedGuard>>,
    clients: Cell<usize>,
}

impl Server {
    /// Serves `listener` on `looper` until `fds` end.
    pub(super) fn start(looper: &Looper, listener: UnixListener, kind: Kind, fds: &Arc<Fds>) -> io::Result<()> {
        let server = Rc::new(Server {
            sampler: RefCell::new(Sampler::new(looper.shared().id, kind == Kind::Own)),
            report: RefCell::new(None),
            looks: RefCell::new(None),
            clients: Cell::new(0),
        });
        let accepted = fds.clone();
        let accept = move |looper: &Looper, listener: &mut UnixListener, _| match listener.accept() {
            Ok((stream, _)) => {
                Server::admit(&server, looper, stream, &accepted);
                FdNext::Keep
            }
            Err(error) => after_failure(looper, &error),
        };
        let source = looper.add_fd(listener, Interest::INPUT, accept)?;
        fds.add(source.handle());
        Ok(())
    }

    /// Answers the client on `stream`, if it may be one.
    fn admit(server: &Rc<Server>, looper: &Looper, stream: UnixStream, fds: &Fds) {
        let is_own = stream.set_nonblocking(true).and_then(|()| unix_socket::is_of_own_user(&stream));
        if !is_own.unwrap_or(false) {
            return;
        }
        if server.clients.get() == MOST_CLIENTS {
            // A fresh socket has room for a line.
            let _ = unix_socket::send(&stream, &failure("there are too many clients"));
            return;
        }
        let mut client = Client::new(server.clone());
        let serve = move |looper: &Looper, stream: &mut UnixStream, _| client.serve(looper, stream);
        // It begins with its greeting.
        match looper.add_fd(stream, Interest::OUTPUT, serve) {
            Ok(source) => fds.add(source.handle()),
            Err(error) => log::warn!("a client of the inspector could not be served: {}", io::Error::from(error)),
        }
    }

    /// A client comes. With the first one, the looks begin.
    pub(super) fn enter(self: &Rc<Self>) {
        self.clients.set(self.clients.get() + 1);
    }

    /// A client has gone. With the last one, the looks end.
    pub(super) fn leave(&self) {
        self.clients.set(self.clients.get() - 1);
        if self.clients.get() == 0 {
            let looks = self.looks.take();
            drop(looks);
            self.report.take();
        }
    }

    /// Looks at loopers from now on, unless that is done already.
    pub(super) fn look_on(self: &Rc<Self>, looper: &Looper) {
        if self.looks.borrow().is_some() {
            return;
        }
        self.look();
        let server = Rc::downgrade(self);
        let looks = looper.post_every(PERIOD, move |_| look(&server));
        *self.looks.borrow_mut() = looks.ok().map(|looks| looks.guard());
    }

    /// Looks at loopers once.
    fn look(&self) {
        let loopers = self.sampler.borrow().loopers();
        self.sampler.borrow_mut().sample(&loopers);
        self.report.take();
    }

    /// What all loopers do.
    pub(super) fn report(&self, looper: &Looper) -> Rc<[u8]> {
        if let Some(report) = &*self.report.borrow() {
            return report.clone();
        }
        let loopers = self.sampler.borrow().loopers();
        let made: Rc<[u8]> = report(looper.clock().now(), &loopers, &self.sampler.borrow()).into();
        self.report.replace(Some(made.clone()));
        made
    }
}

fn look(server: &Weak<Server>) -> ControlFlow<()> {
    let Some(server) = server.upgrade() else {
        return ControlFlow::Break(());
    };
    server.look();
    ControlFlow::Continue(())
}

/// Goes on to listen at once after an error of one client, and later after one of the kernel's.
fn after_failure(looper: &Looper, error: &io::Error) -> FdNext {
    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    if matches!(error.kind(), ConnectionAborted | Interrupted | WouldBlock) {
        return FdNext::Keep;
    }
    log::warn!("the inspector accepts no client for {REST:?}: {error}");
    let Some(this) = looper.current_fd() else {
        return FdNext::Keep;
    };
    let resume = move |_: &Looper| _ = this.set_interest(Interest::INPUT);
    match looper.post_delayed(REST, resume) {
        Ok(_) => FdNext::Interest(Interest::empty()),
        // It has quit, and serves nobody.
        Err(_) => FdNext::Remove,
    }
}
