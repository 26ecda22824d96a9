//! What is asked of the kernel.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::decode::Message;
use super::model::{Model, Subject};
use super::route::{Event, Kind};
use super::socket::{Received, Socket, wait};

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE: u16 = 0x400;
const ENOENT: i32 = 2;

/// How long the kernel has for the next part of a dump.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Asks for a dump.
pub(super) fn dump(socket: &mut Socket, subject: Subject) -> io::Result<()> {
    let message = match subject {
        Subject::Links => RouteNetlinkMessage::GetLink(LinkMessage::default()),
        Subject::Addresses => RouteNetlinkMessage::GetAddress(AddressMessage::default()),
        Subject::Neighbours => RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()),
        Subject::Routes { table, v6 } => {
            let mut message = RouteMessage::default();
            message.header.address_family = if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
            message.attributes.push(RouteAttribute::Table(table));
            RouteNetlinkMessage::GetRoute(message)
        }
    };
    socket.send(message, NLM_F_REQUEST | NLM_F_DUMP)
}

/// What the end of a dump means. There is no table before it has its first route.
pub(super) fn ended(errno: i32) -> io::Result<()> {
    if errno == 0 || errno == ENOENT { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
}

/// Whether a route stands for its prefix in a pool or a set.
pub(crate) fn is_listed(kind: Kind) -> bool {
    matches!(kind, Kind::Unicast | Kind::Untold | Kind::Blackhole | Kind::Unreachable | Kind::Prohibit)
}

/// Reads the prefixes of one of the kernel's tables once, in their order.
///
/// # Errors
/// When the kernel can't be asked.
pub fn read_table(table: u32) -> io::Result<Vec<IpNetwork>> {
    let mut socket = Socket::open(&[])?;
    let mut model = Model::new([table]);
    for v6 in [false, true] {
        // A table that changes all the time is read as it is after some tries.
        for _ in 0..4 {
            let subject = Subject::Routes { table, v6 };
            model.begin();
            dump(&mut socket, subject)?;
            let disturbed = receive(&mut socket, |event| model.dumped(event))?;
            model.end(subject);
            if !disturbed {
                break;
            }
        }
    }
    let mut prefixes: Vec<IpNetwork> =
        model.routes(table).filter(|(_, best)| is_listed(best.kind)).map(|(prefix, _)| prefix).collect();
    prefixes.sort_unstable();
    Ok(prefixes)
}

/// Takes a dump to its end; gives whether a change disturbed it.
pub(super) fn receive(socket: &mut Socket, mut take: impl FnMut(Event)) -> io::Result<bool> {
    let mut disturbed = false;
    let mut heard = Instant::now();
    loop {
        match socket.receive()? {
            Received::Nothing if heard.elapsed() > PATIENCE => return Err(io::ErrorKind::TimedOut.into()),
            Received::Nothing => wait(&[socket], 100),
            Received::Lost => disturbed = true,
            Received::Messages(messages, changed) => {
                heard = Instant::now();
                disturbed |= changed;
                for message in messages {
                    match message {
                        Message::Event(event) => take(*event),
                        Message::End { errno } => return ended(errno).map(|()| disturbed),
                        Message::Other { .. } | Message::Overrun => {}
                    }
                }
            }
        }
    }
}

/// Asks the kernel to find out a neighbour's link-layer address, or whether it still has it.
///
/// # Errors
/// When the kernel can't be asked. What comes of it is a notification.
pub(super) fn resolve(socket: &mut Socket, link: u32, address: IpAddr) -> io::Result<()> {
    // An entry in use (`NTF_USE`) of no known state, as if the kernel had a packet for it.
    let mut message = NeighbourMessage::default();
    message.header.family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    message.header.ifindex = link;
    message.header.state = NeighbourState::None;
    message.header.flags = NeighbourFlags::Use;
    let destination = match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    };
    message.attributes.push(NeighbourAttribute::Destination(destination));
    socket.send(RouteNetlinkMessage::NewNeighbour(message), NLM_F_REQUEST | NLM_F_CREATE)
}

/// Sends a request and waits for its answer.
///
/// # Errors
/// What the kernel says.
pub(super) fn ask(socket: &mut Socket, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    socket.discard();
    socket.send(message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
    let begun = Instant::now();
    loop {
        match socket.receive()? {
            Received::Messages(messages, _) => {
                for message in messages {
                    match message {
                        Message::End { errno: 0 } => return Ok(()),
                        Message::End { errno } => return Err(io::Error::from_raw_os_error(errno)),
                        _ => {}
                    }
                }
            }
            _ if begun.elapsed() > PATIENCE => return Err(io::ErrorKind::TimedOut.into()),
            _ => wait(&[socket], 100),
        }
    }
}
