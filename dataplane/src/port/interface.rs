//! Network interfaces, as netdevice(7) and the ethtool interface of the kernel describe them.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd};

use super::error::InterfaceError;
use super::system::{self, Errno};

/// The longest name of an interface.
const MAX_NAME: usize = libc::IFNAMSIZ - 1;

/// Commands and limits of linux/ethtool.h.
mod ethtool {
    pub(super) const GET_STRINGS: u32 = 0x1b;
    pub(super) const GET_FEATURES: u32 = 0x3a;
    pub(super) const SET_FEATURES: u32 = 0x3b;
    pub(super) const GET_STRING_COUNTS: u32 = 0x37;
    pub(super) const GET_RINGS: u32 = 0x10;
    pub(super) const GET_CHANNELS: u32 = 0x3c;
    pub(super) const SET_CHANNELS: u32 = 0x3d;
    pub(super) const GET_FLOW_HASH: u32 = 0x29;
    pub(super) const SET_FLOW_HASH: u32 = 0x2a;
    pub(super) const FEATURE_NAMES: u32 = 4;
    pub(super) const NAME_SIZE: usize = 32;
    /// More features than a kernel has; bounds what it may write.
    pub(super) const MAX_FEATURES: usize = 512;
}

/// An interface's name, known to have the form of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    text: String,
    bytes: [libc::c_char; libc::IFNAMSIZ],
}

impl Name {
    /// None if no interface can have this name.
    pub(super) fn new(text: &str) -> Option<Name> {
        let fits = (1..=MAX_NAME).contains(&text.len()) && text != "." && text != "..";
        if !fits || text.bytes().any(|byte| matches!(byte, 0 | b'/' | b':') || byte.is_ascii_whitespace()) {
            return None;
        }
        let mut bytes = [0; libc::IFNAMSIZ];
        for (to, from) in bytes.iter_mut().zip(text.bytes()) {
            *to = from as libc::c_char;
        }
        Some(Name { text: text.to_owned(), bytes })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

/// What an interface says of its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags {
    /// Switched on by the administrator.
    pub(super) enabled: bool,
    /// A carrier is there.
    pub(super) running: bool,
}

/// A device's descriptor rings: how many frames each has room for, and could have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    /// Received frames.
    pub receive: u32,
    /// The most of them.
    pub most_receive: u32,
    /// Frames to be sent.
    pub transmit: u32,
    /// The most of them.
    pub most_transmit: u32,
}

impl Rings {
    /// Asks an interface of this network namespace; needs no privilege. None: it has no such rings.
    ///
    /// # Errors
    /// There is no such interface, or it does not say.
    pub fn of(interface: &str) -> Result<Option<Rings>, InterfaceError> {
        let (name, interfaces) = super::offloads::named(interface)?;
        interfaces
            .rings(&name)
            .map_err(|errno| InterfaceError::system(interface, "read the size of its rings", errno))
    }
}

/// A device's queues: those that only receive, that only send, that do both, and the most of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Channels {
    pub(super) receive: u32,
    pub(super) transmit: u32,
    pub(super) both: u32,
    pub(super) most_receive: u32,
    pub(super) most_transmit: u32,
    pub(super) most_both: u32,
}

/// What an interface is at the moment.
pub(super) struct Seen {
    /// Its number.
    pub(super) index: u32,
    /// What it says of its link.
    pub(super) flags: Flags,
    /// The longest packet that it sends.
    pub(super) mtu: usize,
}

/// The interfaces of the network namespace in which this was made.
pub(super) struct Interfaces(OwnedFd);

impl Interfaces {
    pub(super) fn new() -> Result<Interfaces, Errno> {
        system::socket(libc::AF_PACKET, libc::SOCK_RAW).map(Interfaces)
    }

    /// The same for whoever has no privilege: interfaces can be asked, and nothing else.
    pub(super) fn to_ask() -> Result<Interfaces, Errno> {
        system::socket(libc::AF_INET, libc::SOCK_DGRAM).map(Interfaces)
    }

