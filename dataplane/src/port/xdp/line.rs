//! What one worker has at a port while its interface is there: a socket with its rings. And what the interface has
//! once: the program.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::attached;
use super::bpf::{self, SocketMap};
use super::lane::Rings;
use super::program;
use super::queues;
use super::region::{Opened, Refused, Region};
use super::settings::{XdpManner, XdpMode, XdpPort, ZeroCopy};
use super::socket::Socket;
use crate::port::berth::Opens;
use crate::port::error::InterfaceError;
use crate::port::interface::{Interfaces, Name};
use crate::port::offloads::Offloads;
use crate::port::packet::socket::Socket as PacketSocket;
use crate::port::system::Errno;

/// An Ethernet header, and a VLAN tag behind it (IEEE 802.3 §3.1.1, IEEE 802.1Q §9.3).
pub(super) const HEADER: usize = 14;
pub(super) const TAG: usize = 4;

/// What the kernel keeps free before each frame (XDP_PACKET_HEADROOM).
const HEADROOM: usize = 256;

/// The largest MTU that frames of 2^`shift` bytes have room for, with two tags.
pub(super) const fn most_mtu(shift: u32) -> usize {
    (1 << shift) - HEADROOM - HEADER - 2 * TAG
}

/// The largest MTU that an interface may have.
pub const MOST_MTU: usize = most_mtu(SHIFTS[SHIFTS.len() - 1]);

/// Frames are of the first size that they fit into; a larger one than a page the kernel does not take.
pub(super) const SHIFTS: [u32; 2] = [11, 12];

/// How long is waited for what a former process, or a socket of this one, still has: the kernel lets go of a queue in a
/// thread of its own.
const PATIENCE: Duration = Duration::from_secs(3);
const BETWEEN: Duration = Duration::from_millis(20);

/// The features that take VLAN tags out, as the kernel calls them.
const TAKE_TAGS: [&str; 2] = ["rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"];

/// A worker's socket and rings at a port.
pub(super) struct Line {
    pub(super) socket: Arc<Socket>,
    pub(super) rings: Rings,
    pub(super) attachment: Arc<Attachment>,
    pub(super) queue: u32,
    pub(super) manner: XdpManner,
    /// Whether the worker is to poll the device, if the kernel lets it.
    pub(super) may_poll: bool,
}

/// The program on an interface, and what keeps the interface listening to all; undone when this is dropped.
pub(super) struct Attachment {
    map: SocketMap,
    link: OwnedFd,
    _promiscuous: PacketSocket,
    native: bool,
    why_generic: Option<String>,
    queues: u32,
}

impl Attachment {
    /// Has what comes by a queue go to a socket.
    pub(super) fn enter(&self, queue: u32, socket: &Socket) -> Result<(), Errno> {
        self.map.set(queue, socket.as_fd())
    }
}

/// Opens the ports' lines, in the network namespace in which this was made.
pub(super) struct Opener {
    pub(super) port: XdpPort,
    pub(super) name: Name,
    /// By worker.
    regions: Vec<Arc<Region>>,
    /// The program, while it is in use.
    attached: Mutex<Weak<Attachment>>,
}

impl Opener {
    pub(super) fn new(port: &XdpPort, name: Name, regions: Vec<Arc<Region>>) -> Opener {
        Opener { port: port.clone(), name, regions, attached: Mutex::default() }
    }

    fn error(&self, action: &'static str) -> impl Fn(Errno) -> InterfaceError {
        let interface = self.name.as_str().to_owned();
        move |errno| InterfaceError::of_xdp(&interface, action, errno)
    }

    fn shift(&self) -> u32 {
        self.regions.first().map_or(SHIFTS[0], |region| region.shift)
    }

    /// Whether the interface is one that can be used; its number.
    pub(super) fn check(&self, interfaces: &Interfaces) -> Result<u32, InterfaceError> {
        let (index, mtu) = found(interfaces, &self.name)?;
        let most = most_mtu(self.shift());
        if mtu > most {
            return Err(InterfaceError::LongFrames { interface: self.name.as_str().to_owned(), mtu, most });
        }
        Ok(index)
    }

    /// Has the interface leave VLAN tags where they are.
    fn keep_tags(&self, interfaces: &Interfaces) -> Result<(), InterfaceError> {
        let takes = || match interfaces.features(&self.name) {
            Ok(features) => Ok(features.iter().any(|feature| TAKE_TAGS.contains(&feature.as_str()))),
            Err(Errno(libc::EOPNOTSUPP)) => Ok(false),
            Err(errno) => Err(self.error("read its offload features")(errno)),
        };
        if takes()? {
            // Whether that was done is asked again.
            let _ = interfaces.switch_off(&self.name, |feature| TAKE_TAGS.contains(&feature));
            if takes()? {
                return Err(InterfaceError::TakesTags { interface: self.name.as_str().to_owned() });
            }
        }
        Ok(())
    }

