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
    /// The process may not, for driver `xdp`.
    #[error(
        "{interface}: not permitted to {action}; driver \"xdp\" needs the capabilities CAP_NET_RAW, CAP_NET_ADMIN and \
         CAP_BPF, or to be started as root"
    )]
    XdpPrivilege {
        /// The interface's name.
        interface: String,
        /// What it may not.
        action: &'static str,
    },
    /// The process may not keep its frames in memory.
    #[error(
        "{interface}: not permitted to keep {mebibytes} MiB of frames in memory; allow it with LimitMEMLOCK=infinity in \
         the unit (`ulimit -l unlimited` in a shell), or with the capability CAP_IPC_LOCK"
    )]
    Locked {
        /// The interface's name.
        interface: String,
        /// How much that is.
        mebibytes: usize,
    },
    /// Somebody else has an XDP program there.
    #[error(
        "{interface} has an XDP program already ({program}, number {id}), and there can be one only; whoever put it there \
         can take it away (`bpftool net`), or it is taken off with: ip link set dev {interface} xdp off"
    )]
    Occupied {
        /// The interface's name.
        interface: String,
        /// The program's.
        program: String,
        /// Its number.
        id: u32,
    },
    /// Somebody else has a socket at a queue.
    #[error(
        "{interface}: its queue {queue} has an AF_XDP socket of somebody else, and still had it after {seconds} s; \
         `ss --xdp --processes` tells whose"
    )]
    Busy {
        /// The interface's name.
        interface: String,
        /// The queue.
        queue: u32,
        /// How long was waited.
        seconds: u64,
    },
    /// Frames of the interface may be longer than a frame of the driver.
    #[error(
        "{interface} has an MTU of {mtu}, and driver \"xdp\" takes frames for an MTU of up to {most}: \
         ip link set dev {interface} mtu {most}, or use driver \"packet\""
    )]
    LongFrames {
        /// The interface's name.
        interface: String,
        /// Its MTU.
        mtu: usize,
        /// What would do.
        most: usize,
    },
    /// The interface takes VLAN tags out, and they would be lost.
    #[error(
        "{interface} takes VLAN tags out of frames, and driver \"xdp\" would never see them; switch that off: \
         ethtool -K {interface} rxvlan off rx-vlan-stag-hw-parse off"
    )]
    TakesTags {
        /// The interface's name.
        interface: String,
    },
    /// More receive queues than workers: what lands on the others would be lost.
    #[error(
        "{interface} has {queues} receive queues for {workers} of Sekisho's workers, and what comes by the others would be \
         lost: ethtool -L {interface} {kind} {workers}, or name {queues} cores in [dataplane]"
    )]
    ManyQueues {
        /// The interface's name.
        interface: String,
        /// How many it has.
        queues: u32,
        /// How many there may be.
        workers: u32,
        /// `combined` or `rx`.
        kind: &'static str,
    },
    /// Fewer queues than workers: some could not send.
    #[error(
        "{interface} has {queues} queues for {workers} of Sekisho's workers, and those without one could not send by it: \
         name {queues} of `cores` in [dataplane]"
    )]
    FewQueues {
        /// The interface's name.
        interface: String,
        /// How many it can have.
        queues: u32,
        /// How many are needed.
        workers: u32,
    },
    /// Frames are spread over queues by something else than their addresses.
    #[error(
        "{interface} does not choose queues by addresses alone ({flow}), so that fragments would part from their datagram: \
         ethtool -N {interface} rx-flow-hash {flow} sd, or name one core in [dataplane]"
    )]
    SpreadsByPorts {
        /// The interface's name.
        interface: String,
        /// The kind of flow, as ethtool calls it.
        flow: &'static str,
    },
    /// It can't be had in the way that was wanted.
    #[error("{interface} can't be had in {mode}: {errno}; leave `{key}` out, and what there is will be used")]
    Mode {
        /// The interface's name.
        interface: String,
        /// `native mode`, `generic mode` or `zero-copy mode`.
        mode: &'static str,
        /// The key that wants it.
        key: &'static str,
        /// What the kernel answered.
        errno: Errno,
    },
    /// The kernel does not take the program.
    #[error("{interface}: the kernel refuses the XDP program ({errno}){}{log}", if .log.is_empty() { "" } else { ":\n" })]
    Program {
        /// The interface's name.
        interface: String,
        /// What it answered.
        errno: Errno,
        /// What its verifier said.
        log: String,
    },
    /// The kernel is too old, or built without something.
    #[error(
        "{interface}: this kernel has no {feature}, which driver \"xdp\" needs (Linux {since}); use driver \"packet\""
    )]
    Lacks {
        /// The interface's name.
        interface: String,
        /// What it lacks.
        feature: &'static str,
        /// Since when there is such a thing.
        since: &'static str,
    },
    /// All ports' frames are too much for one worker.
    #[error("{ports} ports of driver \"xdp\" are too many for one worker; there may be {most}")]
    ManyPorts {
        /// How many there are.
        ports: usize,
        /// How many there may be.
        most: usize,
    },
    /// The kernel's own stack would have its frames as well.
    #[error(
        "{interface}: the kernel can't be kept from hearing it as well ({errno}), and would answer and forward by itself; that takes \
         CAP_NET_ADMIN, the queueing discipline clsact and the classifier bpf (NET_SCH_INGRESS, NET_CLS_BPF)"
    )]
    Heard {
        /// The interface's name.
        interface: String,
        /// What the kernel answered.
        errno: Errno,
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

    pub(super) fn of_xdp(interface: &str, action: &'static str, errno: Errno) -> InterfaceError {
        match InterfaceError::system(interface, action, errno) {
            InterfaceError::Privilege { interface, action } => {
                InterfaceError::XdpPrivilege { interface, action }
            }
            other => other,
        }
    }
}
