//! Files with other people's traffic in them: made anew, for the owner alone, where nobody leads us elsewhere.
//!
//! A file that is there has a mode, an owner and perhaps a reader of its own, and a symbolic link can lead into somebody
//! else's file. So nothing is written into what is there: it is refused, or, where it is said to be meant and is a
//! regular file, taken away first. The file is then created exclusively, which follows no link (open(2), `O_EXCL`).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What becomes of a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfThere {
    /// It stays, and nothing is written.
    Refuse,
    /// A new one takes its place.
    Replace,
}

/// Why a file was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotMade {
    #[error("{} is there already, and stays as it is; name another file, or replace it with --force", .0.display())]
    There(PathBuf),
    #[error(
        "{} is {what}, and no file of its own; name a file, or write to standard output with `-w -`", path.display()
    )]
    Other { path: PathBuf, what: &'static str },
    #[error("cannot create {}: {source}; check that its folder exists and may be written", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Creates a file with mode 0600.
///
/// # Errors
/// When something is there that may not, or can't, be replaced, or the system refuses.
pub(crate) fn create(path: &Path, if_there: IfThere) -> Result<File, NotMade> {
    let io = |source| NotMade::Io { path: path.to_owned(), source };
    if let Ok(metadata) = fs::symlink_metadata(path) {
        let kind = metadata.file_type();
        if !kind.is_file() {
            let what = match kind {
                _ if kind.is_symlink() => "a symbolic link",
                _ if kind.is_dir() => "a folder",
                _ => "a device, a pipe or a socket",
            };
            return Err(NotMade::Other { path: path.to_owned(), what });
        }
        if if_there == IfThere::Refuse {
            return Err(NotMade::There(path.to_owned()));
        }
        fs::remove_file(path).map_err(io)?;
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.map_err(|source| match source.kind() {
        // It came meanwhile.
        io::ErrorKind::AlreadyExists => NotMade::There(path.to_owned()),
        _ => io(source),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_file_that_is_there_stays_unless_it_is_meant_and_a_new_one_is_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pcapng");
        fs::write(&path, "kept").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let reader = File::open(&path).unwrap();
        assert!(matches!(create(&path, IfThere::Refuse), Err(NotMade::There(_))));
        assert_eq!(fs::read(&path).unwrap(), b"kept");
        drop(create(&path, IfThere::Replace).unwrap());
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.permissions().mode() & 0o777, metadata.len()), (0o600, 0));
        assert_eq!(reader.metadata().unwrap().len(), 4, "who has the old file open does not see the new one");
    }

    #[test]
    fn a_link_is_never_followed_and_what_is_no_file_is_never_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let (other, link) = (folder.path().join("other"), folder.path().join("link"));
        fs::write(&other, "kept").unwrap();
        symlink(&other, &link).unwrap();
        let dangling = folder.path().join("dangling");
        symlink(folder.path().join("new"), &dangling).unwrap();
        for if_there in [IfThere::Refuse, IfThere::Replace] {
            for (path, told) in [
                (&link, "a symbolic link"),
                (&dangling, "a symbolic link"),
                (&folder.path().into(), "a folder"),
            ] {
                let error = create(path, if_there).unwrap_err().to_string();
                assert!(error.contains(told), "{error}");
            }
            let error = create(Path::new("/dev/null"), if_there).unwrap_err().to_string();
            assert!(error.contains("a device"), "{error}");
        }
        assert_eq!(fs::read(&other).unwrap(), b"kept");
        assert!(!folder.path().join("new").exists() && fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}
