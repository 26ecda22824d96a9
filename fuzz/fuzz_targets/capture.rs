//! Any bytes as a capture file: whole frames until the end or an error, in bounded memory, and then nothing.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use sekisho_dataplane::frame::{self, Depth};
use sekisho_dataplane::port::pcap::{CaptureReader, CapturedFrame, MAX_FRAME};

fuzz_target!(|bytes: &[u8]| {
    let mut reader = match CaptureReader::from_reader(Cursor::new(bytes.to_vec()), "fuzz") {
        Ok(reader) => reader,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let mut frame = CapturedFrame::default();
    let mut packets = 0;
    let failed = loop {
        match reader.next(&mut frame) {
            Ok(true) => {
                packets += 1;
                assert!(frame.bytes.len() <= MAX_FRAME.min(bytes.len()), "{} bytes", frame.bytes.len());
                frame::parse(frame.link.into(), &frame.bytes, Depth::default());
            }
            Ok(false) => break false,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                break true;
            }
        }
    };
    assert_eq!(reader.packets(), packets);
    let last = frame.clone();
    assert!(matches!(reader.next(&mut frame), Ok(false)), "the end is the end");
    assert_eq!(frame, last, "and leaves the frame as it was");
    assert!(!(failed && reader.truncated()), "damaged or cut, not both");
    if let Some(truncation) = reader.warning() {
        assert_eq!(truncation.packets, packets);
        assert!(truncation.offset <= bytes.len() as u64, "{truncation}");
    }
});
