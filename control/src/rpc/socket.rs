//! The socket in the file system: made for its group alone, never taken from a daemon that lives.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::unistd::Group;
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
    /// The group does not exist.
    #[error(
        "there is no group {0} on this host: addgroup --system {0}, or write another `group` under [control]"
    )]
    NoGroup(String),
    /// It can't be the group's.
    #[error("{}: can't be given to the group {group}: {source}; only root may, or who is in it", path.display())]
    Group {
        /// The path.
        path: PathBuf,
        /// The group.
        group: String,
        /// Why.
        source: io::Error,
    },
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
    /// The group that may change what is in force, if it is not the process's.
    pub(super) group: Option<u32>,
    /// Device and inode, so that nobody else's socket is removed.
    identity: (u64, u64),
    /// Held as long as the daemon lives, and let go by the kernel when it dies: two that start at once, or one that
    /// starts while another still ends, can't both believe that the socket is stale.
    _lock: File,
}

impl Socket {
    /// Makes the socket, for a group by name or for the process's own. Its folder is made if there is none; a socket that
    /// nobody listens on is replaced.
    ///
    /// # Errors
    /// When another daemon listens there, when something else is in the way, when there is no such group, or the system
    /// refuses.
    pub(crate) fn bind(path: &Path, group: Option<&str>) -> Result<Socket, SocketError> {
        let failed = |source| SocketError::Io { path: path.to_owned(), source };
        let group = group.map(|name| Ok::<_, SocketError>((name, number_of(name)?))).transpose()?;
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
        let listener = listen(path, group)?;
        let metadata = fs::symlink_metadata(path).map_err(failed)?;
        let identity = (metadata.dev(), metadata.ino());
        let group = group.map(|(_, number)| number);
        Ok(Socket { listener, path: path.to_owned(), group, identity, _lock: lock })
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

/// A group's number, by its name or as it is written.
fn number_of(name: &str) -> Result<u32, SocketError> {
    let known = Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw());
    known.or_else(|| name.parse().ok()).ok_or_else(|| SocketError::NoGroup(name.to_owned()))
}

/// Bound, then given its group and mode, and only then listening: nobody connects before they hold.
fn listen(path: &Path, group: Option<(&str, u32)>) -> Result<UnixListener, SocketError> {
    const BACKLOG: i32 = 64;
    let failed = |source| SocketError::Io { path: path.to_owned(), source };
    let socket = bound(path).map_err(failed)?;
    // Its own group can be kept without asking anybody.
    let own = fs::symlink_metadata(path).map_err(failed)?.gid();
    if let Some((name, number)) = group.filter(|(_, number)| *number != own) {
        lchown(path, None, Some(number)).map_err(|source| {
            // Nobody listens there yet, and nobody shall find it.
            let _ = fs::remove_file(path);
            SocketError::Group { path: path.to_owned(), group: name.to_owned(), source }
        })?;
    }
    fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(failed)?;
    rustix::net::listen(&socket, BACKLOG).map_err(|errno| failed(errno.into()))?;
    Ok(UnixListener::from(socket))
}

/// A socket with a place in the file system.
fn bound(path: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_made_and_owner_and_group_may_connect() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/sekisho/control.sock");
        let socket = Socket::bind(&path, None).unwrap();
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
        let first = Socket::bind(&path, None).unwrap();
        let error = Socket::bind(&path, None).unwrap_err();
        assert!(matches!(error, SocketError::Live(_)), "{error}");
        drop(first);
        Socket::bind(&path, None).unwrap();
    }

    #[test]
    fn a_listener_that_holds_no_lock_is_live_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let _other = UnixListener::bind(&path).unwrap();
        assert!(matches!(Socket::bind(&path, None), Err(SocketError::Live(_))));
    }

    #[test]
    fn it_is_the_groups_that_is_written_and_a_group_that_is_not_there_is_told_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let error = Socket::bind(&path, Some("nobodys-group")).unwrap_err();
        assert!(error.to_string().contains("addgroup --system nobodys-group"), "{error}");
        let own = rustix::process::getegid().as_raw();
        let socket = Socket::bind(&path, Some(&own.to_string())).unwrap();
        assert_eq!((fs::metadata(&path).unwrap().gid(), socket.group), (own, Some(own)));
    }

    #[test]
    fn what_is_no_socket_stays_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Socket::bind(&path, None), Err(SocketError::InTheWay(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_socket_that_somebody_else_put_there_meanwhile_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let socket = Socket::bind(&path, None).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists());
    }
}
