//! Filter expressions of `sekisho capture` against tcpdump's, on real frames.

use std::path::Path;
use std::process::Command;

use sekisho_control::capture::filter::Filter;
use sekisho_dataplane::frame::Link;
use sekisho_tests::lab::namespace::program;
use sekisho_tests::{answers, binary, capture};

/// So many frames of each capture.
const OF_EACH: usize = 200;

const EXPRESSIONS: &[&str] = &[
    "ip",
    "ip6",
    "arp",
    "tcp",
    "udp",
    "icmp",
    "icmp6",
    "port 25",
    "tcp port 25",
    "udp port 53",
    "src port 25",
    "tcp dst port 25 or 587 or 465",
    "portrange 1024-5000",
    "udp portrange 50-5353 and not port 53",
    "not tcp and not udp",
    "ip and not tcp or arp",
    "arp or ip and tcp",
    "not (tcp port 25 or tcp port 80) and ip",
    "net 10.0.0.0/8",
    "src net 192.168.0.0/16 and dst net 192.168.0.0/16",
    "arp net 10.0.0.0/8 or arp net 192.168.0.0/16",
    "ip6 net fe80::/10",
    "dst net ff00::/8 or dst net 224.0.0.0/4",
    "host 10.0.0.1 or 10.0.0.2 or 192.168.1.1",
    "src 192.168.1.1 || dst 10.0.0.1",
    "!(tcp && (port 80 || port 443)) and (ip or ip6)",
    "net 0.0.0.0/0 and tcp",
];

/// Whether it is of the kind where the two have to agree. Tags, labels, sessions and extension headers are looked behind
/// here and not there, and of a frame that ends inside its headers tcpdump takes nothing whatever is asked.
fn is_plain(frame: &[u8]) -> bool {
    let long_enough = |length: usize| frame.len() >= length;
    match frame.get(12..14) {
        Some([0x08, 0x00]) => long_enough(34) && long_enough(14 + usize::from(frame[14] & 15) * 4 + 4),
        Some([0x86, 0xdd]) => long_enough(58) && ![0, 43, 44, 51, 60, 135, 139, 140].contains(&frame[20]),
        Some([0x08, 0x06]) => long_enough(42),
        Some([0x81, 0x00] | [0x88, 0xa8] | [0x91, 0x00] | [0x88, 0x64] | [0x88, 0x47] | [0x88, 0x48]) => {
            false
        }
        _ => long_enough(60),
    }
}

fn frames() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for answered in answers::captures() {
        let bytes = answered.bytes().unwrap_or_else(|e| panic!("{}: {e}", answered.name));
        let Some(capture) = capture::read(&bytes) else { continue };
        let plain = capture.frames.into_iter().filter(|frame| frame.link == capture::ETHERNET);
        frames.extend(plain.map(|frame| frame.bytes).filter(|bytes| is_plain(bytes)).take(OF_EACH));
    }
    frames
}

/// What tcpdump takes of a capture.
fn taken_by_tcpdump(path: &Path, expression: &str) -> Vec<Vec<u8>> {
    let mut command = Command::new(program("tcpdump"));
    command.arg("-r").arg(path).args(["-w", "-"]);
    if rustix::process::geteuid().is_root() {
        command.args(["-Z", "root"]);
    }
    let output = command.arg(expression).output().expect("tcpdump starts");
    assert!(output.status.success(), "{expression}: {}", String::from_utf8_lossy(&output.stderr));
    let capture = capture::read(&output.stdout).expect("a capture");
    capture.frames.into_iter().map(|frame| frame.bytes).collect()
}

#[test]
fn an_expression_takes_the_frames_that_tcpdump_takes() {
    let frames = frames();
    assert!(frames.len() > 3_000, "{} frames", frames.len());
    let path = binary::scratch("capture-filter").join("plain.pcap");
    let numbered = frames.iter().enumerate().map(|(at, frame)| (at as i64, frame.as_slice()));
    capture::write(&path, capture::ETHERNET, numbered).expect("a scratch folder can be written");
    for expression in EXPRESSIONS {
        let filter: Filter = expression.parse().unwrap_or_else(|e| panic!("{e}"));
        let theirs = taken_by_tcpdump(&path, expression);
        let ours: Vec<&Vec<u8>> =
            frames.iter().filter(|frame| filter.matches(Link::Ethernet, frame)).collect();
        assert!(!ours.is_empty(), "{expression}: nothing is taken");
        let differs = ours.iter().zip(&theirs).find(|(ours, theirs)| *ours != theirs);
        assert!(differs.is_none(), "{expression}: {differs:02x?}");
        assert_eq!(ours.len(), theirs.len(), "{expression}");
    }
    std::fs::remove_file(&path).expect("a scratch file can be removed");
}
