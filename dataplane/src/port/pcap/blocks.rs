//! pcapng: sections of blocks, each block with its length in front and behind (draft-ietf-opsawg-pcapng).
//!
//! Blocks are framed here, so that a parser sees one whole block and nothing else, and only those that bear on packets
//! are parsed: a damaged name-resolution block is no reason to refuse the traffic around it.

use pcap_parser::{
    InterfaceDescriptionBlock, OptionCode, PcapNGOption, parse_enhancedpacketblock_be,
    parse_enhancedpacketblock_le, parse_interfacedescriptionblock_be, parse_interfacedescriptionblock_le,
    parse_sectionheaderblock, parse_simplepacketblock_be, parse_simplepacketblock_le,
};

use super::error::{Damage, Fault};
use super::link_type::LinkType;
use super::reader::{CapturedFrame, Step};
use super::window::Window;
use super::{MAX_FRAME, MAX_INTERFACES, NANOS_PER_SECOND};

/// The longest block; libpcap has the same limit.
const MAX_BLOCK: u32 = 16 * 1024 * 1024;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
/// Obsolete since 2007, still in old captures; `pcap-parser` leaves it unparsed.
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// The order of the numbers in a section.
#[derive(Clone, Copy, Default)]
enum ByteOrder {
    #[default]
    Little,
    Big,
}

impl ByteOrder {
    /// From the byte-order magic of a section header.
    fn from_magic(magic: [u8; 4]) -> Result<Self, Damage> {
        match u32::from_be_bytes(magic) {
            0x4d3c_2b1a => Ok(Self::Little),
            0x1a2b_3c4d => Ok(Self::Big),
            other => Err(Damage::ByteOrder(other)),
        }
    }

    fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }

    fn i64(self, bytes: [u8; 8]) -> i64 {
        match self {
            Self::Little => i64::from_le_bytes(bytes),
            Self::Big => i64::from_be_bytes(bytes),
        }
    }
}

/// The section that is being read.
#[derive(Default)]
pub(super) struct Section {
    order: ByteOrder,
    interfaces: Vec<Interface>,
}

/// What a packet needs to know of the interface that it was captured on.
struct Interface {
    /// As in the file; refused with the first packet, not before: others may be readable.
    dlt: u32,
    /// The longest packet that was captured; 0 is no limit.
    snaplen: u32,
    clock: Clock,
}

impl Section {
    pub(super) fn next(&mut self, window: &mut Window, frame: &mut CapturedFrame) -> Result<Step, Fault> {
        loop {
            if !window.fill(1)? {
                return Ok(Step::End);
            }
            if !window.fill(12)? {
                return Ok(Step::Truncated);
            }
            let (kind, order, length) = self.block_head(window.bytes())?;
            if !window.fill(length as usize)? {
                return Ok(Step::Truncated);
            }
            let block = &window.bytes()[..length as usize];
            let last = block.last_chunk().map_or(0, |bytes| order.u32(*bytes));
            if last != length {
                return Err(Damage::BlockLengths { first: length, last }.into());
            }
            match kind {
                SECTION_HEADER => self.begin(block, order)?,
                INTERFACE_DESCRIPTION => self.describe_interface(block)?,
                ENHANCED_PACKET => self.enhanced_packet(block, frame)?,
                SIMPLE_PACKET => self.simple_packet(block, frame)?,
                PACKET => self.packet(block, frame)?,
                _ => {}
            }
            window.consume(length as usize);
            if matches!(kind, ENHANCED_PACKET | SIMPLE_PACKET | PACKET) {
                return Ok(Step::Frame);
            }
        }
    }

    /// Type, byte order and whole length of the block that begins with these twelve bytes or more.
    fn block_head(&self, bytes: &[u8]) -> Result<(u32, ByteOrder, u32), Damage> {
        let fields = Fields { bytes, order: self.order, kind: 0 };
        // The type of a section header reads the same in both orders; its own order stands behind its length.
        let kind = fields.u32(0)?;
        let order = match kind {
            SECTION_HEADER => ByteOrder::from_magic(fields.take(8)?)?,
            _ => self.order,
        };
        let length = Fields { order, ..fields }.u32(4)?;
        if length % 4 != 0 || !(12..=MAX_BLOCK).contains(&length) {
            return Err(Damage::BlockLength(length));
        }
        Ok((kind, order, length))
    }

