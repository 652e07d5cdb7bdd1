//! How much there is to read.

use std::os::fd::BorrowedFd;

use nix::sys::socket::{SockType, getsockopt, sockopt};

/// How many bytes wait to be read: of a pipe, a stream, a terminal. `None` of what does not count bytes, or counts those
/// of its next packet alone.
pub(crate) fn bytes_in(fd: BorrowedFd<'_>) -> Option<u64> {
    match getsockopt(&fd, sockopt::SockType) {
        Ok(SockType::Stream) | Err(_) => match rustix::io::ioctl_fionread(fd) {
            // A terminal whose other side is gone.
            Err(rustix::io::Errno::IO) => Some(0),
            bytes => bytes.ok(),
        },
        Ok(_) => None,
    }
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use std::{
        io::{self, Write},
        net::{TcpListener, UdpSocket},
        os::{fd::AsFd, unix::net::UnixStream},
    };

    use super::*;

    #[test]
    fn f13_what_counts_bytes_says_how_many_there_are() {
        let (reader, mut writer) = io::pipe().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        assert_eq!((bytes_in(reader.as_fd()), bytes_in(near.as_fd())), (Some(0), Some(0)));

        writer.write_all(b"abc").unwrap();
        far.write_all(b"ab").unwrap();

        assert_eq!((bytes_in(reader.as_fd()), bytes_in(near.as_fd())), (Some(3), Some(2)));
    }

    #[test]
    fn f13_what_counts_no_bytes_says_nothing() {
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let counter = nix::sys::eventfd::EventFd::new().unwrap();

        for fd in [datagrams.as_fd(), listener.as_fd(), counter.as_fd()] {
            assert_eq!(bytes_in(fd), None);
        }
    }
}
