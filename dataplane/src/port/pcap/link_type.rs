//! What the first bytes of a captured frame are.
//!
//! Numbers are those that files carry (the LINKTYPE_ values of <https://www.tcpdump.org/linktypes.html>), and the
//! two DLT_ values for raw IP that some systems wrote into files in their place.

use std::fmt;

/// The link types whose frames the dataplane can parse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LinkType {
    /// An Ethernet header.
    #[default]
    Ethernet,
    /// An IPv4 or IPv6 header, told apart by its version nibble.
    RawIp,
    /// An IPv4 header.
    Ipv4,
    /// An IPv6 header.
    Ipv6,
    /// Linux "cooked" version 1: a 16-byte pseudo header.
    LinuxCooked,
    /// Linux "cooked" version 2: a 20-byte pseudo header.
    LinuxCooked2,
    /// BSD loopback: the address family in four bytes, in the order of the host that captured (either may occur).
    Null,
    /// OpenBSD loopback: the address family in four bytes, in network order.
    Loop,
}

impl LinkType {
    /// The link type with this number in a capture file.
    ///
    /// # Errors
    /// The dataplane cannot parse such frames; the error names them.
    pub fn from_dlt(dlt: u32) -> Result<Self, RefusedLinkType> {
        match dlt {
            0 => Ok(Self::Null),
            1 => Ok(Self::Ethernet),
            12 | 14 | 101 => Ok(Self::RawIp),
            108 => Ok(Self::Loop),
            113 => Ok(Self::LinuxCooked),
            228 => Ok(Self::Ipv4),
            229 => Ok(Self::Ipv6),
            276 => Ok(Self::LinuxCooked2),
            other => Err(RefusedLinkType(other)),
        }
    }

    /// The number that stands for it in a capture file.
    #[must_use]
    pub const fn dlt(self) -> u16 {
        match self {
            Self::Null => 0,
            Self::Ethernet => 1,
            Self::RawIp => 101,
            Self::Loop => 108,
            Self::LinuxCooked => 113,
            Self::Ipv4 => 228,
            Self::Ipv6 => 229,
            Self::LinuxCooked2 => 276,
        }
    }

    /// Its name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ethernet => "Ethernet",
            Self::RawIp => "raw IP",
            Self::Ipv4 => "raw IPv4",
            Self::Ipv6 => "raw IPv6",
            Self::LinuxCooked => "Linux cooked v1",
            Self::LinuxCooked2 => "Linux cooked v2",
            Self::Null => "BSD loopback",
            Self::Loop => "OpenBSD loopback",
        }
    }
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The number of a link type that the dataplane does not parse; displayed by name where it has a common one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedLinkType(pub u32);

impl fmt::Display for RefusedLinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match refused_name(self.0) {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "link type {}", self.0),
        }
    }
}

impl std::error::Error for RefusedLinkType {}

fn refused_name(dlt: u32) -> Option<&'static str> {
    Some(match dlt {
        3 => "AX.25",
        6 => "IEEE 802.5 Token Ring",
        7 => "ARCNET",
        8 => "SLIP",
        9 => "PPP",
        10 => "FDDI",
        50 => "PPP in HDLC-like framing",
        51 => "PPPoE without Ethernet",
        100 => "LLC/SNAP over ATM",
        104 => "Cisco HDLC",
        105 => "IEEE 802.11",
        107 => "Frame Relay",
        109 => "OpenBSD IPsec",
        117 => "PFLOG",
        119 => "IEEE 802.11 with Prism header",
        122 => "IP over Fibre Channel",
        127 => "IEEE 802.11 with radiotap header",
        138 => "IP over IEEE 1394",
        140 => "SS7 MTP2",
        141 => "SS7 MTP3",
        142 => "SS7 SCCP",
        143 => "DOCSIS",
        147..=162 => "user-defined",
        163 => "IEEE 802.11 with AVS header",
        166 => "PPP of pppd",
        187 => "Bluetooth HCI UART",
        189 => "USB on Linux",
        192 => "PPI",
        195 | 230 => "IEEE 802.15.4",
        197 => "Endace ERF",
        201 => "Bluetooth HCI UART with direction",
        203 => "LAPD",
        204 => "PPP with direction",
        220 => "USB on Linux, memory-mapped",
        224 => "Fibre Channel",
        226 => "Solaris ipnet",
        227 => "SocketCAN",
        231 => "D-Bus",
        239 => "NFLOG",
        242 => "IP over InfiniBand",
        243 => "MPEG-2 transport stream",
        247 => "InfiniBand",
        248 => "SCTP",
        249 => "USBPcap",
        251 => "Bluetooth Low Energy",
        252 => "Wireshark upper PDU",
        253 => "Linux netlink",
        254 => "Bluetooth on Linux",
        256 => "Bluetooth Low Energy with radio header",
        258 => "macOS PKTAP",
        271 => "vsock",
        272 => "nRF sniffer",
        274 => "Ethernet mPacket",
        283 => "IEEE 802.15.4 TAP",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [LinkType; 8] = [
        LinkType::Ethernet,
        LinkType::RawIp,
        LinkType::Ipv4,
        LinkType::Ipv6,
        LinkType::LinuxCooked,
        LinkType::LinuxCooked2,
        LinkType::Null,
        LinkType::Loop,
    ];

    #[test]
    fn every_link_type_is_found_again_by_its_number() {
        for link in ALL {
            assert_eq!(LinkType::from_dlt(link.dlt().into()), Ok(link));
        }
    }

    #[test]
    fn all_three_numbers_of_raw_ip_are_known() {
        for dlt in [12, 14, 101] {
            assert_eq!(LinkType::from_dlt(dlt), Ok(LinkType::RawIp));
        }
    }

    #[test]
    fn refused_link_types_are_named() {
        assert_eq!(LinkType::from_dlt(105).unwrap_err().to_string(), "IEEE 802.11 (105)");
        assert_eq!(LinkType::from_dlt(9).unwrap_err().to_string(), "PPP (9)");
        assert_eq!(LinkType::from_dlt(117).unwrap_err().to_string(), "PFLOG (117)");
        assert_eq!(LinkType::from_dlt(9999).unwrap_err().to_string(), "link type 9999");
    }
}
