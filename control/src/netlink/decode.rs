//! From the kernel's messages to events.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use netlink_packet_core::{NetlinkBuffer, NetlinkDeserializable, NetlinkHeader, Parseable};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop, RouteNextHopFlags,
    RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::route::{Event, Hop, How, Kind, Link, Neighbour, Route};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_APPEND: u16 = 0x800;
/// Messages about next hop objects, of which the library knows nothing.
const NEXT_HOP_OBJECTS: [u16; 2] = [104, 105];

/// A message of a datagram.
#[derive(Debug)]
pub(super) enum Message {
    /// Something is told.
    Event(Box<Event>),
    /// Something that is none of our business, or what the library can't read.
    Other { readable: bool },
    /// A dump is at its end, or a request was accepted (0) or refused (an errno).
    End { errno: i32 },
    /// Notifications are lost.
    Overrun,
}

/// The messages of a datagram, and whether a dump was disturbed by a change.
pub(super) fn messages(datagram: &[u8]) -> (Vec<Message>, bool) {
    let mut messages = Vec::new();
    let mut disturbed = false;
    let mut rest = datagram;
    while let Ok(buffer) = NetlinkBuffer::new_checked(&rest) {
        let length = buffer.length() as usize;
        if let Ok(header) = <NetlinkHeader as Parseable<NetlinkBuffer<&&[u8]>>>::parse(&buffer) {
            disturbed |= header.flags & NLM_F_DUMP_INTR != 0;
            messages.push(message(&header, buffer.payload()));
        }
        rest = rest.get(length.next_multiple_of(4).max(16)..).unwrap_or_default();
    }
    (messages, disturbed)
}

fn message(header: &NetlinkHeader, payload: &[u8]) -> Message {
    let errno = || payload.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes).wrapping_neg());
    match header.message_type {
        NLMSG_ERROR | NLMSG_DONE => return Message::End { errno: errno() },
        NLMSG_OVERRUN => return Message::Overrun,
        kind if NEXT_HOP_OBJECTS.contains(&kind) => return Message::Event(Box::new(Event::NextHopObject)),
        _ => {}
    }
    match RouteNetlinkMessage::deserialize(header, payload) {
        Err(_) => Message::Other { readable: false },
        Ok(message) => match event(message, header.flags) {
            Some(event) => Message::Event(Box::new(event)),
            None => Message::Other { readable: true },
        },
    }
}

fn event(message: RouteNetlinkMessage, flags: u16) -> Option<Event> {
    match message {
        RouteNetlinkMessage::NewRoute(message) => {
            let how = match flags {
                flags if flags & NLM_F_REPLACE != 0 => How::Replace,
                flags if flags & NLM_F_APPEND != 0 => How::Append,
                _ => How::Create,
            };
            route(&message).map(|(table, prefix, route)| Event::Route(table, prefix, route, how))
        }
        RouteNetlinkMessage::DelRoute(message) => {
            route(&message).map(|(table, prefix, route)| Event::RouteGone(table, prefix, route))
        }
        RouteNetlinkMessage::NewLink(message) => link(&message).map(Event::Link),
        RouteNetlinkMessage::DelLink(message) => {
            is_plain_link(&message).then_some(Event::LinkGone(message.header.index))
        }
        RouteNetlinkMessage::NewAddress(message) => {
            address(&message).map(|network| Event::Address(message.header.index, network))
        }
        RouteNetlinkMessage::DelAddress(message) => {
            address(&message).map(|network| Event::AddressGone(message.header.index, network))
        }
        RouteNetlinkMessage::NewNeighbour(message) => neighbour(&message)
            .map(|(address, neighbour)| Event::Neighbour(message.header.ifindex, address, neighbour)),
        RouteNetlinkMessage::DelNeighbour(message) => {
            neighbour(&message).map(|(address, _)| Event::NeighbourGone(message.header.ifindex, address))
        }
        _ => None,
    }
}

