//! Generic netlink (genetlink(7)), one question and its answer at a time.
//!
//! The crates give the socket, the headers and the attributes; that a family is asked for by its name, and that an
//! answer ends with an acknowledgement, is this file's.

use std::io;

use netlink_packet_core::{
    DefaultNla, Emitable, NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR, NetlinkBuffer, NlaBuffer, NlasIterator,
};
use netlink_sys::{Socket, protocols::NETLINK_GENERIC};

/// The family that knows the others, with its one command and attributes (linux/genetlink.h).
const CONTROLLER: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// The text of a refusal, in the attributes behind it (linux/netlink.h).
const REFUSAL: u16 = 1;
const HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;

/// Bytes of attributes.
pub(super) type Attributes = Vec<u8>;

/// A connection to the kernel, in the network namespace in which it was made.
pub(super) struct Genetlink {
    socket: Socket,
    sequence: u32,
}

impl Genetlink {
    /// # Errors
    /// When the system has no such socket.
    pub(super) fn new() -> io::Result<Genetlink> {
        let mut socket = Socket::new(NETLINK_GENERIC)?;
        socket.bind_auto()?;
        // Refusals then say why; an old kernel does without.
        let _ = socket.set_ext_ack(true);
        Ok(Genetlink { socket, sequence: 0 })
    }

    /// The number of a family.
    ///
    /// # Errors
    /// Of the kind `NotFound` if the kernel has none of this name.
    pub(super) fn family(&mut self, name: &str) -> io::Result<u16> {
        let answer = self.ask(CONTROLLER, GET_FAMILY, &attributes(&[text(FAMILY_NAME, name)]))?;
        let id = find(&answer, FAMILY_ID).and_then(|bytes| Some(u16::from_ne_bytes(bytes.try_into().ok()?)));
        id.ok_or_else(malformed)
    }

    /// Asks, and gives the attributes of the answer; none if it was only acknowledged.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn ask(&mut self, family: u16, command: u8, question: &[u8]) -> io::Result<Attributes> {
        self.sequence += 1;
        let length = HEADER + GENERIC_HEADER + question.len();
        let mut bytes = vec![0; length];
        let mut message = NetlinkBuffer::new(&mut bytes);
        message.set_length(length as u32);
        message.set_message_type(family);
        message.set_flags(NLM_F_REQUEST | NLM_F_ACK);
        message.set_sequence_number(self.sequence);
        let payload = message.payload_mut();
        (payload[0], payload[1]) = (command, 1);
        payload[GENERIC_HEADER..].copy_from_slice(question);
        self.socket.send(&bytes, 0)?;
        let mut answer = Attributes::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            let mut rest = &datagram[..];
            while !rest.is_empty() {
                let message = NetlinkBuffer::new_checked(rest).map_err(|_| malformed())?;
                let length = message.length() as usize;
                let payload = rest.get(HEADER..length).ok_or_else(malformed)?;
                let is_ours = message.sequence_number() == self.sequence;
                match message.message_type() {
                    _ if !is_ours => {}
                    NLMSG_ERROR => return outcome(payload, message.flags()).map(|()| answer),
                    _ => answer = payload.get(GENERIC_HEADER..).ok_or_else(malformed)?.to_vec(),
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
            }
        }
    }
}

/// An acknowledgement, or a refusal with its text (`struct nlmsgerr`).
fn outcome(payload: &[u8], flags: u16) -> io::Result<()> {
    /// Only the header of what was refused is given back, and attributes follow.
    const CAPPED: u16 = 0x100;
    const HAS_ATTRIBUTES: u16 = 0x200;
    let code = payload.get(..4).and_then(|bytes| Some(i32::from_ne_bytes(bytes.try_into().ok()?)));
    let code = code.ok_or_else(malformed)?;
    if code == 0 {
        return Ok(());
    }
    let error = io::Error::from_raw_os_error(code.wrapping_neg());
    let refused = payload.get(4..8).and_then(|bytes| Some(u32::from_ne_bytes(bytes.try_into().ok()?)));
    let behind = 4 + if flags & CAPPED != 0 { HEADER } else { refused.unwrap_or(0) as usize };
    let told = payload.get(behind.next_multiple_of(4)..).filter(|_| flags & HAS_ATTRIBUTES != 0);
    match told.and_then(|told| find(told, REFUSAL)).map(as_text) {
        Some(text) if !text.is_empty() => Err(io::Error::new(error.kind(), format!("{error}: {text}"))),
        _ => Err(error),
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer can't be read")
}

/// Attributes one behind the other.
pub(super) fn attributes(list: &[DefaultNla]) -> Attributes {
    let mut bytes = vec![0; list.buffer_len()];
    list.emit(&mut bytes);
    bytes
}

/// A text with the zero at its end.
pub(super) fn text(kind: u16, text: &str) -> DefaultNla {
    DefaultNla::new(kind, [text.as_bytes(), &[0]].concat())
}

pub(super) fn number(kind: u16, number: u32) -> DefaultNla {
    DefaultNla::new(kind, number.to_ne_bytes().to_vec())
}

/// Attributes within one.
pub(super) fn nest(kind: u16, list: &[DefaultNla]) -> DefaultNla {
    /// `NLA_F_NESTED`.
    const NESTED: u16 = 1 << 15;
    DefaultNla::new(kind | NESTED, attributes(list))
}

/// All attributes that can be read, with their kinds.
pub(super) fn each(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let whole = NlasIterator::new(bytes).map_while(Result::ok);
    whole.map(|attribute: NlaBuffer<&[u8]>| (attribute.kind(), value(attribute)))
}

/// The value, as long as the bytes that it was read from.
fn value<'a>(attribute: NlaBuffer<&'a [u8]>) -> &'a [u8] {
    let whole: &'a [u8] = attribute.into_inner();
    &whole[4..usize::from(attribute.length()).min(whole.len())]
}

/// The first attribute of a kind.
pub(super) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    each(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

pub(super) fn as_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// A number of four or eight bytes; none if it is not there.
pub(super) fn find_number(bytes: &[u8], kind: u16) -> Option<u64> {
    let bytes = find(bytes, kind)?;
    match bytes.len() {
        4 => Some(u32::from_ne_bytes(bytes.try_into().ok()?).into()),
        8 => Some(u64::from_ne_bytes(bytes.try_into().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_as_they_were_written_and_pieces_are_not_read() {
        let inner = [number(6, 7), text(9, "rx-gro")];
        let bytes = attributes(&[text(2, "eth1"), nest(3, &inner)]);
        let nested = find(&bytes, 3).unwrap();
        assert_eq!((find_number(nested, 6), find(nested, 9).map(as_text)), (Some(7), Some("rx-gro".into())));
        for end in 0..bytes.len() {
            let _ = each(&bytes[..end]).count();
        }
    }

    #[test]
    fn the_kernel_knows_its_families_and_says_which_it_has_not() {
        let mut kernel = Genetlink::new().unwrap();
        assert_eq!(kernel.family("nlctrl").unwrap(), CONTROLLER);
        let refused = kernel.family("no-such-family").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::NotFound, "{refused}");
    }
}
