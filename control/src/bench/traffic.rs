//! Traffic made up for measuring: frames from the customers of a configuration.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use pnet::packet::ethernet::{EtherTypes, MutableEthernetPacket};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::{self, MutableIpv4Packet};
use pnet::packet::ipv6::MutableIpv6Packet;
use pnet::packet::tcp::{self, MutableTcpPacket, TcpFlags, TcpPacket};
use pnet::util::MacAddr;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;
const TCP: usize = 20;
/// The frame check sequence counts in a frame's size and is not in memory.
const FCS: usize = 4;

/// Frame sizes, counted as on the wire with the frame check sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// All the same.
    Fixed(usize),
    /// The "simple IMIX": seven of 64, four of 594, one of 1518 bytes in twelve (RFC 6985 §4).
    Imix,
}

impl Size {
    const IMIX: [usize; 12] = [64, 594, 64, 64, 594, 64, 1518, 64, 594, 64, 594, 64];

    fn of(self, frame: usize) -> usize {
        match self {
            Size::Fixed(size) => size,
            Size::Imix => Size::IMIX[frame % Size::IMIX.len()],
        }
    }
}

/// What traffic to make.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Frame sizes.
    pub size: Size,
    /// Distinct flows.
    pub flows: usize,
    /// Of a thousand flows, those that go to port 25.
    pub smtp_permille: u32,
    /// Frames made; flows take turns in an order that does not repeat.
    pub frames: usize,
}

/// Frames from customers in `prefixes` to anywhere, in the shape asked for; the same each time.
///
/// A flow has one customer address in a prefix picked at random, one destination, one pair of ports; every
/// frame is TCP with ACK set and has the checksums that a host would write.
pub fn outbound(prefixes: &[IpNetwork], shape: Shape) -> Vec<Vec<u8>> {
    if prefixes.is_empty() {
        return Vec::new();
    }
    let mut random = Random::new(0x5e15_1ab0);
    let flows: Vec<Flow> = (0..shape.flows.max(1))
        .map(|n| {
            let prefix = prefixes[random.below(prefixes.len() as u64) as usize];
            let smtp = (n as u64 * 1000 + 500) % 1_000_000 < u64::from(shape.smtp_permille) * 1000;
            Flow::new(prefix, smtp, &mut random)
        })
        .collect();
    (0..shape.frames)
        .map(|n| flows[random.below(flows.len() as u64) as usize].frame(shape.size.of(n)))
        .collect()
}

struct Flow {
    source: IpAddr,
    destination: IpAddr,
    source_port: u16,
    destination_port: u16,
}

impl Flow {
    fn new(prefix: IpNetwork, smtp: bool, random: &mut Random) -> Flow {
        // 198.18.0.0/15 is for benchmarks (RFC 2544), 2001:2::/48 too (RFC 5180).
        let (source, destination) = match prefix {
            IpNetwork::V4(prefix) => {
                let host = random.next() as u32 & !prefix.mask().to_bits();
                let destination = 0xc612_0000 | (random.next() as u32 & 0x1_ffff);
                ((prefix.network().to_bits() | host).into_ip(), destination.into_ip())
            }
            IpNetwork::V6(prefix) => {
                let host = random.wide() & !prefix.mask().to_bits();
                let destination = (0x2001_0002 << 96) | (random.wide() & ((1 << 80) - 1));
                ((prefix.network().to_bits() | host).into_ip(), destination.into_ip())
            }
        };
        let others = [443, 80, 587, 993, 8080, 22, 5223, 3478];
        Flow {
            source,
            destination,
            source_port: 1024 + random.below(64_000) as u16,
            destination_port: if smtp { 25 } else { others[random.below(8) as usize] },
        }
    }

    fn frame(&self, size: usize) -> Vec<u8> {
        let ip = if self.source.is_ipv4() { IPV4 } else { IPV6 };
        let least = ETHERNET + ip + TCP;
        let mut frame = vec![0u8; size.saturating_sub(FCS).max(least)];
        if let Some(mut ethernet) = MutableEthernetPacket::new(&mut frame) {
            ethernet.set_destination(MacAddr::new(2, 0, 0, 0, 0, 1));
            ethernet.set_source(MacAddr::new(2, 0, 0, 0, 0, 2));
            ethernet.set_ethertype(if ip == IPV4 { EtherTypes::Ipv4 } else { EtherTypes::Ipv6 });
        }
        // Whatever the size adds is payload, except for what pads the shortest frame.
        let end = if frame.len() <= 60 { least } else { frame.len() };
        let packet = &mut frame[ETHERNET..end];
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.tcp(&mut packet[IPV4..], |tcp| tcp::ipv4_checksum(tcp, &source, &destination));
                let length = packet.len() as u16;
                if let Some(mut ip) = MutableIpv4Packet::new(packet) {
                    ip.set_version(4);
                    ip.set_header_length(5);
                    ip.set_total_length(length);
                    ip.set_ttl(57);
                    ip.set_next_level_protocol(IpNextHeaderProtocols::Tcp);
                    ip.set_source(source);
                    ip.set_destination(destination);
                    ip.set_checksum(ipv4::checksum(&ip.to_immutable()));
                }
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.tcp(&mut packet[IPV6..], |tcp| tcp::ipv6_checksum(tcp, &source, &destination));
                let length = (packet.len() - IPV6) as u16;
                if let Some(mut ip) = MutableIpv6Packet::new(packet) {
                    ip.set_version(6);
                    ip.set_payload_length(length);
                    ip.set_next_header(IpNextHeaderProtocols::Tcp);
                    ip.set_hop_limit(57);
                    ip.set_source(source);
                    ip.set_destination(destination);
                }
            }
            _ => {}
        }
        frame
    }

    fn tcp(&self, segment: &mut [u8], checksum: impl Fn(&TcpPacket<'_>) -> u16) {
        if let Some(mut tcp) = MutableTcpPacket::new(segment) {
            tcp.set_source(self.source_port);
            tcp.set_destination(self.destination_port);
            tcp.set_data_offset(5);
            tcp.set_flags(TcpFlags::ACK);
            tcp.set_window(64_240);
            tcp.set_checksum(checksum(&tcp.to_immutable()));
        }
    }
}

/// A number as the address it stands for.
trait IntoIp {
    fn into_ip(self) -> IpAddr;
}

impl IntoIp for u32 {
    fn into_ip(self) -> IpAddr {
        IpAddr::V4(self.into())
    }
}

impl IntoIp for u128 {
    fn into_ip(self) -> IpAddr {
        IpAddr::V6(self.into())
    }
}

/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014): the same
/// numbers each time, and no dependency for them.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
