//! What the floor has for fds: epoll, and a slab of boxed callbacks.

use std::os::fd::AsFd;

use nix::{
    errno::Errno,
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
};
use slab::Slab;

type Callback = Box<dyn FnMut()>;

pub struct Fds {
    epoll: Epoll,
    callbacks: Slab<Callback>,
    events: Vec<EpollEvent>,
}

impl Fds {
    pub fn new() -> Fds {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("an epoll set is made");
        Fds { epoll, callbacks: Slab::new(), events: vec![EpollEvent::empty(); 128] }
    }

    /// Level-triggered.
    pub fn add(&mut self, fd: impl AsFd, callback: impl FnMut() + 'static) -> usize {
        let key = self.callbacks.insert(Box::new(callback));
        self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, key as u64)).expect("the fd is added");
        key
    }

    pub fn remove(&mut self, key: usize, fd: impl AsFd) {
        self.epoll.delete(fd).expect("the fd is removed");
        drop(self.callbacks.remove(key));
    }

    /// Waits, and calls back for each fd that is ready.
    pub fn turn(&mut self, timeout: EpollTimeout) {
        let count = match self.epoll.wait(&mut self.events, timeout) {
            Err(Errno::EINTR) => 0,
            count => count.expect("epoll waits"),
        };
        for event in &self.events[..count] {
            self.callbacks[event.data() as usize]();
        }
    }
}
