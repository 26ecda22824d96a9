//! ICMP errors: RFC 792 and RFC 1812 §4.3 for IPv4, RFC 4443 for IPv6.
//!
//! They quote the packet as it was received, without padding, as far as RFC 1812 §4.3.2.3 and RFC 4443 §2.4 (c) allow. No
//! extension follows the quote, so RFC 4884's length is 0.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pnet::packet::icmp::{self, IcmpPacket};
use pnet::packet::icmpv6::{self, Icmpv6Packet};
use pnet::packet::ip::IpNextHeaderProtocols;

use super::answer::{Answered, IpHeader, LONGEST, Made, Replies};
use crate::frame::{Datagram, Headers, Link, Upper, protocol};
use crate::policy::PortId;
use crate::policy::rules::is_single_host;
use crate::route::Mac;

/// An ICMPv4 error with its quote is at most this long (RFC 1812 §4.3.2.3).
const ICMP_MAXIMUM: usize = 576;
/// Type, code, checksum, and four bytes that most errors don't use.
const ICMP_HEADER: usize = 8;
/// Internetwork control (RFC 1812 §4.3.2.5).
pub(super) const CONTROL: u8 = 0xc0;

/// What an error says; the same for both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// The time to live ended here.
    TimeExceeded,
    /// There is no route.
    NoRoute,
    /// The last router, or a route, says that nobody is there.
    HostUnreachable,
    /// A filter forbids it.
    Prohibited,
    /// It is longer than the next link's MTU.
    TooBig(u16),
    /// The source is of this link alone.
    BeyondScope,
    /// For this host there is a better first hop; of IPv4 alone (RFC 792).
    Redirect(Ipv4Addr),
}

/// A better first hop on the sender's own link (RFC 1812 §5.2.7.2, RFC 4861 §8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Redirect {
    /// The router's address that the sender knows it by.
    pub(crate) from: IpAddr,
    /// The better hop: another router, or the destination.
    pub(crate) target: IpAddr,
    /// Its MAC.
    pub(crate) mac: Mac,
}

impl Error {
    /// Type, code and the word behind the checksum.
    fn v4(self) -> (u8, u8, u32) {
        match self {
            Error::NoRoute => (3, 0, 0),
            Error::HostUnreachable | Error::BeyondScope => (3, 1, 0),
            Error::TooBig(mtu) => (3, 4, mtu.into()),
            Error::Prohibited => (3, 13, 0),
            Error::TimeExceeded => (11, 0, 0),
            Error::Redirect(gateway) => (5, 1, gateway.to_bits()),
        }
    }

    fn v6(self) -> (u8, u8, u32) {
        match self {
            Error::NoRoute => (1, 0, 0),
            Error::Prohibited => (1, 1, 0),
            Error::BeyondScope => (1, 2, 0),
            Error::HostUnreachable => (1, 3, 0),
            Error::TooBig(mtu) => (2, 0, mtu.into()),
            Error::TimeExceeded => (3, 0, 0),
            // IPv6 has another message for that.
            Error::Redirect(_) => (137, 0, 0),
        }
    }
}

/// A packet that errors may be sent for: from one host to one host, in a frame to one station, no later fragment, and no
/// ICMP error itself (RFC 1812 §4.3.2.7, RFC 4443 §2.4 (e)).
pub(crate) struct Faulty<'a>(Answered<'a>);

impl<'a> Faulty<'a> {
    pub(crate) fn new(link: Link, frame: &'a [u8], headers: &'a Headers) -> Option<Faulty<'a>> {
        let addresses = headers.addresses;
        let silent = headers.encapsulation.group
            || headers.encapsulation.mpls
            || matches!(headers.datagram, Datagram::Later(_))
            || !is_single_host(addresses.destination())
            || !is_single_host(addresses.source())
            || addresses.source().is_loopback();
        if silent {
            return None;
        }
        // Where the chain was not walked to its end, it may be an error.
        let Upper::Found(transport) = headers.upper else { return None };
        let kind = frame.get(transport.offset as usize..headers.end as usize)?.first();
        let is_error = match (transport.protocol, kind) {
            // Echo, router discovery, timestamps, address masks: what asks and what answers.
            (protocol::ICMP, Some(kind)) => !matches!(kind, 0 | 8..=10 | 13..=18),
            (protocol::ICMPV6, Some(kind)) => *kind < 128 || *kind == 137,
            (protocol::ICMP | protocol::ICMPV6, None) => true,
            _ => false,
        };
        (!is_error).then_some(Faulty(Answered { link, frame, headers }))
    }

    /// How long the error is at most.
    pub(crate) fn longest(&self) -> usize {
        self.0.headers.encapsulation.ip as usize + LONGEST
    }

    /// Builds a redirect to a better first hop, and appends it to `replies`.
    pub(crate) fn redirect(&self, to: &Redirect, port: PortId, answers: usize, replies: &mut Replies) {
        self.0.made(Made::Redirect, port, answers, replies, |frame| match (to.from, to.target) {
            (IpAddr::V6(from), IpAddr::V6(target)) => {
                append_redirect_v6(frame, &self.0, from, target, to.mac)
            }
            (_, IpAddr::V4(gateway)) => append(frame, &self.0, Error::Redirect(gateway), to.from, CONTROL),
            _ => {}
        });
    }

    /// Builds the error and appends it to `replies`.
    pub(crate) fn answer(
        &self,
        error: Error,
        from: IpAddr,
        port: PortId,
        answers: usize,
        replies: &mut Replies,
    ) {
        self.0.answer(port, answers, replies, |frame| append(frame, &self.0, error, from, CONTROL));
    }
}