    fn ask(
        &self,
        request: libc::Ioctl,
        name: &Name,
        with: libc::__c_anonymous_ifr_ifru,
    ) -> Result<libc::ifreq, Errno> {
        let mut question = libc::ifreq { ifr_name: name.bytes, ifr_ifru: with };
        // SAFETY: the requests of this file all take an `ifreq`, which is what they get; a pointer in it is
        // the caller's matter.
        match unsafe { libc::ioctl(self.0.as_raw_fd(), request, &mut question) } {
            0.. => Ok(question),
            _ => Err(Errno::from(std::io::Error::last_os_error())),
        }
    }

    fn get(&self, request: libc::Ioctl, name: &Name) -> Result<libc::ifreq, Errno> {
        self.ask(request, name, libc::__c_anonymous_ifr_ifru { ifru_ifindex: 0 })
    }

    /// The number of the interface that has this name now, if there is one.
    pub(super) fn index(&self, name: &Name) -> Result<Option<u32>, Errno> {
        match self.get(libc::SIOCGIFINDEX as libc::Ioctl, name) {
            // SAFETY: SIOCGIFINDEX fills this member.
            Ok(answer) => Ok(u32::try_from(unsafe { answer.ifr_ifru.ifru_ifindex }).ok()),
            Err(Errno(libc::ENODEV)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn flags(&self, name: &Name) -> Result<Flags, Errno> {
        let answer = self.get(libc::SIOCGIFFLAGS as libc::Ioctl, name)?;
        // SAFETY: SIOCGIFFLAGS fills this member.
        let flags = i32::from(unsafe { answer.ifr_ifru.ifru_flags });
        Ok(Flags { enabled: flags & libc::IFF_UP != 0, running: flags & libc::IFF_RUNNING != 0 })
    }

    /// The longest packet that it sends, without the link's header.
    pub(super) fn mtu(&self, name: &Name) -> Result<usize, Errno> {
        let answer = self.get(libc::SIOCGIFMTU as libc::Ioctl, name)?;
        // SAFETY: SIOCGIFMTU fills this member.
        Ok(usize::try_from(unsafe { answer.ifr_ifru.ifru_mtu }).unwrap_or(0))
    }

    /// What the interface of this name is now; none if there is none. An error tells what could not be done.
    pub(super) fn look(&self, name: &Name) -> Result<Option<Seen>, (&'static str, Errno)> {
        let Some(index) = self.index(name).map_err(|errno| ("look for it", errno))? else { return Ok(None) };
        let asked = self.flags(name).and_then(|flags| Ok(Seen { index, flags, mtu: self.mtu(name)? }));
        asked.map(Some).map_err(|errno| ("ask it", errno))
    }

    /// The number of the interface of this name, which carries Ethernet; `error` says of what could not be done.
    pub(super) fn ethernet(
        &self,
        name: &Name,
        error: impl Fn(&'static str, Errno) -> InterfaceError,
    ) -> Result<u32, InterfaceError> {
        let interface = || name.as_str().to_owned();
        let index = self.index(name).map_err(|errno| error("look for it", errno))?;
        let index = index.ok_or_else(|| InterfaceError::Absent { interface: interface() })?;
        match self.hardware(name).map_err(|errno| error("read its hardware type", errno))? {
            libc::ARPHRD_ETHER => Ok(index),
            hardware => Err(InterfaceError::NotEthernet { interface: interface(), hardware }),
        }
    }

    /// Its kind, an ARPHRD number.
    fn hardware(&self, name: &Name) -> Result<u16, Errno> {
        let answer = self.get(libc::SIOCGIFHWADDR as libc::Ioctl, name)?;
        // SAFETY: SIOCGIFHWADDR fills this member.
        Ok(unsafe { answer.ifr_ifru.ifru_hwaddr.sa_family })
    }

    /// # Safety
    /// `command` is what the ethtool command in its first word takes, with room for all that the kernel
    /// writes in answer.
    unsafe fn ethtool(&self, name: &Name, command: &mut [u32]) -> Result<(), Errno> {
        let with = libc::__c_anonymous_ifr_ifru { ifru_data: command.as_mut_ptr().cast() };
        self.ask(libc::SIOCETHTOOL as libc::Ioctl, name, with).map(drop)
    }

    /// The device's descriptor rings; none where it has no such thing.
    pub(super) fn rings(&self, name: &Name) -> Result<Option<Rings>, Errno> {
        // struct ethtool_ringparam: command; the most of rx, rx-mini, rx-jumbo and tx; then what they are.
        let mut rings = [0u32; 9];
        rings[0] = ethtool::GET_RINGS;
        // SAFETY: as laid out above; the kernel writes these nine words.
        match unsafe { self.ethtool(name, &mut rings) } {
            Ok(()) => Ok(Some(Rings {
                receive: rings[5],
                most_receive: rings[1],
                transmit: rings[8],
                most_transmit: rings[4],
            })),
            Err(Errno(libc::EOPNOTSUPP)) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// The device's queues; none where it does not say.
    pub(super) fn channels(&self, name: &Name) -> Result<Option<Channels>, Errno> {
        // struct ethtool_channels: command; the most of rx, tx, other and combined; then how many there are.
        let mut channels = [0u32; 9];
        channels[0] = ethtool::GET_CHANNELS;
        // SAFETY: as laid out above; the kernel writes these nine words.
        match unsafe { self.ethtool(name, &mut channels) } {
            Ok(()) => Ok(Some(Channels {
                most_receive: channels[1],
                most_transmit: channels[2],
                most_both: channels[4],
                receive: channels[5],
                transmit: channels[6],
                both: channels[8],
            })),
            Err(Errno(libc::EOPNOTSUPP)) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Changes how many queues the device has.
    pub(super) fn set_channels(&self, name: &Name, wanted: Channels) -> Result<(), Errno> {
        let mut channels = [0u32; 9];
        channels[0] = ethtool::GET_CHANNELS;
        // SAFETY: as in `channels`. The queues for other things stay as they are.
        unsafe { self.ethtool(name, &mut channels)? };
        channels[0] = ethtool::SET_CHANNELS;
        (channels[5], channels[6], channels[8]) = (wanted.receive, wanted.transmit, wanted.both);
        // SAFETY: the same structure, which the kernel only reads.
        unsafe { self.ethtool(name, &mut channels) }
    }

    /// What the device looks at to choose a queue for frames of a kind: bits of RXH_*; none where it does not say.
    pub(super) fn flow_hash(&self, name: &Name, flow: u32) -> Result<Option<u64>, Errno> {
        let mut question = flow_hash(ethtool::GET_FLOW_HASH, flow, 0);
        // SAFETY: struct ethtool_rxnfc, which is shorter, begins with these four words.
        match unsafe { self.ethtool(name, &mut question) } {
            Ok(()) => {
                let mut bytes = [0; 8];
                bytes[..4].copy_from_slice(&question[2].to_ne_bytes());
                bytes[4..].copy_from_slice(&question[3].to_ne_bytes());
                Ok(Some(u64::from_ne_bytes(bytes)))
            }
            Err(Errno(libc::EOPNOTSUPP)) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Has the device look at these.
    pub(super) fn set_flow_hash(&self, name: &Name, flow: u32, bits: u64) -> Result<(), Errno> {
        // SAFETY: as in `flow_hash`; the kernel only reads it.
        unsafe { self.ethtool(name, &mut flow_hash(ethtool::SET_FLOW_HASH, flow, bits)) }
    }

    /// The names of all features, by number.
    fn feature_names(&self, name: &Name) -> Result<Vec<String>, Errno> {
        // struct ethtool_sset_info: command, reserved, a 64-bit mask, then one count.
        let mut counts = [ethtool::GET_STRING_COUNTS, 0, 0, 0, 0];
        let mask = (1u64 << ethtool::FEATURE_NAMES).to_ne_bytes();
        let half = |at: usize| u32::from_ne_bytes([mask[at], mask[at + 1], mask[at + 2], mask[at + 3]]);
        (counts[2], counts[3]) = (half(0), half(4));
        // SAFETY: one bit of the mask is set, so one count is written.
        unsafe { self.ethtool(name, &mut counts)? };
        let count = (counts[4] as usize).min(ethtool::MAX_FEATURES);
        // struct ethtool_gstrings: command, set, count, then the names. The kernel writes as many as it has, so
        // there is room for more than it said a moment ago.
        let mut strings = vec![0u32; 3 + ethtool::MAX_FEATURES * ethtool::NAME_SIZE / 4];
        (strings[0], strings[1], strings[2]) = (ethtool::GET_STRINGS, ethtool::FEATURE_NAMES, count as u32);
        // SAFETY: as laid out above; a kernel's features are fixed when it is built, far fewer than MAX_FEATURES.
        unsafe { self.ethtool(name, &mut strings)? };
        let bytes: Vec<u8> = strings[3..].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let name_of = |field: &[u8]| {
            let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
            String::from_utf8_lossy(&field[..end]).into_owned()
        };
        Ok(bytes.chunks_exact(ethtool::NAME_SIZE).take(count).map(name_of).collect())
    }

    /// The names of the features that are on, as `ethtool -k` lists them.
    pub(super) fn features(&self, name: &Name) -> Result<Vec<String>, Errno> {
        let names = self.feature_names(name)?;
        // struct ethtool_gfeatures: command, blocks, then per 32 features: available, requested, active, fixed.
        let blocks = names.len().div_ceil(32);
        let mut features = vec![0u32; 2 + 4 * blocks];
        (features[0], features[1]) = (ethtool::GET_FEATURES, blocks as u32);
        // SAFETY: as laid out above; the kernel writes no more blocks than it was told there is room for.
        unsafe { self.ethtool(name, &mut features)? };
        let is_on = |number: usize| features[2 + 4 * (number / 32) + 2] >> (number % 32) & 1 != 0;
        Ok(names.into_iter().enumerate().filter(|(number, _)| is_on(*number)).map(|(_, name)| name).collect())
    }

    /// Switches features off, those that there are and that can be, as `ethtool -K` does.
    pub(super) fn switch_off(&self, name: &Name, unwanted: impl Fn(&str) -> bool) -> Result<(), Errno> {
        let names = self.feature_names(name)?;
        // struct ethtool_sfeatures: command, blocks, then per 32 features: which to change, what to.
        let blocks = names.len().div_ceil(32);
        let mut features = vec![0u32; 2 + 2 * blocks];
        (features[0], features[1]) = (ethtool::SET_FEATURES, blocks as u32);
        for (number, _) in names.iter().enumerate().filter(|(_, name)| unwanted(name)) {
            features[2 + 2 * (number / 32)] |= 1 << (number % 32);
        }
        // SAFETY: as laid out above; the kernel only reads it.
        unsafe { self.ethtool(name, &mut features) }
    }
}

/// `struct ethtool_rxnfc` with room to spare: command, kind of flow, then the bits.
fn flow_hash(command: u32, flow: u32, bits: u64) -> [u32; 64] {
    let mut words = [0u32; 64];
    (words[0], words[1]) = (command, flow);
    let bytes = bits.to_ne_bytes();
    for (word, bytes) in words[2..].iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_ne_bytes(*bytes);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_interface_can_be_called_is_refused() {
        for name in ["", ".", "..", "a/b", "eth 0", "eth0:1", "sixteen-letters-", "e\0"] {
            assert_eq!(Name::new(name), None, "{name:?}");
        }
        for name in ["eth0", "enp3s0f1np1", "vlan.100", "fifteen-letters"] {
            assert_eq!(Name::new(name).unwrap().as_str(), name);
        }
    }
}