fn route(message: &RouteMessage) -> Option<(u32, IpNetwork, Route)> {
    let header = &message.header;
    let unspecified: IpAddr = match header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    // Learned by path MTU discovery or redirects, and for one flow; routes from a source (IPv6 subtrees) are not for all.
    if header.flags.contains(RouteFlags::Cloned) || header.source_prefix_length > 0 {
        return None;
    }
    let mut kind = match header.kind {
        RouteType::Unicast => Kind::Unicast,
        RouteType::Local | RouteType::Anycast => Kind::Local,
        RouteType::Broadcast => Kind::Broadcast,
        RouteType::Multicast => Kind::Multicast,
        RouteType::BlackHole => Kind::Blackhole,
        RouteType::Unreachable => Kind::Unreachable,
        RouteType::Prohibit => Kind::Prohibit,
        RouteType::Throw => Kind::Throw,
        _ => return None,
    };
    let (mut table, mut destination, mut metric) = (u32::from(header.table), unspecified, 0);
    let mut multipath: &[RouteNextHop] = &[];
    let (mut link, mut by_object, mut mtu) = (None, false, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(address) => destination = ip(address)?,
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::MultiPath(hops) => multipath = hops,
            RouteAttribute::NhId(_) => by_object = true,
            RouteAttribute::Metrics(metrics) => mtu = self::mtu(metrics),
            _ => {}
        }
    }
    if kind == Kind::Unicast && by_object && link.is_none() && multipath.is_empty() {
        kind = Kind::Untold;
    }
    let prefix = IpNetwork::new(destination, header.destination_prefix_length).ok()?;
    let mut hops = Vec::with_capacity(multipath.len().max(1));
    for hop in multipath.iter().filter(|hop| !hop.flags.contains(RouteNextHopFlags::Dead)) {
        hops.push(Hop { mtu, ..self::hop(hop.interface_index, u16::from(hop.hops) + 1, &hop.attributes) });
    }
    if let Some(link) = link.filter(|_| multipath.is_empty() && !header.flags.contains(RouteFlags::Dead)) {
        hops.push(Hop { mtu, ..hop(link, 1, &message.attributes) });
    }
    Some((table, prefix, Route { kind, metric, tos: header.tos, hops: hops.into() }))
}

fn hop(link: u32, weight: u16, attributes: &[RouteAttribute]) -> Hop {
    let via = attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(RouteVia::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Via(RouteVia::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    });
    let encapsulated = attributes.iter().any(|attribute| matches!(attribute, RouteAttribute::Encap(_)));
    Hop { link, via, weight, encapsulated, mtu: None }
}

/// The MTU among a route's metrics, if there is one.
fn mtu(metrics: &[RouteMetric]) -> Option<u32> {
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
        _ => None,
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

/// A bridge tells of its ports in messages of a family of their own.
fn is_plain_link(message: &LinkMessage) -> bool {
    message.header.interface_family == AddressFamily::Unspec
}

fn link(message: &LinkMessage) -> Option<Link> {
    if !is_plain_link(message) {
        return None;
    }
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        vlan: None,
    };
    let is_ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    let (mut below, mut tag) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) if is_ethernet => link.mac = bytes.as_slice().try_into().ok(),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Link(index) => below = Some(*index),
            LinkAttribute::LinkInfo(infos) => {
                tag = infos.iter().find_map(|info| match info {
                    LinkInfo::Data(InfoData::Vlan(vlan)) => vlan.iter().find_map(|part| match part {
                        InfoVlan::Id(tag) => Some(*tag),
                        _ => None,
                    }),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    link.vlan = below.zip(tag);
    Some(link)
}

fn address(message: &AddressMessage) -> Option<IpNetwork> {
    let attributes = &message.attributes;
    // On a link between two hosts, `Address` is the other's.
    let local = attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    IpNetwork::new(local.or(address)?, message.header.prefix_len).ok()
}

fn neighbour(message: &NeighbourMessage) -> Option<(IpAddr, Neighbour)> {
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let mut address = None;
    let mut mac = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
            _ => {}
        }
    }
    let state = message.header.state;
    let usable = !matches!(
        state,
        NeighbourState::None | NeighbourState::Incomplete | NeighbourState::Failed | NeighbourState::Other(_)
    );
    let neighbour = Neighbour {
        mac: mac.filter(|_| usable),
        stale: matches!(state, NeighbourState::Stale),
        failed: matches!(state, NeighbourState::Failed),
    };
    Some((address?, neighbour))
}
