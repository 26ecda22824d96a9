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

/// Who is at the other end, and what that may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What it may do.
    pub rights: Rights,
    /// Its user.
    pub uid: u32,
    /// Its process, 0 if that lives in another PID namespace.
    pub pid: i32,
}

/// The user of whom nothing is known (`nobody`'s number in the kernel's overflow convention).
const UNKNOWN: u32 = 65_534;

/// The daemon's own user, and the group that may change what is in force.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    uid: u32,
    gid: u32,
}

impl Owner {
    /// This process, with the group of its socket, if that has one of its own.
    pub(super) fn of(group: Option<u32>) -> Owner {
        let gid = group.unwrap_or_else(|| rustix::process::getegid().as_raw());
        Owner { uid: rustix::process::geteuid().as_raw(), gid }
    }

    /// What the peer may do, by the credentials that the kernel noted when it connected (unix(7), `SO_PEERCRED`).
    /// They have its effective group and no supplementary ones: `sg` or `newgrp` makes a group one's own. Whose
    /// credentials can't be told may read.
    pub(super) fn peer_of(self, peer: &UnixStream) -> Peer {
        match getsockopt(peer, PeerCredentials) {
            Ok(peer) => {
                Peer { rights: self.rights(peer.uid(), peer.gid()), uid: peer.uid(), pid: peer.pid() }
            }
            Err(_) => Peer { rights: Rights::Read, uid: UNKNOWN, pid: 0 },
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
        let peer = Owner::of(None).peer_of(&one);
        assert_eq!((peer.rights, peer.pid), (Rights::Change, std::process::id() as i32));
    }
}
