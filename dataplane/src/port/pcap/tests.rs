//! Reader and writer against captures made byte by byte, and against each other.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use pcap_parser::{Block, OptionCode, parse_block_le};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

/// A capture in the making, in either byte order.
#[derive(Clone)]
struct Bytes {
    order: Order,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    Little,
    Big,
}

const ORDERS: [Order; 2] = [Order::Little, Order::Big];

const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;

impl Bytes {
    fn new(order: Order) -> Self {
        Self { order, bytes: Vec::new() }
    }

    fn u16(mut self, value: u16) -> Self {
        self.bytes.extend(match self.order {
            Order::Little => value.to_le_bytes(),
            Order::Big => value.to_be_bytes(),
        });
        self
    }

    fn u32(mut self, value: u32) -> Self {
        self.bytes.extend(match self.order {
            Order::Little => value.to_le_bytes(),
            Order::Big => value.to_be_bytes(),
        });
        self
    }

    fn i64(mut self, value: i64) -> Self {
        self.bytes.extend(match self.order {
            Order::Little => value.to_le_bytes(),
            Order::Big => value.to_be_bytes(),
        });
        self
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn padded(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// The header of a classic file with a snapshot length of 0.
    fn classic(order: Order, magic: u32, link_type: u32) -> Self {
        Self::new(order).u32(magic).u16(2).u16(4).u32(0).u32(0).u32(0).u32(link_type)
    }

    fn record(self, seconds: u32, fraction: u32, frame: &[u8], original_len: u32) -> Self {
        self.u32(seconds).u32(fraction).u32(frame.len() as u32).u32(original_len).raw(frame)
    }

    fn block(mut self, kind: u32, body: impl FnOnce(Self) -> Self) -> Self {
        let body = body(Self::new(self.order)).bytes;
        let length = body.len() as u32 + 12;
        self = self.u32(kind).u32(length).raw(&body).u32(length);
        self
    }

    fn option(self, code: u16, value: &[u8]) -> Self {
        self.u16(code).u16(value.len() as u16).padded(value)
    }

    fn section(self) -> Self {
        self.block(0x0a0d_0d0a, |b| {
            b.u32(0x1a2b_3c4d).u16(1).u16(0).i64(-1).option(1, b"a section").option(0, b"")
        })
    }

    fn interface(self, link_type: u16, snaplen: u32, options: impl FnOnce(Self) -> Self) -> Self {
        self.block(1, |b| options(b.u16(link_type).u16(0).u32(snaplen)))
    }

    fn enhanced(self, interface: u32, ticks: u64, frame: &[u8], original_len: u32) -> Self {
        self.block(6, |b| {
            let b = b.u32(interface).u32((ticks >> 32) as u32).u32(ticks as u32);
            b.u32(frame.len() as u32).u32(original_len).padded(frame)
        })
    }

    fn simple(self, frame: &[u8], original_len: u32) -> Self {
        self.block(3, |b| b.u32(original_len).padded(frame))
    }

    fn obsolete(self, interface: u16, ticks: u64, frame: &[u8], original_len: u32) -> Self {
        self.block(2, |b| {
            let b = b.u16(interface).u16(0xffff).u32((ticks >> 32) as u32).u32(ticks as u32);
            b.u32(frame.len() as u32).u32(original_len).padded(frame).option(1, b"lost some").option(0, b"")
        })
    }
}

/// A source that gives one byte a read and is interrupted in between.
struct Trickle {
    bytes: Vec<u8>,
    reads: usize,
}

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reads;
        self.reads += 1;
        match self.bytes.get(read / 2) {
            _ if read % 2 == 1 => Err(io::ErrorKind::Interrupted.into()),
            None => Ok(0),
            Some(byte) => {
                buffer[0] = *byte;
                Ok(1)
            }
        }
    }
}

/// A sink that can be looked into.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open(bytes: Vec<u8>) -> Result<CaptureReader, CaptureError> {
    CaptureReader::from_reader(io::Cursor::new(bytes), "given")
}

/// All frames, and the reader at its end.
fn read(bytes: Vec<u8>) -> Result<(Vec<CapturedFrame>, CaptureReader), CaptureError> {
    drain(open(bytes)?)
}

