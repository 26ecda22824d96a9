//! Captures of what a daemon judges.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::host::{CUSTOMER, Client, Host, OUTSIDE, PATIENCE, STATIC, TABLES, tcp};

/// A packet of a pcapng.
#[derive(Debug)]
struct Packet {
    interface: String,
    micros: u64,
    length: u32,
    bytes: Vec<u8>,
    comment: String,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The option of this number.
fn option(mut options: &[u8], wanted: u16) -> Option<&[u8]> {
    while options.len() >= 4 {
        let field = |at| u16::from_le_bytes([options[at], options[at + 1]]);
        let (code, length) = (field(0), usize::from(field(2)));
        if code == wanted {
            return Some(&options[4..4 + length]);
        }
        options = &options[4 + length.next_multiple_of(4)..];
    }
    None
}

/// Reads a pcapng block by block; it has to be whole.
fn read(mut rest: &[u8]) -> Vec<Packet> {
    let (mut interfaces, mut packets) = (Vec::new(), Vec::new());
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert_eq!(u32_at(rest, 0), 0x0a0d_0d0a, "a section first");
    while !rest.is_empty() {
        let (kind, length) = (u32_at(rest, 0), u32_at(rest, 4) as usize);
        let block;
        (block, rest) = rest.split_at(length);
        let body = &block[8..length - 4];
        assert_eq!(u32_at(block, length - 4) as usize, length);
        match kind {
            1 => {
                assert_eq!((body[0], option(&body[8..], 9)), (1, Some(&[9][..])), "Ethernet, nanoseconds");
                interfaces.push(option(&body[8..], 2).map(text));
            }
            6 => {
                let ticks = u64::from(u32_at(body, 4)) << 32 | u64::from(u32_at(body, 8));
                let captured = u32_at(body, 12) as usize;
                packets.push(Packet {
                    interface: interfaces[u32_at(body, 0) as usize].clone().expect("a name"),
                    micros: ticks / 1000,
                    length: u32_at(body, 16),
                    bytes: body[20..20 + captured].to_vec(),
                    comment: text(option(&body[20 + captured.next_multiple_of(4)..], 1).expect("a comment")),
                });
            }
            _ => {}
        }
    }
    packets
}

fn captured(path: &Path) -> Vec<Packet> {
    read(&fs::read(path).unwrap())
}

fn now_micros() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_micros() as u64
}

