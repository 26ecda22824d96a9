//! Frames out of a capture file, one after the other.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use pcap_parser::parse_pcap_header;

use super::blocks::Section;
use super::classic::Classic;
use super::error::{CaptureError, Fault, Found};
use super::link_type::LinkType;
use super::window::Window;

/// One frame of a capture. Made once and given to every [`CaptureReader::next`], it keeps its buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapturedFrame {
    /// The captured bytes.
    pub bytes: Vec<u8>,
    /// When it was captured: nanoseconds since 1970-01-01T00:00:00Z. 0 where the file gives no time (simple packet
    /// blocks); times before 1677 and after 2262 are clamped to the range of the type.
    pub nanos: i64,
    /// Its length on the wire, as the file has it (a lying file may say less than was captured).
    pub original_len: u32,
    /// What its first bytes are.
    pub link: LinkType,
}

impl CapturedFrame {
    pub(super) fn set_bytes(&mut self, bytes: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
    }
}

/// How far one step through a file has come.
pub(super) enum Step {
    Frame,
    End,
    Truncated,
}

/// A file that ends inside its last packet or block, as one does whose capture was killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncation {
    /// The file.
    pub path: PathBuf,
    /// Whole packets before its end.
    pub packets: u64,
    /// Where the packet or block that is not whole begins.
    pub offset: u64,
}

impl fmt::Display for Truncation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, packets, offset } = self;
        write!(
            f,
            "{} ends inside the record that begins at byte {offset} (whole packets before it: {packets})",
            path.display()
        )
    }
}

/// Reads a capture file of either format from its beginning to its end.
pub struct CaptureReader {
    path: PathBuf,
    window: Window,
    layout: Layout,
    packets: u64,
    ended: bool,
    truncation: Option<Truncation>,
}

enum Layout {
    Classic(Classic),
    Blocks(Section),
}

impl CaptureReader {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// The file cannot be read, is no capture, or its link type is refused (in a pcapng file this comes with the first
    /// packet of that link type).
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        match File::open(path) {
            Ok(file) => Self::new(Box::new(file), path.to_owned()),
            Err(source) => Err(CaptureError::Open { path: path.to_owned(), source }),
        }
    }

    /// Reads a capture from elsewhere; `name` stands for the file in messages.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_reader(
        source: impl Read + Send + 'static,
        name: impl Into<PathBuf>,
    ) -> Result<Self, CaptureError> {
        Self::new(Box::new(source), name.into())
    }

    fn new(source: Box<dyn Read + Send>, path: PathBuf) -> Result<Self, CaptureError> {
        let mut window = Window::new(source);
        let layout = match Layout::read(&mut window) {
            Ok(layout) => layout,
            Err(Refusal::Found(found)) => return Err(CaptureError::NotCapture { path, found }),
            Err(Refusal::Fault(fault)) => return Err(in_context(fault, path, 0, 0)),
        };
        Ok(Self { path, window, layout, packets: 0, ended: false, truncation: None })
    }

    /// Reads the next frame into `frame`. False at the end of the file, and again after it or after an error; `frame`
    /// is then as it was.
    ///
    /// # Errors
    /// The file cannot be read on, or is damaged, or a frame has a link type that is refused. The frames given before
    /// are whole and right.
    pub fn next(&mut self, frame: &mut CapturedFrame) -> Result<bool, CaptureError> {
        if self.ended {
            return Ok(false);
        }
        let step = match &mut self.layout {
            Layout::Classic(classic) => classic.next(&mut self.window, frame),
            Layout::Blocks(section) => section.next(&mut self.window, frame),
        };
        if let Ok(Step::Frame) = step {
            self.packets += 1;
            return Ok(true);
        }
        self.ended = true;
        let offset = self.window.offset();
        match step {
            Ok(Step::Truncated) => {
                self.truncation = Some(Truncation { path: self.path.clone(), packets: self.packets, offset });
                Ok(false)
            }
            Ok(_) => Ok(false),
            Err(fault) => Err(in_context(fault, self.path.clone(), offset, self.packets)),
        }
    }

    /// Bytes of memory held.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.window.memory()
    }

    /// Packets read so far.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Whether the file turned out to end inside its last packet; known once [`Self::next`] has said false.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.truncation.is_some()
    }

    /// What to tell about a file that has been read to its end, if there is something.
    #[must_use]
    pub fn warning(&self) -> Option<&Truncation> {
        self.truncation.as_ref()
    }
}

enum Refusal {
    Found(Found),
    Fault(Fault),
}

impl<F: Into<Fault>> From<F> for Refusal {
    fn from(fault: F) -> Self {
        Self::Fault(fault.into())
    }
}

impl Layout {
    /// Tells the format by the magic number and reads the header.
    fn read(window: &mut Window) -> Result<Self, Refusal> {
        let whole = window.fill(24)?;
        let Some(magic) = window.bytes().first_chunk().copied() else {
            return Err(Refusal::Found(if window.bytes().is_empty() { Found::Empty } else { Found::Short }));
        };
        if magic == [0x0a, 0x0d, 0x0d, 0x0a] {
            if !whole {
                return Err(Refusal::Found(Found::Short));
            }
            // The section header stays: it is the first block that the section reads.
            return Ok(Self::Blocks(Section::default()));
        }
        match parse_pcap_header(window.bytes()) {
            Ok((_, header)) => {
                if (header.version_major, header.version_minor) != (2, 4) {
                    return Err(Refusal::Found(Found::Version(header.version_major, header.version_minor)));
                }
                let classic = Classic::new(&header)?;
                window.consume(header.size());
                Ok(Self::Classic(classic))
            }
            Err(error) if error.is_incomplete() => Err(Refusal::Found(Found::Short)),
            Err(_) => Err(Refusal::Found(by_magic(magic))),
        }
    }
}

/// What a file is that begins with these bytes, if not a capture that can be read.
fn by_magic(magic: [u8; 4]) -> Found {
    match magic {
        [0x1f, 0x8b, ..] => Found::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd] => Found::Zstd,
        [0xfd, b'7', b'z', b'X'] => Found::Xz,
        [b's', b'n', b'o', b'o'] => Found::Foreign("Solaris snoop"),
        [b'G', b'M', b'B', b'U'] => Found::Foreign("Microsoft Network Monitor"),
        [b'R', b'T', b'S', b'S'] => Found::Foreign("Microsoft Network Monitor 1"),
        [0xa1, 0xb2, 0xcd, 0x34] => Found::Foreign("a patched libpcap of 1999, big-endian"),
        other => Found::Unknown(other),
    }
}

fn in_context(fault: Fault, path: PathBuf, offset: u64, packets: u64) -> CaptureError {
    match fault {
        Fault::Io(source) => CaptureError::Read { path, offset, source },
        Fault::Damage(damage) => CaptureError::Damaged { path, offset, packets, damage },
        Fault::LinkType(link) => CaptureError::LinkType { path, link, packet: packets + 1 },
    }
}