fn drain(mut reader: CaptureReader) -> Result<(Vec<CapturedFrame>, CaptureReader), CaptureError> {
    let (mut frames, mut frame) = (Vec::new(), CapturedFrame::default());
    while reader.next(&mut frame)? {
        frames.push(frame.clone());
    }
    Ok((frames, reader))
}

fn error(bytes: Vec<u8>) -> CaptureError {
    read(bytes).err().expect("the capture should be refused")
}

fn damage(bytes: Vec<u8>) -> (u64, u64, Damage) {
    match error(bytes) {
        CaptureError::Damaged { offset, packets, damage, .. } => (offset, packets, damage),
        other => panic!("{other}"),
    }
}

fn frame(bytes: &[u8], nanos: i64, original_len: u32, link: LinkType) -> CapturedFrame {
    CapturedFrame { bytes: bytes.to_vec(), nanos, original_len, link }
}

fn write(format: Format, frames: &[CapturedFrame]) -> Vec<u8> {
    let sink = Shared::default();
    let mut writer = CaptureWriter::to_writer(sink.clone(), "made", format);
    for frame in frames {
        writer.write(&frame.into()).unwrap();
    }
    writer.finish().unwrap();
    sink.bytes()
}

#[test]
fn classic_captures_are_read_in_both_byte_orders_and_resolutions() {
    for order in ORDERS {
        for (magic, nanos) in
            [(MICROSECONDS, 1_129_561_200_000_007_000), (NANOSECONDS, 1_129_561_200_000_000_007)]
        {
            let capture = Bytes::classic(order, magic, 1).record(1_129_561_200, 7, b"first", 5).record(
                u32::MAX,
                0,
                b"",
                60,
            );
            let (frames, reader) = read(capture.bytes).unwrap();
            let first = frame(b"first", nanos, 5, LinkType::Ethernet);
            let second = frame(b"", 4_294_967_295_000_000_000, 60, LinkType::Ethernet);
            assert_eq!(frames, [first, second], "{order:?}, {magic:x}");
            assert!(!reader.truncated());
        }
    }
}

#[test]
fn a_patched_classic_capture_is_read() {
    let capture = Bytes::classic(Order::Little, 0xa1b2_cd34, 1);
    let capture = capture.u32(1).u32(2).u32(3).u32(3).u32(0).u32(0).raw(b"abc");
    assert_eq!(read(capture.bytes).unwrap().0, [frame(b"abc", 1_000_002_000, 3, LinkType::Ethernet)]);
}

#[test]
fn a_fraction_of_more_than_a_second_carries() {
    let capture = Bytes::classic(Order::Little, MICROSECONDS, 1).record(u32::MAX, u32::MAX, b"x", 1);
    assert_eq!(read(capture.bytes).unwrap().0[0].nanos, 4_294_967_295_000_000_000 + 4_294_967_295_000);
}

#[test]
fn the_frame_check_sequence_bits_are_not_part_of_the_link_type() {
    let capture = Bytes::classic(Order::Big, MICROSECONDS, 0x3400_0001).record(0, 0, b"x", 1);
    assert_eq!(read(capture.bytes).unwrap().0[0].link, LinkType::Ethernet);
}

#[test]
fn frames_may_be_longer_than_the_file_says_they_are() {
    let capture = Bytes::classic(Order::Little, MICROSECONDS, 1).record(0, 0, &[7; 2000], 3);
    let frames = read(capture.bytes).unwrap().0;
    assert_eq!((frames[0].bytes.len(), frames[0].original_len), (2000, 3));
}

#[test]
fn a_file_of_another_kind_is_named_with_what_to_do() {
    let kinds: [(&[u8], &str); 7] = [
        (b"", "it is empty"),
        (b"\xd4\xc3\xb2", "it ends inside its file header"),
        (b"\x0a\x0d\x0d\x0a....", "it ends inside its file header"),
        (b"\x1f\x8b\x08\x00rest", "unpack it with gunzip first"),
        (b"\x28\xb5\x2f\xfdrest", "unpack it with unzstd first"),
        (b"snoop\0\0\0", "convert it with `editcap -F pcapng`"),
        (b"[dataplane]", "it begins with 5b 64 61 74"),
    ];
    for (bytes, message) in kinds {
        let text = error(bytes.to_vec()).to_string();
        assert!(text.starts_with("given is not a capture that can be read: "), "{text}");
        assert!(text.ends_with(message), "{text}");
    }
}

