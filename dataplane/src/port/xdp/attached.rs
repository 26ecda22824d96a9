//! What the kernel says of an interface by netlink (rtnetlink(7)): whether an XDP program is there, and how many
//! receive queues it has at most.
//!
//! One question and one answer, so no crate: the message is laid out here.

use std::fs::File;
use std::io::{Read, Write};

use super::bpf;
use crate::port::error::InterfaceError;
use crate::port::interface::{Interfaces, Name};
use crate::port::system::{self, Errno};

/// Of linux/rtnetlink.h, linux/netlink.h and linux/if_link.h.
const RTM_NEWLINK: u16 = libc::RTM_NEWLINK;
const RTM_GETLINK: u16 = libc::RTM_GETLINK;
const NLM_F_REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const NLMSG_ERROR: u16 = libc::NLMSG_ERROR as u16;
const IFLA_NUM_RX_QUEUES: u16 = libc::IFLA_NUM_RX_QUEUES;
const IFLA_XDP: u16 = libc::IFLA_XDP;
const IFLA_XDP_PROG_ID: u16 = 4;
const IFLA_XDP_DRV_PROG_ID: u16 = 5;
const IFLA_XDP_SKB_PROG_ID: u16 = 6;
/// Uppermost bits of an attribute's kind are flags.
const KIND: u16 = 0x3fff;

const HEADER: usize = 16;
const LINK: usize = 16;
const ATTRIBUTE: usize = 4;

/// What an interface has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// The number of the program that is there.
    pub(super) program: Option<u32>,
    /// It is there in generic mode.
    pub(super) generic: bool,
    pub(super) receive_queues: u32,
}

/// An XDP program that an interface has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedProgram {
    /// Its number.
    pub id: u32,
    /// Its name, which the kernel tells to those who have CAP_SYS_ADMIN.
    pub name: Option<String>,
    /// It runs in generic mode.
    pub generic: bool,
}

impl AttachedProgram {
    /// The program of an interface; none if it has none, or if there is no such interface.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub fn of(interface: &str) -> Result<Option<AttachedProgram>, InterfaceError> {
        let failed = |errno| InterfaceError::of_xdp(interface, "ask what program it has", errno);
        let Some(name) = Name::new(interface) else { return Ok(None) };
        let index = Interfaces::to_ask().and_then(|interfaces| interfaces.index(&name)).map_err(failed)?;
        let Some(index) = index else { return Ok(None) };
        let Link { program, generic, .. } = link(index).map_err(failed)?;
        Ok(program.map(|id| AttachedProgram { id, name: bpf::name_of(id).ok(), generic }))
    }

    /// Whether it is this program's own, of whichever process.
    pub fn is_own(&self) -> bool {
        self.name.as_deref() == Some(bpf::NAME)
    }
}

/// Asks for the interface of this number, in the network namespace of this thread.
pub(super) fn link(interface: u32) -> Result<Link, Errno> {
    let mut socket = File::from(system::socket(libc::AF_NETLINK, libc::SOCK_RAW)?);
    let mut question = Vec::with_capacity(HEADER + LINK);
    question.extend(((HEADER + LINK) as u32).to_ne_bytes());
    question.extend([RTM_GETLINK.to_ne_bytes(), NLM_F_REQUEST.to_ne_bytes()].concat());
    question.extend([0; 8]);
    question.extend([0; 4]);
    question.extend(interface.to_ne_bytes());
    question.extend([0; 8]);
    socket.write_all(&question)?;
    // The answer is there when the question has been taken.
    let mut answer = vec![0u8; 64 << 10];
    let length = socket.read(&mut answer)?;
    read(&answer[..length])
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn read(message: &[u8]) -> Result<Link, Errno> {
    match half(message, 4) {
        Some(RTM_NEWLINK) => {}
        Some(NLMSG_ERROR) => {
            return Err(Errno(word(message, HEADER).map_or(libc::EIO, |code| (code as i32).wrapping_neg())));
        }
        _ => return Err(Errno(libc::EIO)),
    }
    let mut link = Link { program: None, generic: false, receive_queues: 1 };
    for (kind, value) in attributes(message.get(HEADER + LINK..).unwrap_or_default()) {
        match kind {
            IFLA_NUM_RX_QUEUES => link.receive_queues = word(value, 0).unwrap_or(1),
            IFLA_XDP => {
                for (kind, value) in attributes(value) {
                    let id = word(value, 0).filter(|id| *id != 0);
                    if matches!(kind, IFLA_XDP_PROG_ID | IFLA_XDP_DRV_PROG_ID | IFLA_XDP_SKB_PROG_ID) {
                        link.program = link.program.or(id);
                        link.generic |= kind == IFLA_XDP_SKB_PROG_ID && id.is_some();
                    }
                }
            }
            _ => {}
        }
    }
    Ok(link)
}

/// Attributes one behind the other: length, kind, value, and padding to four bytes.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(half(rest, 0)?);
        let (kind, value) = (half(rest, 2)? & KIND, rest.get(ATTRIBUTE..length)?);
        rest = rest.get(length.next_multiple_of(ATTRIBUTE)..).unwrap_or_default();
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((ATTRIBUTE + value.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(kind: u16, rest: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER + rest.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn the_program_and_the_queues_are_found_among_other_attributes() {
        let xdp = [attribute(2, &[1]), attribute(IFLA_XDP_PROG_ID, &77u32.to_ne_bytes())].concat();
        let rest = [
            vec![0; LINK],
            attribute(3, b"eth0\0"),
            attribute(IFLA_XDP | 0x8000, &xdp),
            attribute(IFLA_NUM_RX_QUEUES, &4u32.to_ne_bytes()),
        ];
        let read = read(&message(RTM_NEWLINK, &rest.concat())).unwrap();
        assert_eq!(read, Link { program: Some(77), generic: false, receive_queues: 4 });
        let generic = [vec![0; LINK], attribute(IFLA_XDP, &attribute(IFLA_XDP_SKB_PROG_ID, &[7, 0, 0, 0]))];
        let read = super::read(&message(RTM_NEWLINK, &generic.concat())).unwrap();
        assert_eq!(read, Link { program: Some(7), generic: true, receive_queues: 1 });
    }

    #[test]
    fn an_answer_that_is_cut_or_an_error_is_told_as_such() {
        let refused = message(NLMSG_ERROR, &(-libc::ENODEV).to_ne_bytes());
        assert_eq!(read(&refused), Err(Errno(libc::ENODEV)));
        assert_eq!(read(&refused[..3]), Err(Errno(libc::EIO)));
        let least = message(NLMSG_ERROR, &i32::MIN.to_ne_bytes());
        assert_eq!(read(&least), Err(Errno(i32::MIN)), "no overflow");
        let cut = message(RTM_NEWLINK, &[vec![0; LINK], vec![40, 0, 43, 0, 1]].concat());
        assert_eq!(read(&cut), Ok(Link { program: None, generic: false, receive_queues: 1 }));
    }
}