/// Appends the packet of an error, which has this type of service.
pub(super) fn append(frame: &mut Vec<u8>, answered: &Answered<'_>, error: Error, from: IpAddr, service: u8) {
    let to = answered.headers.addresses.source();
    let (protocol, (kind, code, word), most) = match from {
        IpAddr::V4(_) => (IpNextHeaderProtocols::Icmp, error.v4(), ICMP_MAXIMUM),
        IpAddr::V6(_) => (IpNextHeaderProtocols::Icmpv6, error.v6(), LONGEST),
    };
    let header = IpHeader { from, to, protocol, service };
    let quote = answered.quote(most - header.length() - ICMP_HEADER);
    let at = header.append(frame, ICMP_HEADER + quote.len());
    let message = &mut frame[at..];
    message[..2].copy_from_slice(&[kind, code]);
    message[4..ICMP_HEADER].copy_from_slice(&word.to_be_bytes());
    message[ICMP_HEADER..].copy_from_slice(quote);
    let checksum = match (from, to) {
        (IpAddr::V4(_), _) => IcmpPacket::new(message).map(|error| icmp::checksum(&error)),
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            Icmpv6Packet::new(message).map(|error| icmpv6::checksum(&error, &from, &to))
        }
        _ => None,
    };
    message[2..4].copy_from_slice(&checksum.unwrap_or_default().to_be_bytes());
}

/// Appends the packet of a redirect of IPv6 (RFC 4861 §4.5): the target and its MAC, and as much of the packet as there is
/// room for in whole eights of bytes.
fn append_redirect_v6(
    frame: &mut Vec<u8>,
    answered: &Answered<'_>,
    from: Ipv6Addr,
    target: Ipv6Addr,
    mac: Mac,
) {
    const KIND: u8 = 137;
    const TARGET_MAC: [u8; 2] = [2, 1];
    const REDIRECTED: u8 = 4;
    /// Type, code, checksum, and four bytes that are not used; the target and the destination.
    const FIXED: usize = 8 + 16 + 16;
    const OPTION: usize = 8;
    /// What a neighbour's messages have, so that no router has forwarded them (RFC 4861 §8.1).
    const HOP_LIMIT: u8 = 255;
    const HOP_LIMIT_AT: usize = 7;
    let (IpAddr::V6(to), IpAddr::V6(destination)) =
        (answered.headers.addresses.source(), answered.headers.addresses.destination())
    else {
        return;
    };
    let header = IpHeader {
        from: from.into(),
        to: to.into(),
        protocol: IpNextHeaderProtocols::Icmpv6,
        service: CONTROL,
    };
    let quote = answered.quote((LONGEST - header.length() - FIXED - 2 * OPTION) & !7);
    let option = OPTION + quote.len().next_multiple_of(8);
    let start = frame.len();
    let at = header.append(frame, FIXED + OPTION + option);
    frame[start + HOP_LIMIT_AT] = HOP_LIMIT;
    let message = &mut frame[at..];
    message[0] = KIND;
    message[8..24].copy_from_slice(&target.octets());
    message[24..40].copy_from_slice(&destination.octets());
    let (address, redirected) = message[FIXED..].split_at_mut(OPTION);
    address[..2].copy_from_slice(&TARGET_MAC);
    address[2..].copy_from_slice(&mac);
    redirected[..2].copy_from_slice(&[REDIRECTED, (option / 8) as u8]);
    redirected[OPTION..OPTION + quote.len()].copy_from_slice(quote);
    let checksum = Icmpv6Packet::new(message).map(|packet| icmpv6::checksum(&packet, &from, &to));
    message[2..4].copy_from_slice(&checksum.unwrap_or_default().to_be_bytes());
}
