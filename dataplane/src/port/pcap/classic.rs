//! Classic pcap: one header, then records (draft-ietf-opsawg-pcap).

use pcap_parser::nom::{Err, IResult, Needed};
use pcap_parser::{
    LegacyPcapBlock, PcapError, PcapHeader, parse_pcap_frame, parse_pcap_frame_be, parse_pcap_frame_modified,
};

use super::error::{Damage, Fault};
use super::link_type::{LinkType, RefusedLinkType};
use super::reader::{CapturedFrame, Step};
use super::window::Window;
use super::{MAX_FRAME, NANOS_PER_SECOND};

/// The bits of the header's link-type field that are the link type; above them stands the length of a frame check
/// sequence, which frames may keep at their end (the IP length bounds what is parsed).
const LINK_TYPE_BITS: u32 = 0x03ff_ffff;

type RecordParser = fn(&[u8]) -> IResult<&[u8], LegacyPcapBlock<'_>, PcapError<&[u8]>>;

/// How the records of one file are laid out.
pub(super) struct Classic {
    parse: RecordParser,
    header_bytes: usize,
    nanos_per_fraction: i64,
    link: LinkType,
}

impl Classic {
    pub(super) fn new(header: &PcapHeader) -> Result<Self, RefusedLinkType> {
        let (parse, header_bytes): (RecordParser, usize) = if header.is_modified_format() {
            (parse_pcap_frame_modified, 24)
        } else if header.is_bigendian() {
            (parse_pcap_frame_be, 16)
        } else {
            (parse_pcap_frame, 16)
        };
        Ok(Self {
            parse,
            header_bytes,
            nanos_per_fraction: if header.is_nanosecond_precision() { 1 } else { 1_000 },
            link: LinkType::from_dlt(header.network.0.cast_unsigned() & LINK_TYPE_BITS)?,
        })
    }

    pub(super) fn next(&self, window: &mut Window, frame: &mut CapturedFrame) -> Result<Step, Fault> {
        if !window.fill(1)? {
            return Ok(Step::End);
        }
        loop {
            let present = window.bytes().len();
            match (self.parse)(window.bytes()) {
                Ok((rest, record)) => {
                    if record.data.len() > MAX_FRAME {
                        return Err(Damage::FrameLength(record.data.len()).into());
                    }
                    frame.link = self.link;
                    frame.original_len = record.origlen;
                    // At most 2^32 s and 2^32 µs: the sum fits. The fraction may carry, as in libpcap.
                    frame.nanos = i64::from(record.ts_sec) * NANOS_PER_SECOND
                        + i64::from(record.ts_usec) * self.nanos_per_fraction;
                    frame.set_bytes(record.data);
                    let taken = present - rest.len();
                    window.consume(taken);
                    return Ok(Step::Frame);
                }
                Err(Err::Incomplete(Needed::Size(missing))) => {
                    let want = present.saturating_add(missing.get());
                    if want > self.header_bytes + MAX_FRAME {
                        return Err(Damage::FrameLength(want - self.header_bytes).into());
                    }
                    if !window.fill(want)? {
                        return Ok(Step::Truncated);
                    }
                }
                Err(_) => return Err(Damage::Record.into()),
            }
        }
    }
}