    /// Puts the program onto the interface, or finds it there.
    fn attach(&self, interfaces: &Interfaces, index: u32) -> Result<Arc<Attachment>, InterfaceError> {
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(attachment) = attached.upgrade()
            && bpf::interface_of(attachment.link.as_fd()) == Some(index)
        {
            return Ok(attachment);
        }
        let interface = || self.name.as_str().to_owned();
        let link = attached::link(index).map_err(self.error("ask what program it has"))?;
        if let Some(id) = link.program {
            let program = bpf::name_of(id).unwrap_or_else(|_| bpf::UNNAMED.to_owned());
            return Err(InterfaceError::Occupied { interface: interface(), program, id });
        }
        self.keep_tags(interfaces)?;
        let queues = queues::settle(interfaces, &self.name, self.regions.len(), link.receive_queues)?;
        let map = SocketMap::new(self.regions.len() as u32).map_err(|errno| match errno {
            Errno(libc::EINVAL | libc::ENOSYS) => InterfaceError::Lacks {
                interface: interface(),
                feature: "map of sockets for XDP",
                since: "4.18",
            },
            errno => self.error("make a map of sockets")(errno),
        })?;
        let program =
            bpf::load(&program::redirect(map.descriptor())).map_err(|rejected| match rejected.errno.0 {
                libc::EPERM | libc::EACCES if rejected.log.is_empty() => {
                    self.error("load an XDP program")(rejected.errno)
                }
                _ => InterfaceError::Program {
                    interface: interface(),
                    errno: rejected.errno,
                    log: rejected.log,
                },
            })?;
        let (link, native, why_generic) = self.put(&program, interfaces, index)?;
        let promiscuous = PacketSocket::new().map_err(self.error("open a packet socket"))?;
        promiscuous.listen_to_all(index).map_err(self.error("make it promiscuous"))?;
        let attachment =
            Arc::new(Attachment { map, link, _promiscuous: promiscuous, native, why_generic, queues });
        *attached = Arc::downgrade(&attachment);
        Ok(attachment)
    }

    /// Puts the program there in native mode or, where that is not to be had or not wanted, in generic mode: whether
    /// native, and why not.
    fn put(
        &self,
        program: &OwnedFd,
        interfaces: &Interfaces,
        index: u32,
    ) -> Result<(OwnedFd, bool, Option<String>), InterfaceError> {
        let interface = || self.name.as_str().to_owned();
        let failed = |errno, mode, key| match errno {
            Errno(libc::EBUSY | libc::EEXIST) => InterfaceError::Occupied {
                interface: interface(),
                program: "put there just now".to_owned(),
                id: 0,
            },
            Errno(libc::EPERM | libc::ENODEV) => self.error("attach an XDP program")(errno),
            Errno(libc::ENOSYS) => {
                InterfaceError::Lacks { interface: interface(), feature: "BPF link for XDP", since: "5.9" }
            }
            errno => InterfaceError::Mode { interface: interface(), mode, key, errno },
        };
        let mut why = None;
        if self.port.mode != XdpMode::Generic {
            match bpf::link(program.as_fd(), index, true) {
                Ok(link) => return Ok((link, true, None)),
                Err(errno) => {
                    let is_final = matches!(
                        errno.0,
                        libc::EBUSY | libc::EEXIST | libc::EPERM | libc::ENODEV | libc::ENOSYS
                    );
                    if is_final || self.port.mode == XdpMode::Native {
                        return Err(failed(errno, "native mode", "mode"));
                    }
                    why = Some(format!("native mode: {}", errno.words()));
                }
            }
        }
        // Here frames come after they have been merged, as far as anybody does.
        let merging = Offloads::ask(interfaces, &self.name)?.merging();
        if !merging.on().is_empty() {
            return Err(InterfaceError::Merges { interface: interface(), on: merging });
        }
        match bpf::link(program.as_fd(), index, false) {
            Ok(link) => Ok((link, false, why)),
            Err(errno) => Err(failed(errno, "generic mode", "mode")),
        }
    }

