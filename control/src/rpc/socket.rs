//! The socket in the file system: made for its group alone, never taken from a daemon that lives.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Owner and group may connect.
const MODE: u32 = 0o660;

/// Why the daemon can't be spoken to at a path.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon is there.
    #[error("{}: another daemon answers there; stop it, or write another `socket` under [control]", .0.display())]
    Live(PathBuf),
    /// Something else is there.
    #[error("{}: not a socket; remove it, or write another `socket` under [control]", .0.display())]
    InTheWay(PathBuf),
    /// The system refuses.
    #[error("{}: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A listening socket. It is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Device and inode, so that nobody else's socket is removed.
    identity: (u64, u64),
    /// Held as long as the daemon lives, and let go by the kernel when it dies: two that start at once, or one that
    /// starts while another still ends, can't both believe that the socket is stale.
    _lock: File,
}

impl Socket {
    /// Makes the socket. Its folder is made if there is none; a socket that nobody listens on is replaced.
    ///
    /// # Errors
    /// When another daemon listens there, when something else is in the way, or the system refuses.
    pub(crate) fn bind(path: &Path) -> Result<Socket, SocketError> {
        let failed = |source| SocketError::Io { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let lock = lock(path).map_err(failed)?.ok_or_else(|| SocketError::Live(path.to_owned()))?;
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(SocketError::InTheWay(path.to_owned()));
            }
            // The lock is ours, but it may be a daemon of another kind.
            Ok(_) if UnixStream::connect(path).is_ok() => {
                return Err(SocketError::Live(path.to_owned()));
            }
            Ok(_) => fs::remove_file(path).map_err(failed)?,
        }
        let listener = listen(path).map_err(failed)?;
        let metadata = fs::symlink_metadata(path).map_err(failed)?;
        let identity = (metadata.dev(), metadata.ino());
        Ok(Socket { listener, path: path.to_owned(), identity, _lock: lock })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let ours = |metadata: fs::Metadata| (metadata.dev(), metadata.ino()) == self.identity;
        if fs::symlink_metadata(&self.path).is_ok_and(ours) {
            // The lock file stays: removing it would let a third daemon lock a second one.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The lock beside the socket; none if another process holds it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(name)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Bound, then given its mode, and only then listening: nobody connects before the mode holds.
fn listen(path: &Path) -> io::Result<UnixListener> {
    const BACKLOG: i32 = 64;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_made_and_owner_and_group_may_connect() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/sekisho/control.sock");
        let socket = Socket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        UnixStream::connect(&path).unwrap();
        drop(socket);
        assert!(!path.exists(), "it is removed at the end");
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let first = Socket::bind(&path).unwrap();
        let error = Socket::bind(&path).unwrap_err();
        assert!(matches!(error, SocketError::Live(_)), "{error}");
        drop(first);
        Socket::bind(&path).unwrap();
    }

    #[test]
    fn a_listener_that_holds_no_lock_is_live_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let _other = UnixListener::bind(&path).unwrap();
        assert!(matches!(Socket::bind(&path), Err(SocketError::Live(_))));
    }

    #[test]
    fn what_is_no_socket_stays_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Socket::bind(&path), Err(SocketError::InTheWay(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_socket_that_somebody_else_put_there_meanwhile_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let socket = Socket::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists());
    }
}
