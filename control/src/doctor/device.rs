//! What a network device says of itself, and what can be set of it: the kernel's `ethtool` and `netdev` families, which
//! answer whoever asks. Setting takes CAP_NET_ADMIN.

use std::fmt;
use std::io;

use netlink_packet_core::DefaultNla;
use rustix::net::netdevice::name_to_index;

use super::genetlink::{Genetlink, as_text, attributes, each, find, find_number, nest, number, text};

/// Commands and attributes of linux/ethtool_netlink.h.
mod ethtool {
    pub(super) const FEATURES_GET: u8 = 11;
    pub(super) const FEATURES_SET: u8 = 12;
    pub(super) const RINGS_GET: u8 = 15;
    pub(super) const RINGS_SET: u8 = 16;
    pub(super) const CHANNELS_GET: u8 = 17;
    pub(super) const CHANNELS_SET: u8 = 18;
    pub(super) const HEADER: u16 = 1;
    pub(super) const DEVICE: u16 = 2;
    pub(super) const WANTED: u16 = 3;
    pub(super) const ACTIVE: u16 = 4;
    pub(super) const FIXED: u16 = 5;
    pub(super) const SET: u16 = 3;
    pub(super) const BIT: u16 = 1;
    pub(super) const BIT_NAME: u16 = 2;
    pub(super) const BIT_VALUE: u16 = 3;
}

/// Of linux/netdev.h.
mod netdev {
    pub(super) const DEVICE_GET: u8 = 1;
    pub(super) const INDEX: u16 = 1;
    pub(super) const XDP_FEATURES: u16 = 3;
    pub(super) const ZERO_COPY_SEGMENTS: u16 = 4;
}

/// Rings or channels: the words of ethtool, and the attributes of what is and of the most.
type Counts = [(&'static str, u16, u16); 3];
const RINGS: Counts = [("rx", 6, 2), ("tx", 9, 5), ("", 0, 0)];
const CHANNELS: Counts = [("rx", 6, 2), ("tx", 7, 3), ("combined", 9, 5)];

/// Numbers by their words: how many there are, and how many there can be. Words without room are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes(pub(super) Vec<(&'static str, u64, u64)>);

impl Sizes {
    fn of(answer: &[u8], counts: &Counts) -> Sizes {
        let size = |(word, now, most): &(&'static str, u16, u16)| {
            let most = find_number(answer, *most).filter(|most| *most > 0)?;
            Some((*word, find_number(answer, *now)?, most))
        };
        Sizes(counts.iter().filter_map(size).collect())
    }

    /// `rx 512 tx 512`, as ethtool takes them.
    pub(super) fn now(&self) -> String {
        let words: Vec<String> = self.0.iter().map(|(word, now, _)| format!("{word} {now}")).collect();
        words.join(" ")
    }

    pub(super) fn get(&self, word: &str) -> Option<(u64, u64)> {
        self.0.iter().find(|(is, ..)| *is == word).map(|(_, now, most)| (*now, *most))
    }
}

/// What a driver can do with XDP (`enum netdev_xdp_act`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Xdp {
    bits: u64,
    /// Pieces of a frame that may lie apart when nothing is copied.
    segments: u64,
}

const XDP_WORDS: [(u64, &str); 7] = [
    (1, "basic"),
    (1 << 1, "redirect"),
    (1 << 2, "transmit for others"),
    (1 << 3, "zero-copy"),
    (1 << 4, "in hardware"),
    (1 << 5, "frames in pieces"),
    (1 << 6, "transmit in pieces"),
];

impl Xdp {
    /// A program can run in the driver, and give frames to sockets.
    pub(super) fn is_native(self) -> bool {
        self.bits & 0b11 == 0b11
    }

    pub(super) fn has_zero_copy(self) -> bool {
        self.bits & 1 << 3 != 0
    }
}

impl fmt::Display for Xdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = XDP_WORDS.iter().filter(|(bit, _)| self.bits & bit != 0);
        let words: Vec<&str> = has.map(|(_, word)| *word).collect();
        f.write_str(if words.is_empty() { "none" } else { "" })?;
        f.write_str(&words.join(", "))?;
        match self.segments {
            0 | 1 => Ok(()),
            pieces => write!(f, " (zero-copy: at most {pieces} pieces)"),
        }
    }
}

/// Asks and sets devices of this network namespace.
pub(super) struct Devices {
    kernel: Genetlink,
    ethtool: u16,
}

impl Devices {
    /// # Errors
    /// When the kernel has no such interface (5.6 and later have it).
    pub(super) fn new() -> io::Result<Devices> {
        let mut kernel = Genetlink::new()?;
        let ethtool = kernel.family("ethtool")?;
        Ok(Devices { kernel, ethtool })
    }

    fn ethtool(&mut self, device: &str, command: u8, more: &[DefaultNla]) -> io::Result<Vec<u8>> {
        let header = nest(ethtool::HEADER, &[text(ethtool::DEVICE, device)]);
        let question = [attributes(&[header]), attributes(more)].concat();
        self.kernel.ask(self.ethtool, command, &question)
    }

