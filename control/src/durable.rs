//! Small files that outlive the daemon, read as a whole and replaced as a whole.
//!
//! A new file is written beside the old one, brought to the disk, and put in its place by rename(2): whenever the
//! process or the host dies, the one or the other is there, whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Reads a file of at most `largest` bytes; none if there is none yet.
///
/// # Errors
/// When it can't be read; of the kind `InvalidData` if it is larger.
pub(crate) fn read(path: &Path, largest: u64) -> io::Result<Option<Vec<u8>>> {
    let length = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        // Where the folder is no folder there is no file either.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if length > largest {
        let message = format!("{length} bytes, more than {largest}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    fs::read(path).map(Some)
}

/// Replaces the file `name` of a folder, which is made if it is not there; a new one has this mode, less the umask.
///
/// # Errors
/// When it can't be written. The old file is there then.
pub(crate) fn replace(
    folder: &Path,
    name: &str,
    mode: u32,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let beside = folder.join(format!("{name}.new"));
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&beside)?;
    let mut file = BufWriter::new(file);
    write(&mut file)?;
    file.write_all(b"\n")?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&beside, folder.join(name))?;
    // The rename is on the disk when the folder is (open(2), fsync(2)).
    File::open(folder)?.sync_all()
}