    fn open_one(
        &self,
        region: &Region,
        queue: u32,
        index: u32,
        attachment: &Arc<Attachment>,
    ) -> Result<Line, InterfaceError> {
        let interface = || self.name.as_str().to_owned();
        // A device that fills a socket's frames would fill them past a program in generic mode.
        let zero_copy = match attachment.native {
            true => self.port.zero_copy,
            false => ZeroCopy::Off,
        };
        let no_zero_copy = |errno| {
            let (mode, key) = ("zero-copy mode", "zero-copy");
            InterfaceError::Mode { interface: interface(), mode, key, errno }
        };
        if self.port.zero_copy == ZeroCopy::On && zero_copy == ZeroCopy::Off {
            return Err(no_zero_copy(Errno(libc::EOPNOTSUPP)));
        }
        let is_busy = |refused: &Refused| *refused == Refused::Socket(Errno(libc::EBUSY));
        let mut probed = None;
        let opened = patiently(|| region.socket(index, queue, zero_copy, &mut probed), is_busy);
        let locked =
            || InterfaceError::Locked { interface: interface(), mebibytes: region.memory.len() >> 20 };
        let Opened { socket, rings, why_copy } = opened.map_err(|refused| match refused {
            // What the kernel says where the limit is too small.
            Refused::Socket(Errno(libc::ENOBUFS)) | Refused::ZeroCopy(Errno(libc::ENOBUFS)) => locked(),
            Refused::ZeroCopy(errno) => no_zero_copy(errno),
            Refused::Socket(Errno(libc::EAFNOSUPPORT)) => InterfaceError::Lacks {
                interface: interface(),
                feature: "AF_XDP sockets",
                since: "5.11, CONFIG_XDP_SOCKETS",
            },
            Refused::Socket(Errno(libc::EBUSY)) => {
                InterfaceError::Busy { interface: interface(), queue, seconds: PATIENCE.as_secs() }
            }
            Refused::Socket(errno) => self.error("open an AF_XDP socket")(errno),
        })?;
        let why_copy = match (why_copy, self.port.zero_copy) {
            (Some(Errno(libc::ENOBUFS)), _) => Some("zero-copy: too little memory may be locked".to_owned()),
            (Some(errno), _) => Some(format!("zero-copy: {}", errno.words())),
            (None, ZeroCopy::Auto) if !attachment.native => Some("generic mode copies".to_owned()),
            (None, _) => None,
        };
        let may_poll =
            self.port.busy_poll && puts_off_interrupts(&self.name) && socket.prefer_busy_polling().is_ok();
        let manner = XdpManner {
            native: attachment.native,
            why_generic: attachment.why_generic.clone(),
            zero_copy: socket.is_zero_copy(),
            why_copy,
            queues: attachment.queues,
            huge_pages: region.huge_pages,
            busy_poll: may_poll && socket.is_polled(),
        };
        Ok(Line { socket, rings, attachment: Arc::clone(attachment), queue, manner, may_poll })
    }
}

impl Opens for Opener {
    type Line = Line;

    fn name(&self) -> &Name {
        &self.name
    }

    fn workers(&self) -> usize {
        self.regions.len()
    }

    /// Opens the lines that are missing: the other workers' are in use, and a queue has one socket. The interface must be
    /// switched on: a socket can't be bound to one that is not.
    fn open(&self, interfaces: &Interfaces, missing: &[usize]) -> Result<Vec<(usize, Line)>, InterfaceError> {
        let index = self.check(interfaces)?;
        self.port.before.run(self.name.as_str(), index)?;
        // The program goes with its process, as soon as the kernel gets to it.
        let is_former = |error: &InterfaceError| match error {
            InterfaceError::Occupied { program, id, .. } => *id == 0 || program == bpf::NAME,
            _ => false,
        };
        let attachment = patiently(|| self.attach(interfaces, index), is_former)?;
        let workers = self.regions.iter().enumerate().filter(|(worker, _)| missing.contains(worker));
        let open = |(worker, region): (usize, &Arc<Region>)| {
            Ok((worker, self.open_one(region, worker as u32, index, &attachment)?))
        };
        workers.map(open).collect()
    }
}

/// Tries again what fails by something that passes, for some time.
fn patiently<T, E>(mut attempt: impl FnMut() -> Result<T, E>, passes: impl Fn(&E) -> bool) -> Result<T, E> {
    let begun = Instant::now();
    loop {
        match attempt() {
            Err(error) if passes(&error) && begun.elapsed() < PATIENCE => thread::sleep(BETWEEN),
            result => return result,
        }
    }
}

/// Whether there is an interface of this name that carries Ethernet; its number and MTU.
pub(super) fn found(interfaces: &Interfaces, name: &Name) -> Result<(u32, usize), InterfaceError> {
    let failed = |action, errno| InterfaceError::of_xdp(name.as_str(), action, errno);
    let index = interfaces.ethernet(name, failed)?;
    let mtu = interfaces.mtu(name).map_err(|errno| failed("read its MTU", errno))?;
    Ok((index, mtu))
}

/// Whether an interface waits with its interrupts for somebody to poll it. Where it does not, whoever polls it comes
/// in its way and is no faster.
fn puts_off_interrupts(name: &Name) -> bool {
    let is_set = |file: &str| {
        let text = fs::read_to_string(format!("/sys/class/net/{}/{file}", name.as_str()));
        text.is_ok_and(|text| text.trim().parse::<u64>().is_ok_and(|value| value > 0))
    };
    is_set("napi_defer_hard_irqs") && is_set("gro_flush_timeout")
}

/// The node of memory that an interface's device is near to.
pub(super) fn node_of(name: &Name) -> Option<u32> {
    let path = format!("/sys/class/net/{}/device/numa_node", name.as_str());
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
