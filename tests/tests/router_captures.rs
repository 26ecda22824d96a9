//! Route mode through `sekisho replay`, against captures that another tool built from the RFCs. See the folder's README.

use std::path::{Path, PathBuf};

use sekisho_tests::{binary, capture};
use serde_json::Value;

const PORTS: [&str; 3] = ["access", "core", "servers"];

struct Case {
    name: String,
    reason: String,
    action: Option<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/route")
}

fn cases() -> Vec<Case> {
    let table = std::fs::read_to_string(folder().join("cases.tsv")).expect("the cases");
    let rows = table.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
    let case = |row: Vec<&str>| Case {
        name: row[0].to_owned(),
        reason: row[1].to_owned(),
        action: (row[2] != "-").then(|| row[2].to_owned()),
    };
    rows.map(case).collect()
}

fn frames(path: &Path) -> Vec<Vec<u8>> {
    match path.exists() {
        true => {
            let bytes = std::fs::read(path).expect("a capture that can be read");
            let frames = capture::read(&bytes).expect("a capture").frames;
            frames.into_iter().map(|frame| frame.bytes).collect()
        }
        false => Vec::new(),
    }
}

/// The time to live, or hop limit, of an Ethernet frame's packet.
fn time_to_live(frame: &[u8]) -> u8 {
    let at = if frame[12..14] == [0x81, 0x00] { 18 } else { 14 };
    match frame[at] >> 4 {
        4 => frame[at + 8],
        _ => frame[at + 7],
    }
}

/// Whether a frame's packet is a redirect, which the router sends besides (RFC 792, RFC 4861).
fn is_redirect(frame: &[u8]) -> bool {
    match frame[14] >> 4 {
        4 => frame[23] == 1 && frame[34] == 5,
        _ => frame[20] == 58 && frame[54] == 137,
    }
}

fn hex(frames: &[Vec<u8>]) -> String {
    let one = |frame: &Vec<u8>| frame.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    frames.iter().map(one).collect::<Vec<_>>().join("\n    ")
}

fn differences(case: &Case, scratch: &Path) -> Vec<String> {
    let Case { name, reason, action } = case;
    let input = |port: &&&str| folder().join(format!("{name}.in.{port}.pcap")).exists();
    let port = PORTS.iter().find(input).expect("a capture that is received");
    let path = |way: &str, port: &str| folder().join(format!("{name}.{way}.{port}.pcap"));
    let config = folder().join("router.toml");
    let mut arguments = vec!["replay".to_owned(), "-c".to_owned(), config.display().to_string()];
    arguments.extend(["--clock", "capture", "--json", "--in"].map(str::to_owned));
    arguments.push(format!("{port}={}", path("in", port).display()));
    for out in PORTS {
        arguments.extend(["--out".to_owned(), format!("{out}={name}.{out}.pcap")]);
    }
    let finished = binary::run(scratch, &arguments);
    if finished.code != Some(0) {
        return vec![format!("{name}: {}", finished.stderr)];
    }
    let mut wrong = Vec::new();
    let lines: Vec<Value> =
        finished.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let line = &lines[0];
    if line["reason"] != reason.as_str() || line["action"] != serde_json::json!(action) {
        wrong.push(format!("{name}: {line}, not {reason} and {action:?}"));
    }
    let received = &frames(&path("in", port))[0];
    for out in PORTS {
        let expected = frames(&path("out", out));
        let left = frames(&scratch.join(format!("{name}.{out}.pcap")));
        if left != expected {
            wrong.push(format!(
                "{name}: by {out} left\n    {}\n  and not\n    {}",
                hex(&left),
                hex(&expected)
            ));
        }
        // Whatever is forwarded has one router less to pass.
        let mut forwarded = left.iter().filter(|frame| !is_redirect(frame));
        if action.is_none() && forwarded.any(|frame| time_to_live(frame) + 1 != time_to_live(received)) {
            wrong.push(format!("{name}: the time to live is not one less"));
        }
    }
    wrong
}

#[test]
fn a_router_sends_what_the_rfcs_say_byte_for_byte() {
    let cases = cases();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    assert!(cases.iter().filter(|case| case.action.is_none()).count() >= 15);
    let scratch = binary::scratch("router-captures");
    let wrong: Vec<String> = cases.iter().flat_map(|case| differences(case, &scratch)).collect();
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    std::fs::remove_dir_all(&scratch).expect("a scratch folder can be removed");
}
