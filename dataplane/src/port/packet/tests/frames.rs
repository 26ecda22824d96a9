//! Frames to send.

/// What stands in front of an IP packet, behind the addresses.
#[derive(Clone, Copy, Debug)]
pub(in crate::port) enum Wrap {
    Plain,
    Vlan(u16),
    QinQ,
    Pppoe,
    PppoeShort,
    VlanPppoe,
    Mpls,
}

impl Wrap {
    pub(in crate::port) const ALL: [Wrap; 7] = [
        Wrap::Plain,
        Wrap::Vlan(0x2064),
        Wrap::QinQ,
        Wrap::Pppoe,
        Wrap::PppoeShort,
        Wrap::VlanPppoe,
        Wrap::Mpls,
    ];

    /// The EtherType of the packet, and what goes between the addresses and the packet.
    fn header(self, is_v6: bool, length: usize) -> Vec<u8> {
        let kind: [u8; 2] = if is_v6 { [0x86, 0xdd] } else { [0x08, 0x00] };
        let ppp = |short: bool| {
            let protocol: &[u8] = match (is_v6, short) {
                (false, false) => &[0x00, 0x21],
                (false, true) => &[0x21],
                (true, false) => &[0x00, 0x57],
                (true, true) => &[0x57],
            };
            let length = (length + protocol.len()) as u16;
            let mut header = vec![0x88, 0x64, 0x11, 0x00, 0x12, 0x34];
            header.extend(length.to_be_bytes());
            header.extend(protocol);
            header
        };
        match self {
            Wrap::Plain => kind.to_vec(),
            Wrap::Vlan(control) => [&[0x81, 0x00][..], &control.to_be_bytes(), &kind].concat(),
            Wrap::QinQ => [&[0x88, 0xa8, 0x60, 0x07, 0x81, 0x00, 0x00, 0x64][..], &kind].concat(),
            Wrap::Pppoe => ppp(false),
            Wrap::PppoeShort => ppp(true),
            Wrap::VlanPppoe => [vec![0x81, 0x00, 0x00, 0x2a], ppp(false)].concat(),
            Wrap::Mpls => vec![0x88, 0x47, 0x00, 0x01, 0x00, 0x40, 0x00, 0x02, 0x01, 0x40],
        }
    }
}

/// An Ethernet frame around `packet`.
pub(in crate::port) fn wrapped(wrap: Wrap, packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(wrap.header(packet[0] >> 4 == 6, packet.len()));
    frame.extend(packet);
    frame
}

/// A frame of `length` bytes that says `number`, of a kind that no stack answers.
pub(in crate::port) fn numbered(number: u32, length: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5];
    frame.extend(number.to_be_bytes());
    let from = frame.len();
    frame.extend((from..length.max(from)).map(|at| (at as u32 * 31 + number) as u8));
    frame.truncate(length.max(14));
    frame
}

/// The number of a frame that [`numbered`] made.
pub(in crate::port) fn number(frame: &[u8]) -> u32 {
    assert_eq!(frame[12..14], [0x88, 0xb5], "an unexpected frame: {frame:02x?}");
    u32::from_be_bytes(frame[14..18].try_into().unwrap())
}

/// A fragment of a UDP datagram over IPv4, or a whole one: `offset` in units of eight bytes.
pub(in crate::port) fn udp4(from: [u8; 4], to: [u8; 4], ports: [u16; 2], offset: u16, more: u16) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 44, 0x47, 0x11];
    packet.extend((more << 13 | offset).to_be_bytes());
    packet.extend([64, 17, 0, 0]);
    packet.extend([from, to].concat());
    packet.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
    packet.extend([0; 20]);
    packet
}

/// A UDP datagram over IPv6, or its first or a later fragment.
pub(in crate::port) fn udp6(from: u8, to: u8, ports: [u16; 2], fragment: Option<u16>) -> Vec<u8> {
    let address = |last: u8| {
        let mut address = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        (address[5], address[15]) = (last.wrapping_mul(7), last);
        address
    };
    let next = if fragment.is_some() { 44 } else { 17 };
    let mut packet = vec![0x60, 0, 0, 0, 0, 24, next, 64];
    packet.extend([address(from), address(to)].concat());
    if let Some(word) = fragment {
        packet.extend([17, 0]);
        packet.extend(word.to_be_bytes());
        packet.extend([0, 0, 0x47, 0x11]);
    }
    packet.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
    packet.resize(64, 0);
    packet
}
