//! futures-io's traits, for sources that have std's.

use std::{
    cell::Cell,
    io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write},
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use futures_io::{AsyncRead, AsyncWrite};

use super::{AsyncFd, Watch};
use crate::sys::interest::Interest;

/// What the next one who polls a read, or a write, does first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Turn {
    #[default]
    Tries,
    Waits,
    /// It waits already, as the one of this number.
    WaitsAs(u64),
}

impl Watch {
    fn turn(&self, interest: Interest) -> &Cell<Turn> {
        &self.turns[usize::from(interest == Interest::OUTPUT)]
    }

    /// Waits for `interest` if that comes first.
    fn poll_again(&self, interest: Interest, waker: &Waker) -> Poll<io::Result<()>> {
        let turn = self.turn(interest);
        let mut id = match turn.get() {
            Turn::Tries => return Poll::Ready(Ok(())),
            Turn::Waits => None,
            Turn::WaitsAs(id) => Some(id),
        };
        let polled = self.poll_ready(interest, &mut id, waker);
        turn.set(id.map_or(Turn::Tries, Turn::WaitsAs));
        polled
    }

    /// Notes that the next one waits before it tries. What was ready before this is not any more.
    fn await_next(&self, interest: Interest) {
        self.state.take_ready(interest);
        self.turn(interest).set(Turn::Waits);
    }
}

/// Tries `io`, and waits until it would not block. What is less than there is `room` for, and not nothing, was all for
/// now: the next one waits before it tries.
fn poll_io(
    watch: &Watch,
    interest: Interest,
    context: &mut Context<'_>,
    room: usize,
    mut io: impl FnMut() -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(watch.poll_again(interest, context.waker()))?;
        match io() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => watch.await_next(interest),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(count) => {
                watch.note_progress();
                if 0 < count && count < room {
                    watch.await_next(interest);
                }
                return Poll::Ready(Ok(count));
            }
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

fn room_in(buffers: &[impl std::ops::Deref<Target = [u8]>]) -> usize {
    buffers.iter().map(|buffer| buffer.len()).sum()
}

fn poll_flush(
    watch: &Watch,
    context: &mut Context<'_>,
    mut flush: impl FnMut() -> io::Result<()>,
) -> Poll<io::Result<()>> {
    poll_io(watch, Interest::OUTPUT, context, 0, || flush().map(|()| 0)).map_ok(drop)
}

impl<S> AsyncRead for AsyncFd<S>
where
    S: Read,
{
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let AsyncFd { watch, source } = &mut *self.get_mut();
        poll_io(watch, Interest::INPUT, context, buffer.len(), || source.read(buffer))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let AsyncFd { watch, source } = &mut *self.get_mut();
        poll_io(watch, Interest::INPUT, context, room_in(buffers), || source.read_vectored(buffers))
    }
}

impl<S> AsyncWrite for AsyncFd<S>
where
    S: Write,
{
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let AsyncFd { watch, source } = &mut *self.get_mut();
        poll_io(watch, Interest::OUTPUT, context, buffer.len(), || source.write(buffer))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let AsyncFd { watch, source } = &mut *self.get_mut();
        poll_io(watch, Interest::OUTPUT, context, room_in(buffers), || source.write_vectored(buffers))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let AsyncFd { watch, source } = &mut *self.get_mut();
        poll_flush(watch, context, || source.flush())
    }

    /// Flushes. What ends a connection is up to its owner: to shut it down, or to drop it.
    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

impl<'a, S> AsyncRead for &'a AsyncFd<S>
where
    &'a S: Read,
{
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let (watch, mut source) = (&self.watch, &self.source);
        poll_io(watch, Interest::INPUT, context, buffer.len(), || source.read(buffer))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let (watch, mut source) = (&self.watch, &self.source);
        poll_io(watch, Interest::INPUT, context, room_in(buffers), || source.read_vectored(buffers))
    }
}

impl<'a, S> AsyncWrite for &'a AsyncFd<S>
where
    &'a S: Write,
{
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let (watch, mut source) = (&self.watch, &self.source);
        poll_io(watch, Interest::OUTPUT, context, buffer.len(), || source.write(buffer))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let (watch, mut source) = (&self.watch, &self.source);
        poll_io(watch, Interest::OUTPUT, context, room_in(buffers), || source.write_vectored(buffers))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (watch, mut source) = (&self.watch, &self.source);
        poll_flush(watch, context, || source.flush())
    }

    /// Flushes. What ends a connection is up to its owner: to shut it down, or to drop it.
    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}
