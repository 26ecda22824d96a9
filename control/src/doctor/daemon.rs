//! Where the daemon is spoken to and remembers, and whether one is there.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::{fs, io};

use super::Finding;
use crate::config::Config;
use crate::rpc::{CallError, Client, socket_of};

/// Anybody may write there.
const OTHERS_WRITE: u32 = 0o002;
/// But what is there is removed and renamed by its owner alone, as in /tmp.
const STICKY: u32 = 0o1000;

pub(super) fn examine(config: Option<&Config>, findings: &mut Vec<Finding>) {
    if let Some(state) = config.and_then(Config::state) {
        folder("state", state, findings);
    }
    let socket = match config {
        None => socket_of(None),
        Some(config) => match config.socket() {
            None => return,
            Some(socket) => socket.to_owned(),
        },
    };
    findings.push(match Client::connect(&socket) {
        Ok(_) => Finding::ok("daemon", format!("a daemon answers at {}", socket.display())),
        Err(CallError::Connect { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
            Finding::warn(
                "daemon",
                format!("{} is not for this user", socket.display()),
                "`status`, `reload` and the others speak to the daemon there",
                "sg sekisho -c 'sekisho status'    # after: adduser YOU sekisho",
            )
        }
        Err(_) => Finding::warn(
            "daemon",
            format!("no daemon answers at {}", socket.display()),
            "nothing is forwarded by Sekisho on this host now",
            "systemctl start sekisho    # or: sekisho run -c FILE",
        ),
    });
    if let Some(parent) = socket.parent().filter(|parent| parent.exists()) {
        folder("socket", parent, findings);
    }
}

fn folder(what: &str, path: &Path, findings: &mut Vec<Finding>) {
    let subject = "daemon";
    let shown = path.display();
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            findings
                .push(Finding::ok(subject, format!("{what} folder {shown} is made when the daemon starts")));
        }
        Err(error) => findings.push(Finding::warn(
            subject,
            format!("{what} folder {shown}: {error}"),
            "whether the daemon can use it can't be told",
            format!("ls -ld {shown}"),
        )),
        Ok(metadata) if !metadata.is_dir() => findings.push(Finding::fail(
            subject,
            format!("{shown} is no folder"),
            "the daemon has no place for what outlives it",
            format!("rm {shown}"),
        )),
        Ok(metadata) if metadata.permissions().mode() & (OTHERS_WRITE | STICKY) == OTHERS_WRITE | STICKY => {
            findings.push(Finding::warn(
                subject,
                format!(
                    "anybody may write in the {what} folder {shown}, and remove what is their own (sticky)"
                ),
                "who is there before the daemon can take its place; it then refuses to start",
                format!(
                    "write `{what}` under [control] with a folder of the daemon's own, such as /run/sekisho"
                ),
            ));
        }
        Ok(metadata) if metadata.permissions().mode() & OTHERS_WRITE != 0 => findings.push(Finding::fail(
            subject,
            format!("anybody may write in the {what} folder {shown}"),
            "who can replace what is there speaks to the operators in the daemon's place",
            format!("chmod o-w {shown}"),
        )),
        Ok(_) => findings.push(Finding::ok(subject, format!("{what} folder {shown} is closed to others"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_folder_that_anybody_may_write_in_fails_and_a_sticky_one_is_warned_of() {
        let temporary = tempfile::tempdir().unwrap();
        let level = |mode| {
            fs::set_permissions(temporary.path(), fs::Permissions::from_mode(mode)).unwrap();
            let mut findings = Vec::new();
            folder("state", temporary.path(), &mut findings);
            findings[0].level
        };
        assert_eq!((level(0o750), level(0o777), level(0o1777)), (Level::Ok, Level::Fail, Level::Warn));
    }
}
