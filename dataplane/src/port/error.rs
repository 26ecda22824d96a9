//! Why a port can't be opened, and what to do about it.

use thiserror::Error;

use super::offloads::Offloads;
use super::system::Errno;

/// Why a network interface can't be a port.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InterfaceError {
    /// The name can't be that of an interface.
    #[error("{interface:?} can't be the name of a network interface; `ip link` lists those that there are")]
    Name {
        /// The name.
        interface: String,
    },
    /// There is no such interface.
    #[error("there is no network interface {interface}; `ip link` lists those that there are")]
    Absent {
        /// Its name.
        interface: String,
    },
    /// The interface carries something else than Ethernet frames.
    #[error("{interface} does not carry Ethernet frames (its hardware type is {hardware})")]
    NotEthernet {
        /// Its name.
        interface: String,
        /// An ARPHRD number.
        hardware: u16,
    },
    /// The interface puts received frames together.
    #[error(
        "{interface} merges frames that it receives ({on}), so they can't be forwarded as they came; switch that off: {}",
        .on.remedy().unwrap_or_default()
    )]
    Merges {
        /// Its name.
        interface: String,
        /// What does that.
        on: Offloads,
    },
    /// The process may not.
    #[error(
        "{interface}: not permitted to {action}; the process needs the capabilities CAP_NET_RAW and CAP_NET_ADMIN, \
         or to be started as root"
    )]
    Privilege {
        /// The interface's name.
        interface: String,
        /// What it may not.
        action: &'static str,
    },
    /// A ring is too small for the frames of its interface.
    #[error(
        "{interface}: a ring of {bytes} bytes is too small for frames of {mtu} bytes; it must have {least} or more"
    )]
    SmallRing {
        /// The interface's name.
        interface: String,
        /// What was wanted.
        bytes: usize,
        /// The interface's MTU.
        mtu: usize,
        /// What would do.
        least: usize,
    },
    /// The receive rings of all ports are too large together.
    #[error(
        "{ports} ports with receive rings of {bytes} bytes are too much for one worker; rings may have {most} bytes"
    )]
    LargeRings {
        /// How many ports.
        ports: usize,
        /// The largest ring that was wanted.
        bytes: usize,
        /// What would do.
        most: usize,
    },
    /// The kernel refused.
    #[error("{interface}: can't {action}: {errno}")]
    System {
        /// The interface's name.
        interface: String,
        /// What it refused.
        action: &'static str,
        /// What it answered.
        errno: Errno,
    },
}

impl InterfaceError {
    pub(super) fn system(interface: &str, action: &'static str, errno: Errno) -> InterfaceError {
        let interface = interface.to_owned();
        match errno.0 {
            libc::EPERM | libc::EACCES => InterfaceError::Privilege { interface, action },
            libc::ENODEV | libc::ENXIO => InterfaceError::Absent { interface },
            _ => InterfaceError::System { interface, action, errno },
        }
    }
}