#[test]
fn an_old_version_of_the_classic_format_is_refused() {
    let capture = Bytes::new(Order::Little).u32(MICROSECONDS).u16(2).u16(2).u32(0).u32(0).u32(0).u32(1);
    assert!(error(capture.bytes).to_string().contains("pcap version 2.2; convert it to 2.4"));
}

#[test]
fn a_refused_link_type_is_named_when_a_classic_capture_is_opened() {
    let capture = Bytes::classic(Order::Little, MICROSECONDS, 105);
    let error = open(capture.bytes).err().unwrap().to_string();
    assert!(error.starts_with("given: frames of IEEE 802.11 (105) are not supported"), "{error}");
}

#[test]
fn a_refused_link_type_in_pcapng_is_named_with_its_first_packet() {
    let capture = Bytes::new(Order::Big).section().interface(249, 0, |o| o).interface(1, 0, |o| o);
    let capture = capture.enhanced(1, 0, b"good", 4).enhanced(0, 0, b"usb", 3);
    let mut reader = open(capture.bytes).unwrap();
    let mut given = CapturedFrame::default();
    assert!(reader.next(&mut given).unwrap());
    let error = reader.next(&mut given).unwrap_err().to_string();
    assert_eq!(
        error,
        "given: frames of USBPcap (249) are not supported; capture on an Ethernet or raw IP interface (packet 2)"
    );
    assert_eq!(given.bytes, b"good", "an error leaves the frame as it was");
    assert!(!reader.next(&mut given).unwrap(), "an error is the end");
}

#[test]
fn pcapng_is_read_over_sections_interfaces_and_byte_orders() {
    let mut capture = Vec::new();
    for order in ORDERS {
        let section = Bytes::new(order)
            .section()
            .interface(1, 0, |o| o)
            .interface(101, 64, |o| o.option(2, b"tun0").option(9, &[9]).option(0, b""))
            .interface(113, 0, |o| {
                let offset = Bytes::new(o.order).i64(-5).bytes;
                o.option(9, &[0x8a]).option(14, &offset).option(0, b"")
            })
            .block(0x0bad, |b| b.u32(32473).padded(b"custom"))
            .enhanced(0, 1_000_001, b"micro", 9)
            .block(4, |b| b.u32(0xffff_ffff))
            .enhanced(1, 1_000_001, b"nano", 4)
            .enhanced(2, 6 * 1024 + 512, b"binary", 6)
            .block(5, |b| b.u32(0).u32(0).u32(0));
        capture.extend(section.bytes);
    }
    let expected = [
        frame(b"micro", 1_000_001_000, 9, LinkType::Ethernet),
        frame(b"nano", 1_000_001, 4, LinkType::RawIp),
        frame(b"binary", 1_500_000_000, 6, LinkType::LinuxCooked),
    ];
    let (frames, reader) = read(capture).unwrap();
    assert_eq!(frames, [expected.clone(), expected].concat());
    assert_eq!(reader.packets(), 6);
    assert!(reader.warning().is_none());
}

#[test]
fn options_behind_the_end_of_options_count_for_nothing() {
    let capture = Bytes::new(Order::Little).section().interface(1, 0, |o| o.option(0, b"").option(9, &[0]));
    let capture = capture.enhanced(0, 1, b"x", 1);
    assert_eq!(read(capture.bytes).unwrap().0[0].nanos, 1_000);
}

#[test]
fn comments_and_other_options_of_packets_are_passed_over() {
    let capture = Bytes::new(Order::Big).section().interface(1, 0, |o| o).block(6, |b| {
        let b = b.u32(0).u32(0).u32(5).u32(3).u32(3).padded(b"abc");
        b.option(1, "通信".as_bytes()).option(2, &[0, 0, 0, 1]).option(0, b"")
    });
    assert_eq!(read(capture.bytes).unwrap().0, [frame(b"abc", 5_000, 3, LinkType::Ethernet)]);
}

#[test]
fn simple_packets_are_cut_to_the_snapshot_length_and_have_no_time() {
    for order in ORDERS {
        let capture = Bytes::new(order).section().interface(229, 6, |o| o);
        let capture = capture.simple(b"whole", 5).simple(b"cut to", 1500);
        let expected = [frame(b"whole", 0, 5, LinkType::Ipv6), frame(b"cut to", 0, 1500, LinkType::Ipv6)];
        assert_eq!(read(capture.bytes).unwrap().0, expected);
    }
}

