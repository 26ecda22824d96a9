//! Ethernet, VLAN tags, MPLS labels and PPPoE session headers: what stands in front of the IP packet.

/// The Ethernet header's length, and so the least length of a frame.
const ETHERNET: usize = 14;

/// What a frame holds behind its link headers.
pub(super) enum Link<'a> {
    /// Rule 1.
    NotIp,
    /// Rule 2.
    TooDeep,
    /// Something that has to be an IP packet.
    Ip(Envelope<'a>),
}

/// The link headers around an IP packet.
pub(super) struct Envelope<'a> {
    /// Everything before the IP packet.
    pub(super) head: &'a [u8],
    /// Where in `head` the PPPoE header starts.
    pub(super) pppoe_at: Option<usize>,
    /// Whether MPLS labels are among the headers.
    pub(super) mpls: bool,
    /// The version that EtherType, PPP protocol or MPLS payload promise: 4 or 6.
    pub(super) version: u8,
    /// What follows: the IP packet, and padding perhaps.
    pub(super) body: &'a [u8],
}

impl Envelope<'_> {
    /// Whether the frame was sent to a group (multicast or broadcast) MAC address.
    pub(super) fn to_group(&self) -> bool {
        self.head[0] & 1 == 1
    }
}

/// Takes the link headers off; `limit` is how many tags and labels there may be.
pub(super) fn open(frame: &[u8], limit: usize) -> Link<'_> {
    // 7.1: a frame that ends inside its L2 headers is not-ip.
    if frame.len() < ETHERNET {
        return Link::NotIp;
    }
    let mut ether_type = be16(frame, 12);
    let mut at = ETHERNET;
    let mut count = 0;

    // 7.1: these EtherTypes are VLAN tags. 7.13: the fifth is too deep even where the frame ends inside it.
    while matches!(ether_type, 0x8100 | 0x88a8 | 0x9100) {
        count += 1;
        if count > limit {
            return Link::TooDeep;
        }
        if frame.len() < at + 4 {
            return Link::NotIp;
        }
        ether_type = be16(frame, at + 2);
        at += 4;
    }

    let ip = |version, at: usize, end: usize, pppoe_at, mpls| {
        Link::Ip(Envelope { head: &frame[..at], pppoe_at, mpls, version, body: &frame[at..end] })
    };
    match ether_type {
        0x0800 => ip(4, at, frame.len(), None, false),
        0x86dd => ip(6, at, frame.len(), None, false),
        // MPLS, with unicast and with multicast EtherType (RFC 5332): each label counts one.
        0x8847 | 0x8848 => {
            loop {
                count += 1;
                if count > limit {
                    return Link::TooDeep;
                }
                if frame.len() < at + 4 {
                    return Link::NotIp;
                }
                let bottom = frame[at + 2] & 1 == 1;
                at += 4;
                if bottom {
                    break;
                }
            }
            // 7.2: IPv4 or IPv6 by the first nibble, else not-ip.
            match frame.get(at).map(|b| b >> 4) {
                Some(4) => ip(4, at, frame.len(), None, true),
                Some(6) => ip(6, at, frame.len(), None, true),
                _ => Link::NotIp,
            }
        }
        // PPPoE session. 7.3: version, type and code are not checked; the length bounds the packet.
        0x8864 => {
            let pppoe_at = at;
            if frame.len() < at + 6 {
                return Link::NotIp;
            }
            let length = usize::from(be16(frame, at + 4));
            at += 6;
            let end = frame.len().min(at + length);
            // 7.3: the PPP protocol in one byte or in two; 7.13: a length that ends inside it is not-ip.
            let protocol = match &frame[at..end] {
                [short, ..] if short & 1 == 1 => {
                    at += 1;
                    u16::from(*short)
                }
                [high, low, ..] => {
                    at += 2;
                    u16::from_be_bytes([*high, *low])
                }
                _ => return Link::NotIp,
            };
            match protocol {
                0x0021 => ip(4, at, end, Some(pppoe_at), false),
                0x0057 => ip(6, at, end, Some(pppoe_at), false),
                _ => Link::NotIp,
            }
        }
        // ARP, LLDP, PPPoE discovery, LLC/SNAP, …
        _ => Link::NotIp,
    }
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
