//! Capture files: frames in from classic pcap and pcapng, frames out to either.
//!
//! [`CaptureReader`] tells the format by the magic number and reads both byte orders, micro- and nanoseconds, and
//! pcapng files of several sections and interfaces. It gives whole packets until the file ends: one that ends inside a
//! packet is read up to there and then [says so](CaptureReader::warning), while a length or number that cannot be right
//! is an error with its place, because what follows it could be anything. [`CaptureWriter`] keeps times to the
//! nanosecond.
//!
//! # Why `pcap-parser`
//!
//! Records and blocks are parsed by [`pcap_parser`]: zero-copy functions over a slice, lenient where real captures are
//! odd (packets longer than the snapshot length, or than their stated length on the wire), MIT or Apache-2.0, Rust 1.65.
//! Its readers are not used, only its parsers: here, `window` decides how much memory a length in a file may ask
//! for, and a file that ends early stays apart from one that is damaged. The alternative, `pcap-file`, also writes, but
//! its 2.0.0 takes every pcapng time for nanoseconds and refuses a packet longer on the wire than the snapshot length,
//! and its 3.0 is a release candidate that needs a newer compiler than this workspace and refuses more than it must.
//!
//! What `pcap-parser` 0.17 lacks is done in `blocks`: the obsolete packet block, binary time resolutions, time offsets
//! of big-endian sections. Its `serialize` feature allocates twice per packet, so `writer` lays out its few records
//! itself; the tests read them back with the parsers.

mod blocks;
mod classic;
mod driver;
mod error;
mod link_type;
mod reader;
#[cfg(test)]
mod tests;
mod window;
mod writer;

pub use driver::{PcapDriver, PcapPort, Rate, Share, merge, part_path, remove_parts};
pub use error::{CaptureError, Damage, Found};
pub use link_type::{LinkType, RefusedLinkType};
pub use reader::{CaptureReader, CapturedFrame, Truncation};
pub use writer::{CaptureRecord, CaptureWriter, Format};

/// The longest frame that is read or written, in bytes; the limit of libpcap and Wireshark.
pub const MAX_FRAME: usize = 262_144;

/// Interfaces that one pcapng section may describe.
const MAX_INTERFACES: usize = 65_536;

const NANOS_PER_SECOND: i64 = 1_000_000_000;