#[test]
fn obsolete_packet_blocks_are_read() {
    for order in ORDERS {
        let capture = Bytes::new(order).section().interface(0, 0, |o| o).interface(108, 0, |o| o);
        let capture = capture.obsolete(1, 1 << 32, b"loop", 4).obsolete(0, 3, b"null!", 5);
        let expected =
            [frame(b"loop", (1 << 32) * 1_000, 4, LinkType::Loop), frame(b"null!", 3_000, 5, LinkType::Null)];
        assert_eq!(read(capture.bytes).unwrap().0, expected);
    }
}

#[test]
fn a_capture_cut_anywhere_gives_its_whole_packets_and_says_so() {
    let classic = Bytes::classic(Order::Big, MICROSECONDS, 1);
    let header = classic.bytes.len();
    let records = [header, header + 20, header + 39];
    let classic = classic.record(1, 2, b"abcd", 4).record(3, 4, b"xyz", 3).bytes;
    for end in header..classic.len() {
        let (frames, reader) = read(classic[..end].to_vec()).unwrap();
        let whole = records.iter().filter(|start| **start <= end).count() - 1;
        assert_eq!(frames.len(), whole, "cut at {end}");
        assert_eq!(reader.truncated(), end != records[whole], "cut at {end}");
    }

    let section = Bytes::new(Order::Little).section().interface(1, 0, |o| o);
    let start = section.bytes.len();
    let section = section.enhanced(0, 0, b"abcd", 4).bytes;
    for end in start + 1..section.len() {
        let (frames, reader) = read(section[..end].to_vec()).unwrap();
        assert!(frames.is_empty());
        assert_eq!(
            reader.warning().unwrap().to_string(),
            format!("given ends inside the record that begins at byte {start} (whole packets before it: 0)")
        );
    }
}

#[test]
fn an_impossible_packet_length_is_an_error_with_its_place() {
    for length in [MAX_FRAME as u32 + 1, 0x7fff_ffff, u32::MAX] {
        let capture = Bytes::classic(Order::Little, MICROSECONDS, 1).record(0, 0, b"good", 4);
        let capture = capture.u32(0).u32(0).u32(length).u32(length).raw(&[0; 100]);
        assert_eq!(damage(capture.bytes), (44, 1, Damage::FrameLength(length as usize)));
    }
    let text = error(Bytes::classic(Order::Little, MICROSECONDS, 1).record(0, 0, &[0; 300_000], 0).bytes)
        .to_string();
    assert!(
        text.starts_with(
            "given is damaged at byte 24 (whole packets before it: 0): a packet of 300000 bytes"
        ),
        "{text}"
    );
}

#[test]
fn an_impossible_block_is_an_error_with_its_place() {
    let start = || Bytes::new(Order::Big).section().interface(1, 0, |o| o).enhanced(0, 0, b"good", 4);
    let place = start().bytes.len() as u64;
    let damaged = |capture: Bytes| {
        let (offset, packets, damage) = damage(capture.bytes);
        assert_eq!((offset, packets), (place, 1));
        damage
    };
    for length in [0, 4, 8, 13, 16 * 1024 * 1024 + 4, u32::MAX] {
        assert_eq!(damaged(start().u32(6).u32(length).raw(&[0; 64])), Damage::BlockLength(length));
    }
    let lengths = start().u32(6).u32(12).u32(16);
    assert_eq!(damaged(lengths), Damage::BlockLengths { first: 12, last: 16 });
    for kind in [0x0a0d_0d0a, 1, 2, 3, 6] {
        let short = start().block(kind, |b| if kind == 0x0a0d_0d0a { b.u32(0x1a2b_3c4d) } else { b });
        assert_eq!(damaged(short), Damage::BlockFields(kind));
    }
    for kind in [2, 6] {
        let beyond = start().block(kind, |b| b.u32(0).u32(0).u32(0).u32(500).u32(500).raw(&[0; 64]));
        assert_eq!(damaged(beyond), Damage::BlockFields(kind));
    }
    assert_eq!(damaged(start().simple(b"less", 5)), Damage::BlockFields(3));
    assert_eq!(damaged(start().enhanced(1, 0, b"", 0)), Damage::Interface { id: 1, described: 1 });
    let forgotten = start().section();
    let place = forgotten.bytes.len() as u64;
    assert_eq!(damage(forgotten.simple(b"", 0).bytes), (place, 1, Damage::Interface { id: 0, described: 0 }));
    assert_eq!(damaged(start().enhanced(0, 0, &[0; 300_000], 0)), Damage::FrameLength(300_000));
    let order = start().block(0x0a0d_0d0a, |b| b.u32(5).raw(&[0; 12]));
    assert_eq!(damaged(order), Damage::ByteOrder(5));
    let version = start().block(0x0a0d_0d0a, |b| b.u32(0x1a2b_3c4d).u16(2).u16(0).i64(-1));
    assert_eq!(damaged(version), Damage::Version(2, 0));
}