    fn begin(&mut self, block: &[u8], order: ByteOrder) -> Result<(), Damage> {
        let (_, header) = parse_sectionheaderblock(block).map_err(|_| Damage::BlockFields(SECTION_HEADER))?;
        if header.major_version != 1 {
            return Err(Damage::Version(header.major_version, header.minor_version));
        }
        self.order = order;
        self.interfaces.clear();
        Ok(())
    }

    fn describe_interface(&mut self, block: &[u8]) -> Result<(), Damage> {
        if self.interfaces.len() == MAX_INTERFACES {
            return Err(Damage::Interfaces);
        }
        let parse = match self.order {
            ByteOrder::Little => parse_interfacedescriptionblock_le,
            ByteOrder::Big => parse_interfacedescriptionblock_be,
        };
        let (_, description) = parse(block).map_err(|_| Damage::BlockFields(INTERFACE_DESCRIPTION))?;
        self.interfaces.push(Interface {
            dlt: description.linktype.0.cast_unsigned(),
            snaplen: description.snaplen,
            clock: Clock::of(&description, self.order),
        });
        Ok(())
    }

    fn interface(&self, id: u32) -> Result<&Interface, Damage> {
        self.interfaces.get(id as usize).ok_or(Damage::Interface { id, described: self.interfaces.len() })
    }

    fn enhanced_packet(&self, block: &[u8], frame: &mut CapturedFrame) -> Result<(), Fault> {
        let parse = match self.order {
            ByteOrder::Little => parse_enhancedpacketblock_le,
            ByteOrder::Big => parse_enhancedpacketblock_be,
        };
        let (_, packet) = parse(block).map_err(|_| Damage::BlockFields(ENHANCED_PACKET))?;
        // The parser has made sure that the data are there, padding included.
        let bytes = &packet.data[..packet.caplen as usize];
        let interface = self.interface(packet.if_id)?;
        let nanos = interface.clock.nanos(packet.ts_high, packet.ts_low);
        interface.give(frame, bytes, nanos, packet.origlen)
    }

    /// Has neither interface (it is the first) nor time (0 is given) nor captured length.
    fn simple_packet(&self, block: &[u8], frame: &mut CapturedFrame) -> Result<(), Fault> {
        let parse = match self.order {
            ByteOrder::Little => parse_simplepacketblock_le,
            ByteOrder::Big => parse_simplepacketblock_be,
        };
        let (_, packet) = parse(block).map_err(|_| Damage::BlockFields(SIMPLE_PACKET))?;
        let interface = self.interface(0)?;
        let length = match interface.snaplen {
            0 => packet.origlen,
            limit => packet.origlen.min(limit),
        };
        let bytes = packet.data.get(..length as usize).ok_or(Damage::BlockFields(SIMPLE_PACKET))?;
        interface.give(frame, bytes, 0, packet.origlen)
    }

    fn packet(&self, block: &[u8], frame: &mut CapturedFrame) -> Result<(), Fault> {
        let fields = Fields { bytes: &block[..block.len() - 4], order: self.order, kind: PACKET };
        let interface = self.interface(fields.u16(8)?.into())?;
        let nanos = interface.clock.nanos(fields.u32(12)?, fields.u32(16)?);
        let length = fields.u32(20)? as usize;
        let original_len = fields.u32(24)?;
        let bytes = fields.bytes[28..].get(..length).ok_or(Damage::BlockFields(PACKET))?;
        interface.give(frame, bytes, nanos, original_len)
    }
}

impl Interface {
    fn give(
        &self,
        frame: &mut CapturedFrame,
        bytes: &[u8],
        nanos: i64,
        original_len: u32,
    ) -> Result<(), Fault> {
        if bytes.len() > MAX_FRAME {
            return Err(Damage::FrameLength(bytes.len()).into());
        }
        frame.link = LinkType::from_dlt(self.dlt)?;
        frame.nanos = nanos;
        frame.original_len = original_len;
        frame.set_bytes(bytes);
        Ok(())
    }
}

/// Numbers at fixed places of a block.
struct Fields<'a> {
    bytes: &'a [u8],
    order: ByteOrder,
    kind: u32,
}

impl Fields<'_> {
    fn take<const N: usize>(&self, at: usize) -> Result<[u8; N], Damage> {
        self.bytes.get(at..).and_then(<[u8]>::first_chunk).copied().ok_or(Damage::BlockFields(self.kind))
    }

    fn u16(&self, at: usize) -> Result<u16, Damage> {
        Ok(self.order.u16(self.take(at)?))
    }

    fn u32(&self, at: usize) -> Result<u32, Damage> {
        Ok(self.order.u32(self.take(at)?))
    }
}

