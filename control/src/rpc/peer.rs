//! Who is at the other end of a connection, and what it may do.

use std::os::unix::net::UnixStream;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// What a peer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Ask what is.
    Read,
    /// Change it as well: root, the daemon's user, and whose group is the daemon's.
    Change,
}

/// The daemon's own user and group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    uid: u32,
    gid: u32,
}

impl Owner {
    /// This process.
    pub(super) fn this_process() -> Owner {
        Owner { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
    }

    /// What the peer may do, by the credentials that the kernel noted when it connected (unix(7), `SO_PEERCRED`).
    /// They have its effective group and no supplementary ones: `sg` or `newgrp` makes a group one's own. Whose
    /// credentials can't be told may read.
    pub(super) fn rights_of(self, peer: &UnixStream) -> Rights {
        match getsockopt(peer, PeerCredentials) {
            Ok(peer) => self.rights(peer.uid(), peer.gid()),
            Err(_) => Rights::Read,
        }
    }

    fn rights(self, uid: u32, gid: u32) -> Rights {
        match uid == 0 || uid == self.uid || gid == self.gid {
            true => Rights::Change,
            false => Rights::Read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_the_daemons_user_and_its_group_may_change_others_read() {
        let owner = Owner { uid: 990, gid: 980 };
        for (uid, gid, rights) in [
            (0, 0, Rights::Change),
            (0, 1000, Rights::Change),
            (990, 1000, Rights::Change),
            (1000, 980, Rights::Change),
            (1000, 1000, Rights::Read),
            (980, 990, Rights::Read),
            (1000, 0, Rights::Read),
        ] {
            assert_eq!(owner.rights(uid, gid), rights, "uid {uid}, gid {gid}");
        }
    }

    #[test]
    fn who_connects_from_this_process_may_change() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(Owner::this_process().rights_of(&one), Rights::Change);
    }
}