#[test]
fn a_section_with_more_interfaces_than_any_machine_is_refused() {
    let mut capture = Bytes::new(Order::Little).section();
    for _ in 0..=MAX_INTERFACES {
        capture = capture.interface(1, 0, |o| o);
    }
    assert_eq!(damage(capture.bytes).2, Damage::Interfaces);
}

#[test]
fn a_source_that_gives_one_byte_at_a_time_is_read_alike() {
    let classic = Bytes::classic(Order::Big, NANOSECONDS, 1).record(1, 2, b"abcd", 4).record(3, 4, b"xyz", 3);
    let section =
        Bytes::new(Order::Big).section().interface(1, 0, |o| o).enhanced(0, 0, b"abcd", 4).simple(b"x", 1);
    for bytes in [classic.bytes, section.bytes] {
        let trickle = Trickle { bytes: bytes.clone(), reads: 0 };
        let (frames, _) = drain(CaptureReader::from_reader(trickle, "trickle").unwrap()).unwrap();
        assert_eq!(frames, read(bytes).unwrap().0);
        assert_eq!(frames.len(), 2);
    }
}

#[test]
fn a_missing_file_is_an_error_that_names_it() {
    let error = CaptureReader::open(Path::new("no/such/file.pcap")).err().unwrap().to_string();
    assert!(error.starts_with("cannot open no/such/file.pcap: "), "{error}");
    let error =
        CaptureWriter::create(Path::new("no/such/file.pcap"), Format::Pcap).err().unwrap().to_string();
    assert!(error.starts_with("cannot create no/such/file.pcap: "), "{error}");
}

#[test]
fn the_extension_decides_the_format() {
    assert_eq!(Format::of(Path::new("drops.pcapng")), Format::PcapNg);
    assert_eq!(Format::of(Path::new("DROPS.PCAPNG")), Format::PcapNg);
    assert_eq!(Format::of(Path::new("out.pcap")), Format::Pcap);
    assert_eq!(Format::of(Path::new("out")), Format::Pcap);
}

#[test]
fn an_empty_capture_is_a_valid_file_of_ethernet() {
    let classic = write(Format::Pcap, &[]);
    assert_eq!(classic[20..], [1, 0, 0, 0]);
    assert!(read(classic).unwrap().0.is_empty());
    let blocks = write(Format::PcapNg, &[]);
    let (_, interface) = parse_block_le(&blocks[28..]).unwrap();
    assert!(
        matches!(interface, Block::InterfaceDescription(idb) if idb.linktype.0 == 1 && idb.if_tsresol == 9)
    );
    assert!(read(blocks).unwrap().0.is_empty());
}

#[test]
fn a_classic_capture_refuses_a_second_link_type_by_name_and_goes_on() {
    let sink = Shared::default();
    let mut writer = CaptureWriter::to_writer(sink.clone(), "out.pcap", Format::Pcap);
    let (first, second) = (frame(b"a", 1, 1, LinkType::Null), frame(b"b", 2, 1, LinkType::Loop));
    writer.write(&(&first).into()).unwrap();
    assert_eq!(
        writer.write(&(&second).into()).unwrap_err().to_string(),
        "out.pcap: packet 2 is OpenBSD loopback, but the file began with BSD loopback and a classic capture holds one \
         link type; name the file .pcapng to keep both"
    );
    writer.write(&(&first).into()).unwrap();
    writer.finish().unwrap();
    assert_eq!(read(sink.bytes()).unwrap().0, [first.clone(), first]);
}

