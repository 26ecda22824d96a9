//! Frames into a capture file.
//!
//! Both formats are written little-endian, with times to the nanosecond, and record by record into one buffer: nothing
//! is allocated per frame.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::error::CaptureError;
use super::link_type::LinkType;
use super::reader::CapturedFrame;
use super::{MAX_FRAME, NANOS_PER_SECOND};

/// Bytes gathered before they are written.
const BUFFER: usize = 256 * 1024;

/// Of the capture formats, the one to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Classic pcap with the magic number of nanoseconds: one link type, no comments.
    Pcap,
    /// pcapng.
    PcapNg,
}

impl Format {
    /// The format that a file's extension asks for: pcapng by its name, classic by any other.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        match path.extension() {
            Some(extension) if extension.eq_ignore_ascii_case("pcapng") => Self::PcapNg,
            _ => Self::Pcap,
        }
    }
}

/// One frame to be written.
#[derive(Clone, Copy, Debug)]
pub struct CaptureRecord<'a> {
    /// The captured bytes; at most [`MAX_FRAME`].
    pub bytes: &'a [u8],
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    pub nanos: i64,
    /// Its length on the wire. Less than the bytes given is taken for their number.
    pub original_len: u32,
    /// What its first bytes are.
    pub link: LinkType,
    /// The interface that it was received on, which only pcapng names; cut as a comment is.
    pub interface: Option<&'a str>,
    /// A comment for people, which only pcapng keeps; cut to the 65535 bytes that fit.
    pub comment: Option<&'a str>,
}

impl<'a> From<&'a CapturedFrame> for CaptureRecord<'a> {
    fn from(frame: &'a CapturedFrame) -> Self {
        let CapturedFrame { bytes, nanos, original_len, link } = frame;
        Self {
            bytes,
            nanos: *nanos,
            original_len: *original_len,
            link: *link,
            interface: None,
            comment: None,
        }
    }
}

/// Writes a capture file. [`Self::finish`] it to hear of errors and to have a header in a file without packets.
pub struct CaptureWriter {
    path: PathBuf,
    out: BufWriter<Box<dyn Write + Send>>,
    layout: Layout,
    packets: u64,
}

/// What of the file's structure has been written.
enum Layout {
    /// The link type of the header, once it is there.
    Classic(Option<LinkType>),
    /// The interfaces described; the section header comes with the first.
    Blocks(Vec<Interface>),
}

/// pcapng times are unsigned: an interface has an offset for the times before 1970 if it has any of them.
struct Interface {
    name: Option<String>,
    link: LinkType,
    offset_seconds: i64,
}

impl Interface {
    fn of(record: &CaptureRecord<'_>) -> Self {
        let name = record.interface.map(|name| fitting(name).to_owned());
        Self { name, link: record.link, offset_seconds: offset_for(record.nanos) }
    }

    fn is_of(&self, record: &CaptureRecord<'_>) -> bool {
        self.link == record.link
            && self.offset_seconds == offset_for(record.nanos)
            && self.name.as_deref() == record.interface.map(fitting)
    }

    fn ticks(&self, nanos: i64) -> u64 {
        // At most 2^64 for the offset above and times before 1970; the wrapping sum of the two is exact.
        let offset = i128::from(self.offset_seconds) * i128::from(NANOS_PER_SECOND);
        (i128::from(nanos) - offset) as u64
    }
}

/// So far before 1970 that every i64 of nanoseconds is a positive distance from it.
fn offset_for(nanos: i64) -> i64 {
    if nanos < 0 { -9_223_372_037 } else { 0 }
}

