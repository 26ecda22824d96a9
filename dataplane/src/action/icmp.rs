//! ICMP errors: RFC 792 and RFC 1812 §4.3 for IPv4, RFC 4443 for IPv6.
//!
//! They quote the packet as it was received, without padding, as far as RFC 1812 §4.3.2.3 and RFC 4443 §2.4 (c) allow. No
//! extension follows the quote, so RFC 4884's length is 0.

use std::net::IpAddr;

use pnet::packet::icmp::{self, IcmpPacket};
use pnet::packet::icmpv6::{self, Icmpv6Packet};
use pnet::packet::ip::IpNextHeaderProtocols;

use super::answer::{Answered, IpHeader, LONGEST, Replies};
use crate::frame::{Datagram, Headers, Link, Upper, protocol};
use crate::policy::PortId;
use crate::policy::rules::is_single_host;

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