#[test]
fn a_classic_capture_refuses_times_that_it_cannot_hold() {
    for nanos in [-1, i64::MIN, i64::MAX, (1 << 32) * 1_000_000_000] {
        let mut writer = CaptureWriter::to_writer(io::sink(), "out.pcap", Format::Pcap);
        let error = writer.write(&(&frame(b"a", nanos, 1, LinkType::Ethernet)).into()).unwrap_err();
        assert!(matches!(error, CaptureError::Time { packet: 1, .. }), "{error}");
    }
}

#[test]
fn pcapng_keeps_times_of_either_side_of_1970() {
    let times = [0, -1, i64::MIN, i64::MAX, 1_129_561_200_123_456_789];
    let frames = times.map(|nanos| frame(b"a", nanos, 1, LinkType::Ethernet));
    assert_eq!(read(write(Format::PcapNg, &frames)).unwrap().0, frames);
}

#[test]
fn a_frame_too_long_for_other_programs_is_not_written() {
    for format in [Format::Pcap, Format::PcapNg] {
        let mut writer = CaptureWriter::to_writer(io::sink(), "out", format);
        let longest = frame(&vec![0; MAX_FRAME], 0, 0, LinkType::Ethernet);
        writer.write(&(&longest).into()).unwrap();
        let longer = frame(&vec![0; MAX_FRAME + 1], 0, 0, LinkType::Ethernet);
        let error = writer.write(&(&longer).into()).unwrap_err().to_string();
        assert_eq!(error, "out: packet 2 has 262145 bytes, above the limit of 262144");
    }
}

#[test]
fn a_full_disk_is_an_error_at_the_latest_when_finishing() {
    for format in [Format::Pcap, Format::PcapNg] {
        let writer = CaptureWriter::to_writer(Full, "out", format);
        let error = writer.finish().unwrap_err().to_string();
        assert!(error.starts_with("cannot write out: "), "{error}");
    }
}

#[test]
fn comments_are_kept_in_pcapng_and_cut_between_characters() {
    let long = "関".repeat(30_000);
    let sink = Shared::default();
    let mut writer = CaptureWriter::to_writer(sink.clone(), "out", Format::PcapNg);
    for comment in ["blocked-port25", "", &long] {
        let bytes = b"frame";
        let record = CaptureRecord {
            bytes,
            nanos: 1,
            original_len: 5,
            link: LinkType::Ethernet,
            interface: None,
            comment: Some(comment),
        };
        writer.write(&record).unwrap();
    }
    writer.finish().unwrap();
    let bytes = sink.bytes();
    let (mut rest, mut comments) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        let (after, block) = parse_block_le(rest).unwrap();
        if let Block::EnhancedPacket(packet) = block {
            assert_eq!(packet.options[0].code, OptionCode::Comment);
            assert_eq!(packet.options[1].code, OptionCode::EndOfOpt);
            comments.push(packet.options[0].as_str().unwrap().to_owned());
        }
        rest = after;
    }
    assert_eq!(comments, ["blocked-port25", "", &long[..65_535]]);
    assert_eq!(read(bytes).unwrap().0.len(), 3);
}

#[test]
fn interfaces_are_named_in_pcapng_once_each_whatever_order_their_frames_come_in() {
    let sink = Shared::default();
    let mut writer = CaptureWriter::to_writer(sink.clone(), "out", Format::PcapNg);
    let link = LinkType::Ethernet;
    // A time before 1970 needs an interface of its own.
    for (interface, nanos) in
        [(Some("access"), 1), (Some("core"), 2), (Some("access"), 3), (None, 4), (Some("access"), -5)]
    {
        let bytes = b"frame";
        writer
            .write(&CaptureRecord { bytes, nanos, original_len: 5, link, interface, comment: None })
            .unwrap();
    }
    writer.flush().unwrap();
    let bytes = sink.bytes();
    writer.finish().unwrap();
    assert_eq!(sink.bytes(), bytes, "all was handed on before");
    let (mut rest, mut names, mut used) = (&bytes[..], Vec::new(), Vec::new());
    while !rest.is_empty() {
        let (after, block) = parse_block_le(rest).unwrap();
        match block {
            Block::InterfaceDescription(interface) => {
                let name = interface.options.iter().find(|option| option.code == OptionCode::IfName);
                names.push(name.map(|name| name.as_str().unwrap().to_owned()));
                assert_eq!(interface.if_tsresol, 9);
            }
            Block::EnhancedPacket(packet) => used.push(packet.if_id),
            _ => {}
        }
        rest = after;
    }
    let names: Vec<Option<&str>> = names.iter().map(Option::as_deref).collect();
    assert_eq!(names, [Some("access"), Some("core"), None, Some("access")]);
    assert_eq!(used, [0, 1, 0, 2, 3]);
    let nanos: Vec<i64> = read(bytes).unwrap().0.iter().map(|frame| frame.nanos).collect();
    assert_eq!(nanos, [1, 2, 3, 4, -5]);
}