/// How an interface counts time.
///
/// `pcap-parser` 0.17 converts neither binary resolutions nor offsets of big-endian sections (its issue 62), and to 32
/// bits of seconds only; hence the option values are taken raw.
struct Clock {
    tick: Tick,
    offset_seconds: i64,
}

/// How long a tick is: option `if_tsresol`.
#[derive(Debug, PartialEq)]
enum Tick {
    /// This many nanoseconds.
    Nanos(i128),
    /// A nanosecond divided by this.
    NanosDividedBy(i128),
    /// A second divided by two this many times.
    SecondHalved(u32),
}

impl Tick {
    fn from_option(value: u8) -> Self {
        match value {
            0..=9 => Self::Nanos(10_i128.pow(9 - u32::from(value))),
            // Beyond 10^-38 s: no tick count reaches a nanosecond.
            10..=0x7f => Self::NanosDividedBy(10_i128.checked_pow(u32::from(value) - 9).unwrap_or(i128::MAX)),
            0x80.. => Self::SecondHalved(u32::from(value & 0x7f)),
        }
    }
}

impl Clock {
    fn of(description: &InterfaceDescriptionBlock<'_>, order: ByteOrder) -> Self {
        let resolution = option(&description.options, OptionCode::IfTsresol).and_then(|value| value.first());
        let offset =
            option(&description.options, OptionCode::IfTsoffset).and_then(|value| value.first_chunk());
        Self {
            // Microseconds, where the option is absent.
            tick: Tick::from_option(resolution.copied().unwrap_or(6)),
            offset_seconds: offset.map_or(0, |bytes| order.i64(*bytes)),
        }
    }

    /// Nanoseconds since 1970 of a 64-bit time stamp, clamped to what an `i64` holds.
    fn nanos(&self, high: u32, low: u32) -> i64 {
        let ticks = i128::from(u64::from(high) << 32 | u64::from(low));
        let second = i128::from(NANOS_PER_SECOND);
        let nanos = match self.tick {
            Tick::Nanos(nanos) => ticks * nanos,
            Tick::NanosDividedBy(parts) => ticks / parts,
            Tick::SecondHalved(times) => (ticks * second) >> times,
        } + i128::from(self.offset_seconds) * second;
        i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
    }
}

/// The value of an option. What stands behind the end of the options is none.
fn option<'a>(options: &'a [PcapNGOption<'_>], code: OptionCode) -> Option<&'a [u8]> {
    options
        .iter()
        .take_while(|option| option.code != OptionCode::EndOfOpt)
        .find(|option| option.code == code)
        .and_then(|option| option.as_bytes().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(resolution: u8, offset_seconds: i64, ticks: u64) -> i64 {
        let clock = Clock { tick: Tick::from_option(resolution), offset_seconds };
        clock.nanos((ticks >> 32) as u32, ticks as u32)
    }

    #[test]
    fn decimal_ticks_become_nanoseconds() {
        assert_eq!(nanos(0, 0, 3), 3_000_000_000);
        assert_eq!(nanos(3, 0, 1_500), 1_500_000_000);
        assert_eq!(nanos(6, 0, 1_129_561_200_123_456), 1_129_561_200_123_456_000);
        assert_eq!(nanos(9, 0, 1_129_561_200_123_456_789), 1_129_561_200_123_456_789);
        assert_eq!(nanos(12, 0, 1_999), 1);
        assert_eq!(nanos(127, 0, u64::MAX), 0);
    }

    #[test]
    fn binary_ticks_become_nanoseconds() {
        assert_eq!(nanos(0x80, 0, 2), 2_000_000_000);
        assert_eq!(nanos(0x81, 0, 3), 1_500_000_000);
        assert_eq!(nanos(0xa0, 0, 5 << 32 | 1 << 31), 5_500_000_000);
        assert_eq!(nanos(0xff, 0, u64::MAX), 0);
    }

    #[test]
    fn an_offset_moves_the_time_either_way() {
        assert_eq!(nanos(6, 1_000_000_000, 1), 1_000_000_000_000_001_000);
        assert_eq!(nanos(6, -2, 1), -1_999_999_000);
    }

    #[test]
    fn times_beyond_the_range_are_clamped() {
        assert_eq!(nanos(9, 0, u64::MAX), i64::MAX);
        assert_eq!(nanos(0, i64::MAX, u64::MAX), i64::MAX);
        assert_eq!(nanos(127, i64::MIN, 0), i64::MIN);
    }
}
