//! A Unix socket that only its own user may connect to.

use std::{
    io,
    os::{
        fd::AsRawFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
};

use nix::{
    sys::{
        socket::{
            AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen,
            send as send_to, socket, sockopt,
        },
        stat::{Mode, fchmod},
    },
    unistd::{Uid, geteuid},
};

use crate::error::OsError;

/// How many clients may wait to be accepted.
const BACKLOG: i32 = 8;

/// Listens at `path`, which must not be there, without blocking.
///
/// The file is born with the mode 0600: Linux gives it the mode of the socket, less the umask, so there is no moment at
/// which another user may connect.
pub(crate) fn listen_at(path: &Path) -> io::Result<UnixListener> {
    let failed = |call| move |errno: nix::Error| OsError::wrap(call, errno.into());
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(failed("socket"))?;
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR).map_err(failed("fchmod"))?;
    let address = UnixAddr::new(path).map_err(io::Error::from)?;
    bind(socket.as_raw_fd(), &address).map_err(failed("bind"))?;
    listen(&socket, Backlog::new(BACKLOG)?).map_err(failed("listen"))?;
    Ok(UnixListener::from(socket))
}

/// Whether somebody listens at `path`. Does not wait for a listener that accepts nobody.
pub(crate) fn is_listened_at(path: &Path) -> bool {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let connected = socket(AddressFamily::Unix, SockType::Stream, flags, None)
        .and_then(|socket| connect(socket.as_raw_fd(), &UnixAddr::new(path)?));
    // Only these say that there is nobody; all else might be somebody.
    !matches!(connected, Err(nix::Error::ECONNREFUSED | nix::Error::ENOENT))
}

/// Whether the other side of `stream` is this process's user. It is who connected, not who has the socket now.
pub(crate) fn is_of_own_user(stream: &UnixStream) -> io::Result<bool> {
    let peer = getsockopt(stream, sockopt::PeerCredentials).map_err(io::Error::from)?;
    Ok(may_connect(Uid::from_raw(peer.uid()), geteuid()))
}

/// Writes to `stream`, without a SIGPIPE if nobody reads it any more.
pub(crate) fn send(stream: &UnixStream, bytes: &[u8]) -> io::Result<usize> {
    send_to(stream.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL).map_err(io::Error::from)
}

/// Not root either: it has other ways to look into a process, and none has to be opened for it.
fn may_connect(peer: Uid, own: Uid) -> bool {
    peer == own
}

/// Whether `owner` is this process's user.
pub(crate) fn is_own(owner: u32) -> bool {
    Uid::from_raw(owner) == geteuid()
}

/// The number of this process's user.
pub(crate) fn own_user() -> u32 {
    geteuid().as_raw()
}

#[cfg(all(test, not(alooper_loom)))]
mod tests {
    use std::{env, fs, os::unix::fs::PermissionsExt, process};

    use super::*;

    #[test]
    fn w12_only_the_same_user_may_connect() {
        let (root, alice, bob) = (Uid::from_raw(0), Uid::from_raw(1000), Uid::from_raw(1001));

        assert!(may_connect(alice, alice) && may_connect(root, root));
        assert!(!may_connect(bob, alice) && !may_connect(root, alice) && !may_connect(alice, root));
    }

    #[test]
    fn w12_the_sockets_file_is_its_users_alone_and_who_connects_is_known() {
        let path = env::temp_dir().join(format!("alooper-socket-{}", process::id()));
        let _ = fs::remove_file(&path);

        let listener = listen_at(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let client = UnixStream::connect(&path).unwrap();
        let (server, _) = listener.accept().unwrap();
        let second = listen_at(&path).unwrap_err();
        fs::remove_file(&path).unwrap();

        assert_eq!(mode, 0o600);
        assert!(is_of_own_user(&server).unwrap() && is_of_own_user(&client).unwrap());
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
    }
}