/// Captures with something of everything, to be damaged.
fn samples() -> Vec<Vec<u8>> {
    let mut samples = Vec::new();
    for order in ORDERS {
        let classic =
            Bytes::classic(order, MICROSECONDS, 1).record(1, 2, b"abcd", 4).record(3, 4, &[7; 90], 90);
        samples.push(classic.bytes);
        let section =
            Bytes::new(order).section().interface(1, 0, |o| o).interface(101, 60, |o| o.option(9, &[0x8a]));
        let packets = section
            .enhanced(0, 5, b"abcde", 5)
            .simple(b"s", 1)
            .obsolete(1, 5, b"old", 3)
            .enhanced(1, 9, b"", 0);
        samples.push(packets.clone().bytes);
        samples.push(packets.section().interface(1, 0, |o| o).enhanced(0, 5, &[1; 70], 70).bytes);
    }
    samples
}

/// Reads to the end or the first error, holding what is held against its bounds.
fn survive(bytes: Vec<u8>) -> Result<(), TestCaseError> {
    let length = bytes.len();
    let Ok(mut reader) = open(bytes) else {
        return Ok(());
    };
    let mut frame = CapturedFrame::default();
    let mut total = 0;
    while let Ok(true) = reader.next(&mut frame) {
        total += frame.bytes.len();
    }
    prop_assert!(total <= length, "no byte is made up");
    prop_assert!(reader.memory() + frame.bytes.capacity() <= 64 * 1024 * 1024);
    prop_assert!(!reader.next(&mut frame).unwrap());
    Ok(())
}

fn any_link() -> impl Strategy<Value = LinkType> {
    use LinkType::{Ethernet, Ipv4, Ipv6, LinuxCooked, LinuxCooked2, Loop, Null, RawIp};
    select(vec![Ethernet, RawIp, Ipv4, Ipv6, LinuxCooked, LinuxCooked2, Null, Loop])
}

fn any_frame(nanos: impl Strategy<Value = i64>) -> impl Strategy<Value = CapturedFrame> {
    (vec(any::<u8>(), 0..200), nanos, any_link(), 0..10_000_u32).prop_map(|(bytes, nanos, link, beyond)| {
        CapturedFrame { original_len: bytes.len() as u32 + beyond, bytes, nanos, link }
    })
}

proptest! {
    #[test]
    fn no_string_of_bytes_makes_the_reader_panic(
        magic in option::of(select(samples())), rest in vec(any::<u8>(), 0..600)
    ) {
        let mut bytes = magic.map_or_else(Vec::new, |sample| sample[..28].to_vec());
        bytes.extend(rest);
        survive(bytes)?;
    }

    #[test]
    fn no_damage_to_a_capture_makes_the_reader_panic(
        sample in select(samples()),
        changes in vec((any::<Index>(), any::<u8>()), 0..6),
        words in vec((any::<Index>(), select(vec![0_u32, 1, 12, 16, u32::MAX, 1 << 24, 1 << 18])), 0..2),
        cut in option::of(any::<Index>()),
    ) {
        let mut bytes = sample;
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        for (at, word) in words {
            let at = at.index(bytes.len() / 4) * 4;
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        survive(bytes)?;
    }

    #[test]
    fn what_is_written_to_pcapng_is_read_again(frames in vec(any_frame(any::<i64>()), 0..20)) {
        prop_assert_eq!(read(write(Format::PcapNg, &frames)).unwrap().0, frames);
    }

    #[test]
    fn what_is_written_to_a_classic_capture_is_read_again(
        mut frames in vec(any_frame(0..(1_i64 << 32) * NANOS_PER_SECOND), 0..20), link in any_link()
    ) {
        frames.iter_mut().for_each(|frame| frame.link = link);
        prop_assert_eq!(read(write(Format::Pcap, &frames)).unwrap().0, frames);
    }
}