impl CaptureWriter {
    /// Creates the file, or empties it. Its link type is that of the first frame.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path, format: Format) -> Result<Self, CaptureError> {
        match File::create(path) {
            Ok(file) => Ok(Self::to_writer(file, path, format)),
            Err(source) => Err(CaptureError::Create { path: path.to_owned(), source }),
        }
    }

    /// Writes a capture to elsewhere; `name` stands for the file in messages.
    pub fn to_writer(sink: impl Write + Send + 'static, name: impl Into<PathBuf>, format: Format) -> Self {
        Self {
            path: name.into(),
            out: BufWriter::with_capacity(BUFFER, Box::new(sink)),
            layout: match format {
                Format::Pcap => Layout::Classic(None),
                Format::PcapNg => Layout::Blocks(Vec::new()),
            },
            packets: 0,
        }
    }

    /// Writes one frame.
    ///
    /// # Errors
    /// The file cannot be written; the frame is longer than [`MAX_FRAME`]; or a classic file cannot hold its time or
    /// link type. The file is then as it was before the call, unless it could not be written.
    pub fn write(&mut self, record: &CaptureRecord<'_>) -> Result<(), CaptureError> {
        let packet = self.packets + 1;
        if record.bytes.len() > MAX_FRAME {
            return Err(CaptureError::FrameLength {
                path: self.path.clone(),
                packet,
                length: record.bytes.len(),
            });
        }
        let written = match &mut self.layout {
            Layout::Classic(link) => {
                let Some((seconds, nanos)) = classic_time(record.nanos) else {
                    return Err(CaptureError::Time { path: self.path.clone(), packet, nanos: record.nanos });
                };
                if let Some(first) = *link
                    && first != record.link
                {
                    let second = record.link;
                    return Err(CaptureError::SecondLinkType {
                        path: self.path.clone(),
                        packet,
                        first,
                        second,
                    });
                }
                classic_record(&mut self.out, link, [seconds, nanos], record)
            }
            Layout::Blocks(interfaces) => enhanced_packet(&mut self.out, interfaces, record),
        };
        self.packets = packet;
        written.map_err(|source| CaptureError::Write { path: self.path.clone(), source })
    }

    /// Packets written so far.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Hands on what is still in memory, so that whoever reads the capture meanwhile has it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn flush(&mut self) -> Result<(), CaptureError> {
        self.out.flush().map_err(|source| CaptureError::Write { path: self.path.clone(), source })
    }

    /// Writes what is still in memory. A capture without packets becomes a valid file of Ethernet.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self) -> Result<(), CaptureError> {
        let begun = match &mut self.layout {
            Layout::Classic(None) => classic_header(&mut self.out, LinkType::Ethernet),
            Layout::Blocks(interfaces) if interfaces.is_empty() => {
                let interface = Interface { name: None, link: LinkType::Ethernet, offset_seconds: 0 };
                describe(&mut self.out, interfaces, interface).map(drop)
            }
            _ => Ok(()),
        };
        let finished = begun.and_then(|()| self.out.flush());
        finished.map_err(|source| CaptureError::Write { path: self.path, source })
    }
}

/// Seconds since 1970 and nanoseconds, where 32 bits hold them.
fn classic_time(nanos: i64) -> Option<(u32, u32)> {
    let seconds = u32::try_from(nanos.div_euclid(NANOS_PER_SECOND)).ok()?;
    let rest = u32::try_from(nanos.rem_euclid(NANOS_PER_SECOND)).ok()?;
    Some((seconds, rest))
}

fn classic_header(out: &mut impl Write, link: LinkType) -> io::Result<()> {
    const NANOSECOND_MAGIC: u32 = 0xa1b2_3c4d;
    const VERSION_2_4: u32 = pair(2, 4);
    words(out, [NANOSECOND_MAGIC, VERSION_2_4, 0, 0, MAX_FRAME as u32, link.dlt().into()])
}

fn classic_record(
    out: &mut impl Write,
    link: &mut Option<LinkType>,
    [seconds, nanos]: [u32; 2],
    record: &CaptureRecord<'_>,
) -> io::Result<()> {
    if link.is_none() {
        classic_header(out, record.link)?;
        *link = Some(record.link);
    }
    let length = record.bytes.len() as u32;
    words(out, [seconds, nanos, length, record.original_len.max(length)])?;
    out.write_all(record.bytes)
}

