//! Captures, read and written by hand so that no bug of the product's reader can hide in the tests: classic
//! pcap (micro- and nanoseconds, both byte orders) and pcapng in, classic pcap with microseconds out.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::twin::Micros;

/// LINKTYPE_ETHERNET.
pub const ETHERNET: u32 = 1;

/// A captured frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// When it was captured.
    pub at: Micros,
    /// The link type (LINKTYPE_…) of the interface.
    pub link: u32,
    /// The bytes in the file.
    pub bytes: Vec<u8>,
}

/// What a capture file holds.
#[derive(Clone, Debug, Default)]
pub struct Capture {
    /// Its whole frames.
    pub frames: Vec<Frame>,
    /// Whether the file ends inside a frame.
    pub cut: bool,
}

/// Reads a file, unpacked if its name ends in `.gz`.
pub fn unpacked(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = File::open(path)?;
    if path.extension().is_some_and(|e| e == "gz") {
        MultiGzDecoder::new(file).read_to_end(&mut bytes)?;
    } else {
        file.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Writes a classic capture with microseconds.
pub fn write<'a>(
    path: &Path,
    link: u32,
    frames: impl IntoIterator<Item = (Micros, &'a [u8])>,
) -> io::Result<()> {
    let mut out = io::BufWriter::new(File::create(path)?);
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, link] {
        out.write_all(&u32::to_le_bytes(word))?;
    }
    for (at, bytes) in frames {
        let seconds =
            u32::try_from(at.div_euclid(1_000_000)).expect("seconds that a classic capture can hold");
        let micros = u32::try_from(at.rem_euclid(1_000_000)).expect("less than a million");
        let length = u32::try_from(bytes.len()).expect("a frame's length");
        for word in [seconds, micros, length, length] {
            out.write_all(&word.to_le_bytes())?;
        }
        out.write_all(bytes)?;
    }
    out.flush()
}

/// Reads a capture; `None` if it is none of the formats above.
pub fn read(bytes: &[u8]) -> Option<Capture> {
    let big = |b: &[u8]| u32::from_be_bytes(b.try_into().expect("four bytes"));
    match big(bytes.get(..4)?) {
        0xa1b2_c3d4 => classic(bytes, Order::Big, 1),
        0xd4c3_b2a1 => classic(bytes, Order::Little, 1),
        0xa1b2_3c4d => classic(bytes, Order::Big, 1000),
        0x4d3c_b2a1 => classic(bytes, Order::Little, 1000),
        0x0a0d_0d0a => next_generation(bytes),
        _ => None,
    }
}

#[derive(Clone, Copy)]
enum Order {
    Big,
    Little,
}

impl Order {
    fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let field = bytes.get(at..at + 2)?.try_into().expect("two bytes");
        Some(match self {
            Self::Big => u16::from_be_bytes(field),
            Self::Little => u16::from_le_bytes(field),
        })
    }

    fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let field = bytes.get(at..at + 4)?.try_into().expect("four bytes");
        Some(match self {
            Self::Big => u32::from_be_bytes(field),
            Self::Little => u32::from_le_bytes(field),
        })
    }

    fn size(self, bytes: &[u8], at: usize) -> Option<usize> {
        self.u32(bytes, at).and_then(|n| usize::try_from(n).ok())
    }
}

/// `fractions`: how many of the file's units of time make a microsecond.
fn classic(bytes: &[u8], order: Order, fractions: u32) -> Option<Capture> {
    let link = order.u32(bytes, 20)? & 0x03ff_ffff;
    let mut capture = Capture::default();
    let mut at = 24;
    while at < bytes.len() {
        let frame = order.size(bytes, at + 8).and_then(|length| bytes.get(at + 16..at + 16 + length));
        let Some(frame) = frame else {
            capture.cut = true;
            break;
        };
        let seconds = Micros::from(order.u32(bytes, at)?);
        let micros = Micros::from(order.u32(bytes, at + 4)? / fractions);
        capture.frames.push(Frame { at: seconds * 1_000_000 + micros, link, bytes: frame.to_vec() });
        at += 16 + frame.len();
    }
    Some(capture)
}