    /// The features that are on, by the kernel's names; those that can't be changed are marked.
    pub(super) fn features(&mut self, device: &str) -> io::Result<Vec<(String, bool)>> {
        let answer = self.ethtool(device, ethtool::FEATURES_GET, &[])?;
        let names = |kind| -> Vec<String> {
            let bits = find(&answer, kind).and_then(|set| find(set, ethtool::SET)).unwrap_or_default();
            let bits = each(bits).filter(|(kind, _)| *kind == ethtool::BIT);
            bits.filter_map(|(_, bit)| find(bit, ethtool::BIT_NAME).map(as_text)).collect()
        };
        let fixed = names(ethtool::FIXED);
        let on = names(ethtool::ACTIVE).into_iter();
        Ok(on.map(|name| (fixed.contains(&name), name)).map(|(fixed, name)| (name, fixed)).collect())
    }

    pub(super) fn set_feature(&mut self, device: &str, name: &str, on: bool) -> io::Result<()> {
        let mut bit = vec![text(ethtool::BIT_NAME, name)];
        if on {
            bit.push(DefaultNla::new(ethtool::BIT_VALUE, Vec::new()));
        }
        let wanted = nest(ethtool::WANTED, &[nest(ethtool::SET, &[nest(ethtool::BIT, &bit)])]);
        self.ethtool(device, ethtool::FEATURES_SET, &[wanted])?;
        // What it depends on may keep it as it is, and nobody says so.
        match self.features(device)?.iter().any(|(is, _)| is == name) == on {
            true => Ok(()),
            false => Err(io::Error::other("the device keeps it as it is")),
        }
    }

    /// Descriptors that rings have room for.
    pub(super) fn rings(&mut self, device: &str) -> io::Result<Sizes> {
        Ok(Sizes::of(&self.ethtool(device, ethtool::RINGS_GET, &[])?, &RINGS))
    }

    pub(super) fn set_rings(&mut self, device: &str, to: &str) -> io::Result<()> {
        self.set_sizes(device, ethtool::RINGS_SET, &RINGS, to)
    }

    /// Queues.
    pub(super) fn channels(&mut self, device: &str) -> io::Result<Sizes> {
        Ok(Sizes::of(&self.ethtool(device, ethtool::CHANNELS_GET, &[])?, &CHANNELS))
    }

    pub(super) fn set_channels(&mut self, device: &str, to: &str) -> io::Result<()> {
        self.set_sizes(device, ethtool::CHANNELS_SET, &CHANNELS, to)
    }

    fn set_sizes(&mut self, device: &str, command: u8, counts: &Counts, to: &str) -> io::Result<()> {
        let words: Vec<&str> = to.split_whitespace().collect();
        let wanted = words.chunks_exact(2).filter_map(|pair| {
            let (_, kind, _) = counts.iter().find(|(word, ..)| *word == pair[0])?;
            Some(number(*kind, pair[1].parse().ok()?))
        });
        let wanted: Vec<DefaultNla> = wanted.collect();
        if 2 * wanted.len() != words.len() || wanted.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{to}: not sizes")));
        }
        self.ethtool(device, command, &wanted).map(drop)
    }

    /// What its driver can do with XDP; none where the kernel does not say (before 6.3).
    pub(super) fn xdp(&mut self, device: &str) -> io::Result<Option<Xdp>> {
        let family = match self.kernel.family("netdev") {
            Ok(family) => family,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let index = index_of(device)?;
        let answer =
            self.kernel.ask(family, netdev::DEVICE_GET, &attributes(&[number(netdev::INDEX, index)]))?;
        let bits = find_number(&answer, netdev::XDP_FEATURES).unwrap_or(0);
        let segments = find_number(&answer, netdev::ZERO_COPY_SEGMENTS).unwrap_or(0);
        Ok(Some(Xdp { bits, segments }))
    }
}

fn index_of(device: &str) -> io::Result<u32> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    Ok(name_to_index(&socket, device)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_driver_can_do_with_xdp_is_told_in_words() {
        let veth = Xdp { bits: 0b000_0111, segments: 1 };
        assert_eq!(veth.to_string(), "basic, redirect, transmit for others");
        assert!(veth.is_native() && !veth.has_zero_copy());
        let nothing = Xdp { bits: 0, segments: 0 };
        assert_eq!((nothing.to_string().as_str(), nothing.is_native()), ("none", false));
        let card = Xdp { bits: 0b110_1011, segments: 5 };
        assert!(
            card.has_zero_copy() && card.to_string().ends_with("in pieces (zero-copy: at most 5 pieces)")
        );
    }

    #[test]
    fn the_loopback_device_tells_its_features_and_a_missing_one_is_refused() {
        let mut devices = Devices::new().unwrap();
        let features = devices.features("lo").unwrap();
        // What says which device it is can't be changed (`NETIF_F_NEVER_CHANGE`).
        assert!(features.contains(&("vlan-challenged".to_owned(), true)), "{features:?}");
        assert!(features.contains(&("loopback".to_owned(), false)), "{features:?}");
        assert!(devices.xdp("lo").is_ok());
        assert!(devices.features("nodev9").is_err());
    }
}
