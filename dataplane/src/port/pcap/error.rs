//! What can be wrong with a capture, where, and what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::link_type::{LinkType, RefusedLinkType};
use super::{MAX_FRAME, MAX_INTERFACES};

/// Why a capture cannot be read or written.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// The file cannot be opened.
    #[error("cannot open {}: {source}; check the path and the permission to read it", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The file cannot be created.
    #[error("cannot create {}: {source}; check that its folder exists and may be written", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Reading stopped with an error of the operating system.
    #[error("cannot read {} from byte {offset} on: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Where the record or block that was to be read begins.
        offset: u64,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Writing stopped with an error of the operating system.
    #[error("cannot write {}: {source}; check the free space of its file system", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{} is not a capture that can be read: {found}", path.display())]
    NotCapture {
        /// The file.
        path: PathBuf,
        /// What its first bytes say it is.
        found: Found,
    },
    /// A length or number in the file cannot be right.
    #[error(
        "{} is damaged at byte {offset} (whole packets before it: {packets}): {damage}; a repair tool such as pcapfix \
         may save the rest", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damaged record or block begins.
        offset: u64,
        /// Packets read before it.
        packets: u64,
        /// What is wrong with it.
        damage: Damage,
    },
    /// The frames are of a link type that the dataplane does not parse.
    #[error(
        "{}: frames of {link} are not supported; capture on an Ethernet or raw IP interface (packet {packet})",
        path.display()
    )]
    LinkType {
        /// The file.
        path: PathBuf,
        /// The link type.
        link: RefusedLinkType,
        /// The first packet of that link type, counted from 1.
        packet: u64,
    },
    /// A classic file has one link type, and it has been decided.
    #[error(
        "{}: packet {packet} is {second}, but the file began with {first} and a classic capture holds one link type; \
         name the file .pcapng to keep both", path.display()
    )]
    SecondLinkType {
        /// The file.
        path: PathBuf,
        /// The packet, counted from 1.
        packet: u64,
        /// The link type of the file.
        first: LinkType,
        /// The link type of the packet.
        second: LinkType,
    },
    /// A classic file has unsigned 32-bit seconds.
    #[error(
        "{}: the time of packet {packet} ({nanos} ns since 1970) is before 1970 or after 2106, which a classic capture \
         cannot hold; name the file .pcapng", path.display()
    )]
    Time {
        /// The file.
        path: PathBuf,
        /// The packet, counted from 1.
        packet: u64,
        /// Its time.
        nanos: i64,
    },
    /// Other programs refuse to read such a frame.
    #[error("{}: packet {packet} has {length} bytes, above the limit of {MAX_FRAME}", path.display())]
    FrameLength {
        /// The file.
        path: PathBuf,
        /// The packet, counted from 1.
        packet: u64,
        /// Its length in bytes.
        length: usize,
    },
}

/// What the first bytes of a file say it is, if no capture that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Found {
    /// Nothing in it.
    #[error("it is empty")]
    Empty,
    /// The magic of a capture, but not its whole header.
    #[error("it ends inside its file header")]
    Short,
    /// gzip.
    #[error("it is compressed; unpack it with gunzip first")]
    Gzip,
    /// Zstandard.
    #[error("it is compressed; unpack it with unzstd first")]
    Zstd,
    /// xz.
    #[error("it is compressed; unpack it with unxz first")]
    Xz,
    /// Another program's format, which Wireshark's editcap converts.
    #[error("it is in the format of {0}; convert it with `editcap -F pcapng`")]
    Foreign(&'static str),
    /// A classic capture of another version than 2.4 (the one in use since 1998).
    #[error("it is of pcap version {0}.{1}; convert it to 2.4 with `editcap -F pcap`")]
    Version(u16, u16),
    /// Anything else.
    #[error("it begins with {}", Hex(*.0))]
    Unknown([u8; 4]),
}

struct Hex([u8; 4]);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0;
        write!(f, "{a:02x} {b:02x} {c:02x} {d:02x}")
    }
}

/// A length or number in a capture file that cannot be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Damage {
    /// A packet longer than any that a network carries.
    #[error("a packet of {0} bytes, above the limit of {MAX_FRAME}")]
    FrameLength(usize),
    /// A record that the classic format does not know.
    #[error("a packet record that cannot be understood")]
    Record,
    /// A pcapng block length out of bounds.
    #[error("a block length of {0}, which should be a multiple of 4 from 12 to 16777216")]
    BlockLength(u32),
    /// The two lengths around a pcapng block differ.
    #[error("a block that begins with the length {first} and ends with the length {last}")]
    BlockLengths {
        /// The length before the block's body.
        first: u32,
        /// The length after it.
        last: u32,
    },
    /// A pcapng block too short for what it should contain.
    #[error("a block of type {0} whose fields do not fit into its length")]
    BlockFields(u32),
    /// The byte-order magic of a pcapng section is neither of the two.
    #[error("a section with the byte-order magic {0:#010x}")]
    ByteOrder(u32),
    /// A pcapng section of a version that is not 1.
    #[error("a section of pcapng version {0}.{1}, where only 1.0 is known")]
    Version(u16, u16),
    /// A pcapng packet of an interface that the section has not described.
    #[error("a packet of interface {id}, where {described} are described")]
    Interface {
        /// The interface's number, counted from 0.
        id: u32,
        /// Interfaces described so far in the section.
        described: usize,
    },
    /// A pcapng section with more interfaces than a machine has.
    #[error("more than {MAX_INTERFACES} interfaces in one section")]
    Interfaces,
}

/// What stops a reader, before the file and the place in it are added.
#[derive(Debug, Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Damage(#[from] Damage),
    #[error(transparent)]
    LinkType(#[from] RefusedLinkType),
}
