//! Frames of every shape that a bench wants, one next to the other in memory.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a frame is made of. All lengths are right; no checksum is, since none is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// EtherTypes of VLAN tags, from the outside in.
    pub tags: &'static [u16],
    /// Whether a PPPoE session header stands in front of the packet.
    pub pppoe: bool,
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// IPv6 extension headers in front of TCP.
    pub extensions: &'static [u8],
    /// Which part of its datagram it is.
    pub part: Part,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
}

/// A part of a datagram, with its identification.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first fragment.
    First(u16),
    /// The fragment behind the first.
    Later(u16),
}

/// TCP's header, and in a first fragment as much again.
const SEGMENT: usize = 24;

impl Packet {
    /// A TCP segment from and to such addresses and to such a port.
    pub fn new(source: IpAddr, destination: IpAddr, destination_port: u16) -> Packet {
        Packet {
            tags: &[],
            pppoe: false,
            source,
            destination,
            extensions: &[],
            part: Part::Whole,
            source_port: 50_000,
            destination_port,
        }
    }

    /// Its bytes behind the IP headers: a segment with SYN set.
    fn segment(&self) -> Vec<u8> {
        let mut segment = Vec::with_capacity(SEGMENT);
        segment.extend(self.source_port.to_be_bytes());
        segment.extend(self.destination_port.to_be_bytes());
        segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xfa, 0xf0, 0, 0, 0, 0]);
        segment.resize(SEGMENT, 0x55);
        segment
    }

    /// Identification, offset in units of 8 bytes, and whether more follow.
    fn fragment(&self) -> Option<(u16, u16, bool)> {
        match self.part {
            Part::Whole => None,
            Part::First(identification) => Some((identification, 0, true)),
            Part::Later(identification) => Some((identification, SEGMENT as u16 / 8, false)),
        }
    }

    fn ipv4(&self, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
        let (identification, offset, more) = self.fragment().unwrap_or((1, 0, false));
        let segment = self.segment();
        let mut packet = vec![0x45, 0];
        packet.extend((20 + segment.len() as u16).to_be_bytes());
        packet.extend(identification.to_be_bytes());
        packet.extend((offset | u16::from(more) << 13).to_be_bytes());
        packet.extend([57, 6, 0, 0]);
        packet.extend(source.octets());
        packet.extend(destination.octets());
        packet.extend(segment);
        packet
    }

    fn ipv6(&self, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        // Headers in their order, each with the number of the next.
        let mut kinds: Vec<u8> = self.extensions.to_vec();
        kinds.extend(self.fragment().map(|_| 44));
        kinds.push(6);
        let mut behind = Vec::new();
        for pair in kinds.windows(2) {
            match (pair, self.fragment()) {
                (&[44, next], Some((identification, offset, more))) => {
                    behind.extend([next, 0]);
                    behind.extend((offset << 3 | u16::from(more)).to_be_bytes());
                    behind.extend(u32::from(identification).to_be_bytes());
                }
                (&[_, next], _) => behind.extend([next, 0, 1, 4, 0, 0, 0, 0]),
                _ => {}
            }
        }
        behind.extend(self.segment());
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((behind.len() as u16).to_be_bytes());
        packet.extend([kinds[0], 57]);
        packet.extend(source.octets());
        packet.extend(destination.octets());
        packet.extend(behind);
        packet
    }

    /// The frame, without its frame check sequence.
    ///
    /// # Panics
    /// If the addresses are of different families.
    pub fn frame(&self) -> Vec<u8> {
        let (packet, kind, protocol) = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => (self.ipv4(source, destination), [8, 0], 0x21),
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                (self.ipv6(source, destination), [0x86, 0xdd], 0x57)
            }
            _ => panic!("addresses of one family"),
        };
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        for tag in self.tags {
            frame.extend(tag.to_be_bytes());
            frame.extend([0, 100]);
        }
        if self.pppoe {
            frame.extend([0x88, 0x64, 0x11, 0, 0, 1]);
            frame.extend((packet.len() as u16 + 2).to_be_bytes());
            frame.extend([0, protocol]);
        } else {
            frame.extend(kind);
        }
        frame.extend(packet);
        frame.resize(frame.len().max(60), 0);
        frame
    }
}

/// Frames in one piece of memory, each at the start of a cache line, as a driver has them.
pub struct Frames {
    arena: Vec<u8>,
    lengths: Vec<usize>,
}

/// Room for each frame.
const SLOT: usize = 128;

impl Frames {
    /// Puts the packets' frames into memory.
    ///
    /// # Panics
    /// If a frame is longer than its place.
    pub fn new(packets: impl IntoIterator<Item = Packet>) -> Frames {
        let mut frames = Frames { arena: Vec::new(), lengths: Vec::new() };
        for packet in packets {
            let frame = packet.frame();
            assert!(frame.len() <= SLOT, "{} bytes", frame.len());
            frames.lengths.push(frame.len());
            frames.arena.extend(&frame);
            frames.arena.resize(frames.lengths.len() * SLOT, 0);
        }
        frames
    }

    /// The frames, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.lengths.iter().enumerate().map(|(at, length)| &self.arena[at * SLOT..][..*length])
    }
}