/// An interface of a pcapng section.
struct Interface {
    link: u32,
    snap: usize,
    /// Units of time in a second.
    resolution: u128,
}

fn next_generation(bytes: &[u8]) -> Option<Capture> {
    const SECTION: u32 = 0x0a0d_0d0a;
    let mut capture = Capture::default();
    let mut order = Order::Little;
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if order.u32(bytes, at) == Some(SECTION) {
            order = match bytes.get(at + 8..at + 12)? {
                [0x1a, 0x2b, 0x3c, 0x4d] => Order::Big,
                [0x4d, 0x3c, 0x2b, 0x1a] => Order::Little,
                _ => return None,
            };
            interfaces.clear();
        }
        let length = order.size(bytes, at + 4).filter(|length| *length >= 12);
        let Some(block) = length.and_then(|length| bytes.get(at..at + length)) else {
            capture.cut = true;
            break;
        };
        match order.u32(block, 0)? {
            1 => interfaces.push(interface(block, order)?),
            // Simple packet.
            3 => {
                let interface = interfaces.first()?;
                let length = order.size(block, 8)?.min(interface.snap).min(block.len() - 16);
                let bytes = block[12..12 + length].to_vec();
                capture.frames.push(Frame { at: 0, link: interface.link, bytes });
            }
            // Enhanced packet, and the packet block before it.
            kind @ (2 | 6) => {
                let index = if kind == 6 { order.size(block, 8)? } else { usize::from(order.u16(block, 8)?) };
                let interface = interfaces.get(index)?;
                let units = u128::from(order.u32(block, 12)?) << 32 | u128::from(order.u32(block, 16)?);
                let micros = units * 1_000_000 / interface.resolution;
                let length = order.size(block, 20)?;
                let bytes = block.get(28..28 + length)?.to_vec();
                capture.frames.push(Frame {
                    at: Micros::try_from(micros).ok()?,
                    link: interface.link,
                    bytes,
                });
            }
            _ => {}
        }
        at += block.len();
    }
    Some(capture)
}

fn interface(block: &[u8], order: Order) -> Option<Interface> {
    let snap = order.size(block, 12)?;
    let mut interface = Interface {
        link: u32::from(order.u16(block, 8)?),
        snap: if snap == 0 { usize::MAX } else { snap },
        resolution: 1_000_000,
    };
    let mut at = 16;
    while let (Some(code), Some(length)) = (order.u16(block, at), order.u16(block, at + 2)) {
        if code == 0 {
            break;
        }
        // if_tsresol: a power of ten, or of two if the highest bit is set.
        if code == 9 {
            let exponent = *block.get(at + 4)?;
            let base: u128 = if exponent & 0x80 == 0 { 10 } else { 2 };
            interface.resolution = base.checked_pow(u32::from(exponent & 0x7f))?;
        }
        at += 4 + usize::from(length).next_multiple_of(4);
    }
    Some(interface)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_that_was_written_is_read_again() {
        let path = std::env::temp_dir().join(format!("sekisho-capture-{}.pcap", std::process::id()));
        let frames =
            [(1_150_340_400_000_001, vec![1, 2, 3]), (1_150_340_401_999_999, vec![]), (0, vec![9; 70])];
        write(&path, ETHERNET, frames.iter().map(|(at, bytes)| (*at, bytes.as_slice()))).unwrap();
        let capture = read(&unpacked(&path).unwrap()).unwrap();
        std::fs::remove_file(&path).unwrap();
        let got: Vec<_> = capture.frames.into_iter().map(|f| (f.at, f.bytes)).collect();
        assert_eq!(got, frames);
        assert!(!capture.cut);
    }

    #[test]
    fn a_capture_that_ends_inside_a_frame_gives_the_whole_ones() {
        let mut bytes = Vec::new();
        for word in [0xa1b2_3c4d_u32, 0x0002_0004, 0, 0, 65535, 101, 7, 5000, 2, 2] {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        bytes.extend_from_slice(&[0x45, 0]);
        for word in [8_u32, 0, 20, 20] {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        let capture = read(&bytes).unwrap();
        assert_eq!(capture.frames, [Frame { at: 7_000_005, link: 101, bytes: vec![0x45, 0] }]);
        assert!(capture.cut);
    }
}