#[test]
fn denies_are_captured_byte_for_byte_with_what_became_of_them() {
    let host = Host::new();
    let _daemon = host.start();
    let before = now_micros();
    let output = host.run(&["capture", "--drops", "--count", "3", "-w", "denies.pcapng"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && told == "3 captured, 0 lost\n", "{told}");
    let packets = captured(&host.path("denies.pcapng"));
    assert_eq!(packets.len(), 3);
    for packet in &packets {
        assert_eq!(packet.bytes, tcp(CUSTOMER, OUTSIDE, 25));
        assert_eq!((packet.interface.as_str(), packet.length), ("access", 54));
        let comment = &packet.comment;
        let is_known = comment.starts_with("verdict=deny reason=port25-egress action=")
            && comment.ends_with(" pool=flets policy=dynamic phase=carriers generation=1")
                | comment.ends_with(" pool=flets policy=dynamic out=access phase=carriers generation=1");
        assert!(is_known, "{comment}");
        assert!((before..=now_micros()).contains(&packet.micros), "{packet:?}");
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(host.path("denies.pcapng")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600, "other people's traffic");
}

#[test]
fn what_is_captured_is_chosen_by_reason_pool_port_and_expression() {
    let host = Host::new();
    let _daemon = host.start();
    let (egress, submission) = (tcp(CUSTOMER, OUTSIDE, 25), tcp(CUSTOMER, OUTSIDE, 587));
    let exempt = tcp(STATIC, OUTSIDE, 25);
    for (arguments, frame, reason, verdict) in [
        (&["--reason", "submission", "--reason", "malformed"][..], &submission, "submission", "forward"),
        (&["--pool", "static"], &exempt, "exempt-pool", "forward"),
        (&["--port", "access", "--drops"], &egress, "port25-egress", "deny"),
        (&["--filter", "tcp dst port 25 and not src net 198.51.100.0/24"], &egress, "port25-egress", "deny"),
        (&["--filter", "port 587", "--snaplen", "20"], &submission, "submission", "forward"),
    ] {
        let fixed = ["capture", "--count", "4", "-w", "out.pcapng", "--force"];
        let told = host.run(&[&fixed[..], arguments].concat());
        assert!(told.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&told.stderr));
        let packets = captured(&host.path("out.pcapng"));
        assert_eq!(packets.len(), 4, "{arguments:?}");
        for packet in packets {
            let kept = if arguments.contains(&"--snaplen") { 20 } else { 54 };
            assert_eq!((packet.bytes.as_slice(), packet.length), (&frame[..kept], 54), "{arguments:?}");
            let start = format!("verdict={verdict} reason={reason} ");
            assert!(packet.comment.starts_with(&start), "{arguments:?}: {}", packet.comment);
        }
    }
    // Nothing is received there, and the clock ends it. Also an empty capture is a capture.
    host.ok(&["capture", "--port", "core", "--duration", "200ms", "-w", "none.pcapng"]);
    assert!(captured(&host.path("none.pcapng")).is_empty());
}

#[test]
fn a_monitored_deny_is_found_by_the_reason_that_it_would_have_had_and_a_reload_by_its_generation() {
    let host = Host::new();
    host.configure(&TABLES.replace("action = \"reject\"", "action = \"monitor\""));
    let _daemon = host.start();
    let one = |file: &str| {
        host.ok(&["capture", "--reason", "port25-egress", "--count", "1", "-w", file]);
        captured(&host.path(file)).pop().unwrap().comment
    };
    let monitored = one("one.pcapng");
    assert!(monitored.starts_with("verdict=forward reason="), "{monitored}");
    assert!(monitored.contains(" would=port25-egress pool=flets ") && monitored.ends_with(" generation=1"));
    host.configure(&TABLES.replace("action = \"reject\"", "action = \"drop\""));
    host.ok(&["reload"]);
    let dropped = one("two.pcapng");
    assert!(dropped.starts_with("verdict=deny reason=port25-egress action=drop pool=flets "), "{dropped}");
    assert!(dropped.ends_with(" phase=carriers generation=2"), "{dropped}");
}

#[test]
fn what_is_asked_for_wrongly_is_refused_and_costs_no_file() {
    let host = Host::new();
    let _daemon = host.start();
    fs::write(host.path("kept.pcapng"), "kept").unwrap();
    for (arguments, complaint) in [
        (["--pool", "nowhere"], "there is no pool `nowhere`"),
        (["--port", "nowhere"], "there is no port `nowhere`"),
    ] {
        let told = host.refused(&[&["capture", "-w", "kept.pcapng"][..], &arguments].concat());
        assert!(told.contains(complaint), "{told}");
    }
    let told = host.run(&["capture", "-w", "kept.pcapng", "--filter", "tcp and prot 25"]);
    let stderr = String::from_utf8(told.stderr).unwrap();
    assert_eq!(told.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("\n  tcp and prot 25\n          ^^^^\n"), "{stderr}");
    assert_eq!(fs::read(host.path("kept.pcapng")).unwrap(), b"kept");
    let mut client = host.client();
    let refused = |client: &mut Client, request: Value, complaint: &str| {
        let error = client.call("capture", request).unwrap_err();
        assert_eq!(error["code"], -32602, "{error}");
        assert!(error["message"].as_str().unwrap().contains(complaint), "{error}");
    };
    refused(&mut client, json!({ "begin": { "filter": "port smtp" } }), "expected a port's number");
    refused(&mut client, json!({ "begin": { "reasons": ["whim"] } }), "there is no reason `whim`");
    refused(&mut client, json!({ "begin": { "snaplen": 0 } }), "`snaplen` must lie between 1 and 65535");
    refused(&mut client, json!({ "begin": { "count": 0 } }), "`count` must be at least 1");
    refused(&mut client, json!({ "begin": { "what": 1 } }), "unknown field");
    refused(&mut client, json!({ "next": {} }), "captures nothing");
    // Somebody else's file behind a link, and one that is there.
    std::os::unix::fs::symlink(host.path("kept.pcapng"), host.path("link.pcapng")).unwrap();
    for (arguments, complaint) in [
        (&["kept.pcapng"][..], "kept.pcapng is there already, and stays as it is"),
        (&["link.pcapng"], "link.pcapng is a symbolic link"),
        (&["link.pcapng", "--force"], "link.pcapng is a symbolic link"),
    ] {
        let told = host.refused(&[&["capture", "--count", "1", "-w"][..], arguments].concat());
        assert!(told.contains(complaint), "{told}");
        assert_eq!(fs::read(host.path("kept.pcapng")).unwrap(), b"kept");
    }
    let unwritable = host.refused(&["capture", "-w", "no/such/folder.pcapng"]);
    assert!(unwritable.contains("no/such/folder.pcapng"), "{unwritable}");
}

#[test]
fn a_signal_ends_a_capture_with_a_whole_file_and_standard_output_has_each_packet_at_once() {
    let host = Host::new();
    let _daemon = host.start();
    let mut command = host.command(&["capture", "-w", "-"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    // More than the headers: packets come while it goes on.
    let mut bytes = vec![0; 2000];
    stdout.read_exact(&mut bytes).unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    stdout.read_to_end(&mut bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    let packets = read(&bytes);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    assert_eq!(told, format!("{} captured, 0 lost\n", packets.len()));
    assert!(packets.windows(2).all(|two| two[0].micros <= two[1].micros));
}

#[test]
fn a_reader_that_has_enough_ends_a_capture_in_order() {
    let host = Host::new();
    let _daemon = host.start();
    let mut command = host.command(&["capture", "-w", "-"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 1000]).unwrap();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && told.ends_with(" lost\n"), "{told}");
}

#[test]
fn one_capture_runs_at_a_time_and_one_whose_client_was_killed_is_over() {
    let host = Host::new();
    let daemon = host.start();
    let mut child = host.command(&["capture", "-w", "out.pcapng"]).stderr(Stdio::null()).spawn().unwrap();
    let mut client = host.client();
    let begin = json!({ "begin": {} });
    // It has begun when another is refused.
    let begun = Instant::now();
    while fs::metadata(host.path("out.pcapng")).map_or(0, |metadata| metadata.len()) == 0 {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
    let error = client.call("capture", begin.clone()).unwrap_err();
    assert_eq!(
        (&error["code"], error["message"].as_str().unwrap()),
        (&json!(-32000), "another capture runs; end it, or try again later")
    );
    child.kill().unwrap();
    child.wait().unwrap();
    client.wait_until("the capture has ended", |client| client.call("capture", begin.clone()).is_ok());
    let error = client.call("capture", begin).unwrap_err();
    assert!(error["message"].as_str().unwrap().contains("captures already"), "{error}");
    let batch = client.call("capture", json!({ "stop": {} })).unwrap();
    assert_eq!(batch["finished"], true, "{batch}");
    client.wait_for_traffic();
    let ended = daemon.stop();
    assert!(ended.stderr.contains("capture begun: all frames, by uid "), "{}", ended.stderr);
    assert!(ended.stderr.contains(" captured, 0 lost\n"), "{}", ended.stderr);
}

#[test]
fn a_client_that_does_not_come_for_its_packets_loses_some_counted_and_the_workers_go_on() {
    let host = Host::new();
    let frames = [tcp(CUSTOMER, OUTSIDE, 25)];
    host.capture("traffic.pcap", frames.iter().cycle().take(400_000), Duration::from_micros(50));
    let _daemon = host.start();
    let mut client = host.client();
    // So long that there is little room.
    client.call("capture", json!({ "begin": { "snaplen": 65535, "denied": true } })).unwrap();
    let mut other = host.client();
    let before = other.received();
    other.wait_until("packets are judged all the same", |other| other.received() > before + 3000);
    let (mut given, mut stop) = (0, json!({ "stop": {} }));
    let last = loop {
        let batch = client.call("capture", stop).unwrap();
        given += batch["packets"].as_array().unwrap().len() as u64;
        if batch["finished"] == true {
            break batch;
        }
        stop = json!({ "next": {} });
    };
    assert_eq!(last["captured"], json!(given));
    assert_eq!(given, 640, "as many as there was room for");
    assert!(last["lost"].as_u64().unwrap() > 2000, "{}", last["lost"]);
}

#[test]
fn a_daemon_that_ends_leaves_a_whole_file() {
    let host = Host::new();
    let daemon = host.start();
    let mut command = host.command(&["capture", "-w", "out.pcapng"]);
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while fs::metadata(host.path("out.pcapng")).map_or(0, |metadata| metadata.len()) < 1000 {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
    daemon.stop();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    let packets = captured(&host.path("out.pcapng"));
    assert!(told.starts_with(&format!("{} captured, ", packets.len())), "{told}");
    assert!(told.contains("the daemon went away"), "{told}");
}