/// Writes the section header, where it is missing, and describes an interface; its number comes back.
fn describe(out: &mut impl Write, interfaces: &mut Vec<Interface>, interface: Interface) -> io::Result<u32> {
    const SECTION_HEADER: u32 = 0x0a0d_0d0a;
    const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
    const VERSION_1_0: u32 = pair(1, 0);
    const UNKNOWN_LENGTH: u32 = u32::MAX;
    const INTERFACE_DESCRIPTION: u32 = 1;
    const IF_NAME: u16 = 2;
    const IF_TSRESOL: u32 = pair(9, 1);
    const NANOSECONDS: u32 = 9;
    const IF_TSOFFSET: u32 = pair(14, 8);
    const END_OF_OPTIONS: u32 = 0;
    if interfaces.is_empty() {
        let section = [SECTION_HEADER, 28, BYTE_ORDER_MAGIC, VERSION_1_0, UNKNOWN_LENGTH, UNKNOWN_LENGTH, 28];
        words(out, section)?;
    }
    let link = pair(interface.link.dlt(), 0);
    let name = interface.name.as_deref();
    let name_option = name.map_or(0, |name| 4 + (name.len() as u32).next_multiple_of(4));
    let offset_option = if interface.offset_seconds == 0 { 0 } else { 12 };
    let length = 32 + name_option + offset_option;
    words(out, [INTERFACE_DESCRIPTION, length, link, MAX_FRAME as u32])?;
    if let Some(name) = name {
        words(out, [pair(IF_NAME, name.len() as u16)])?;
        padded(out, name.as_bytes())?;
    }
    words(out, [IF_TSRESOL, NANOSECONDS])?;
    if interface.offset_seconds != 0 {
        let (low, high) = (interface.offset_seconds as u32, (interface.offset_seconds >> 32) as u32);
        words(out, [IF_TSOFFSET, low, high])?;
    }
    words(out, [END_OF_OPTIONS, length])?;
    interfaces.push(interface);
    Ok(interfaces.len() as u32 - 1)
}

fn enhanced_packet(
    out: &mut impl Write,
    interfaces: &mut Vec<Interface>,
    record: &CaptureRecord<'_>,
) -> io::Result<()> {
    const ENHANCED_PACKET: u32 = 6;
    const OPT_COMMENT: u16 = 1;
    let id = match interfaces.iter().position(|described| described.is_of(record)) {
        Some(position) => position as u32,
        None => describe(out, interfaces, Interface::of(record))?,
    };
    let ticks = interfaces[id as usize].ticks(record.nanos);
    let captured = record.bytes.len() as u32;
    let original = record.original_len.max(captured);
    let comment = record.comment.map(fitting);
    let options = comment.map_or(0, |comment| 4 + (comment.len() as u32).next_multiple_of(4) + 4);
    let length = 32 + captured.next_multiple_of(4) + options;
    words(out, [ENHANCED_PACKET, length, id, (ticks >> 32) as u32, ticks as u32, captured, original])?;
    padded(out, record.bytes)?;
    if let Some(comment) = comment {
        words(out, [pair(OPT_COMMENT, comment.len() as u16)])?;
        padded(out, comment.as_bytes())?;
        words(out, [0])?;
    }
    words(out, [length])
}

/// As much of a text as the 16-bit length of an option can tell.
fn fitting(comment: &str) -> &str {
    let mut end = comment.len().min(u16::MAX.into());
    while !comment.is_char_boundary(end) {
        end -= 1;
    }
    &comment[..end]
}

/// Two 16-bit fields as one word.
const fn pair(first: u16, second: u16) -> u32 {
    first as u32 | (second as u32) << 16
}

fn words<const N: usize>(out: &mut impl Write, words: [u32; N]) -> io::Result<()> {
    words.iter().try_for_each(|word| out.write_all(&word.to_le_bytes()))
}

/// Bytes, and zeros up to a multiple of four.
fn padded(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    out.write_all(bytes)?;
    out.write_all(&[0; 3][..bytes.len().next_multiple_of(4) - bytes.len()])
}
