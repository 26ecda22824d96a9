//! The binary as its user meets it: what it prints, where it complains, and how it ends.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sekisho_tests::binary::{self, Finished};
use sekisho_tests::capture::{self, ETHERNET};
use sekisho_tests::twin::Micros;
use serde_json::Value;

/// A folder of its own, taken away again unless the test fails.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        Folder(binary::scratch(&format!("cli-{name}")))
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).expect("a scratch folder is writable");
    }

    fn capture<'a>(&self, name: &str, link: u32, frames: impl IntoIterator<Item = (Micros, &'a [u8])>) {
        capture::write(&self.0.join(name), link, frames).expect("a scratch folder is writable");
    }

    fn frames(&self, name: &str) -> Frames {
        let bytes = fs::read(self.0.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let capture = capture::read(&bytes).unwrap_or_else(|| panic!("{name} is no capture"));
        assert!(!capture.cut, "{name} ends inside a frame");
        capture.frames.into_iter().map(|frame| (frame.at, frame.bytes)).collect()
    }

    /// Runs `sekisho` here; breaking down is never an answer.
    fn run(&self, command: &str) -> Finished {
        let finished = binary::run(&self.0, command.split_whitespace());
        assert_eq!(finished.broke(), Vec::<String>::new(), "{command}");
        finished
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Between customers and the outside, with a filter; `ports` are the lines that the two ports have besides.
fn config(access: &str, core: &str, dataplane: &str) -> String {
    let filter = if access == MEMORY { MEMORY } else { "driver = \"pcap\"\nwrite = \"filter.pcap\"" };
    format!(
        r#"
[dataplane]
{dataplane}

[[port]]
name = "access"
role = "subscriber"
peer = "core"
{access}

[[port]]
name = "core"
role = "internet"
peer = "access"
{core}

[[port]]
name = "filter"
role = "filter"
{filter}

[sets]
own-msa = ["192.0.2.25/32"]

[[policy]]
name = "dynamic"
allow = ["own-msa"]
action = "reject"
phases = [{{ name = "all-operators", from = "2006-06-01T00:00:00+09:00", block = "all" }}]

[[policy]]
name = "static"
kind = "exempt"

[[pool]]
name = "my-b-flets"
title = "My-BフレッツF/M-B"
policy = "dynamic"
prefixes = ["203.0.113.0/25", "2001:db8:d000::/36"]

[[pool]]
name = "static"
policy = "static"
prefixes = ["203.0.113.128/26"]

[checks]
source-validation = "off"
"#
    )
}

const MEMORY: &str = "driver = \"memory\"";

fn offline() -> String {
    config(MEMORY, MEMORY, "")
}

/// A TCP segment. `flags`: 2 is SYN, 0x12 the answer to it.
fn tcp(from: ([u8; 4], u16), to: ([u8; 4], u16), flags: u8) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0x0f, 1, 2, 0, 0, 0, 1, 1, 8, 0];
    frame.extend([0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0]);
    frame.extend(from.0);
    frame.extend(to.0);
    frame.extend(from.1.to_be_bytes());
    frame.extend(to.1.to_be_bytes());
    frame.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    frame
}

const NOW: Micros = 1_150_340_400_000_000;
const CUSTOMER: [u8; 4] = [203, 0, 113, 5];
const ELSEWHERE: [u8; 4] = [198, 51, 100, 200];

/// One to port 443, one to port 25.
fn two() -> [Vec<u8>; 2] {
    [tcp((CUSTOMER, 50_000), (ELSEWHERE, 443), 2), tcp((CUSTOMER, 50_001), (ELSEWHERE, 25), 2)]
}

fn lines(finished: &Finished) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    finished.stdout.lines().map(parse).collect()
}

/// The summary, and the reasons in front of it.
fn reasons(finished: &Finished) -> (Vec<String>, Value) {
    let mut lines = lines(finished);
    let summary = lines.pop().expect("a summary")["summary"].clone();
    assert!(summary.is_object(), "the last line is a summary: {}", finished.stdout);
    (lines.iter().map(|line| line["reason"].as_str().expect("a reason").to_owned()).collect(), summary)
}

fn refused(finished: &Finished, parts: &[&str]) {
    assert_eq!(finished.code, Some(1), "{finished:?}");
    for part in parts {
        assert!(finished.stderr.contains(part), "no {part:?} in {:?}", finished.stderr);
    }
}

// ---------------------------------------------------------------------- run

/// Cores that this process may use.
fn cores() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").expect("procfs");
    let list =
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("a list of cores");
    let number = |text: &str| text.trim().parse::<usize>().expect("a number");
    list.split(',')
        .flat_map(|range| match range.split_once('-') {
            Some((first, last)) => number(first)..=number(last),
            None => number(range)..=number(range),
        })
        .collect()
}

/// Frames and their times.
type Frames = Vec<(Micros, Vec<u8>)>;

/// Many flows in both directions, in the order of their times.
fn conversation() -> (Frames, Frames) {
    let (mut out, mut back) = (Vec::new(), Vec::new());
    let mut at = NOW;
    for n in 0..3_000u16 {
        let customer = [203, 0, 113, (n % 190) as u8];
        let server = [198, 51, 100, (n * 7 % 200) as u8];
        let port = [443, 25, 587, 80, 443, 993][usize::from(n % 6)];
        // One attempt of each customer at a time that its budget allows.
        let port = if port == 25 && n > 950 { 443 } else { port };
        at += 37;
        out.push((at, tcp((customer, 50_000 + n), (server, port), 2)));
        at += 11;
        back.push((at, tcp((server, port), (customer, 50_000 + n), 0x12)));
        // A datagram in two pieces: what becomes of the second hangs on the first.
        if n % 25 == 0 {
            let mut first = tcp((customer, 50_000 + n), (server, [25, 443][usize::from(n / 25 % 2)]), 0x10);
            let mut second = first.clone();
            first[20] = 0x20;
            second[20..22].copy_from_slice(&[0, 50]);
            for piece in [first, second] {
                at += 13;
                out.push((at, piece));
            }
        }
    }
    (out, back)
}

fn borrowed(frames: &[(Micros, Vec<u8>)]) -> impl Iterator<Item = (Micros, &[u8])> {
    frames.iter().map(|(at, frame)| (*at, frame.as_slice()))
}

/// Runs the conversation with one worker, with two, and with two again; gives back the summaries.
fn with_one_worker_and_with_two(folder: &Folder, reads: &[&str]) -> Vec<Value> {
    let cores = cores();
    assert!(cores.len() > 1, "this takes two cores");
    let port = |name: &str, run: &str| {
        let read = if reads.contains(&name) { format!("read = \"{name}.pcap\"\n") } else { String::new() };
        format!("driver = \"pcap\"\n{read}write = \"{run}-{name}.pcap\"")
    };
    let runs = [("one", 1), ("two", 2), ("again", 2)].map(|(run, workers)| {
        let text =
            config(&port("access", run), &port("core", run), &format!("cores = {:?}", &cores[..workers]));
        folder.write(&format!("{run}.toml"), &text);
        let finished = folder.run(&format!("run -c {run}.toml --json"));
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
        lines(&finished).pop().expect("a summary")
    });
    // Parts of workers are not left lying about.
    let names = fs::read_dir(&folder.0).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().contains("worker")).collect();
    assert!(left.is_empty(), "{left:?}");
    runs.into()
}

#[test]
fn run_writes_the_same_captures_and_the_same_summary_with_one_worker_and_with_two() {
    let folder = Folder::new("workers");
    let (out, _) = conversation();
    folder.capture("access.pcap", ETHERNET, borrowed(&out));
    let summaries = with_one_worker_and_with_two(&folder, &["access"]);
    assert_eq!(summaries[0]["received"], 3_240);
    assert_eq!(summaries[0]["reasons"]["fragment-follow"], 120);
    assert_eq!(summaries[0], summaries[1]);
    assert_eq!(summaries[0], summaries[2]);
    // What was forwarded, and the answers to what was not.
    for (name, least) in [("core", 2_000), ("access", 100)] {
        let [one, two, again] =
            ["one", "two", "again"].map(|run| folder.frames(&format!("{run}-{name}.pcap")));
        assert!(one.len() > least, "{name}: {}", one.len());
        assert_eq!(difference(&one, &two), None, "{name}: one worker and two");
        assert_eq!(difference(&two, &again), None, "{name}: two workers, twice");
    }
}

/// Where two captures meet in one port, what leaves by it is in the order of its times with two workers, and burst
/// by burst with one: the same frames all the same.
#[test]
fn run_writes_the_same_frames_in_both_directions_with_one_worker_and_with_two() {
    let folder = Folder::new("both");
    let (out, back) = conversation();
    folder.capture("access.pcap", ETHERNET, borrowed(&out));
    folder.capture("core.pcap", ETHERNET, borrowed(&back));
    let summaries = with_one_worker_and_with_two(&folder, &["access", "core"]);
    assert_eq!(summaries[0]["received"], 6_240);
    assert_eq!(summaries[0], summaries[1]);
    assert_eq!(summaries[0], summaries[2]);
    for name in ["access", "core"] {
        let [one, two, again] = ["one", "two", "again"].map(|run| {
            let mut frames = folder.frames(&format!("{run}-{name}.pcap"));
            frames.sort();
            frames
        });
        assert!(one.len() > 2_000, "{name}: {}", one.len());
        assert_eq!(difference(&one, &two), None, "{name}: one worker and two");
        assert_eq!(difference(&two, &again), None, "{name}: two workers, twice");
    }
}

/// Where two captures differ first.
fn difference(one: &[(Micros, Vec<u8>)], other: &[(Micros, Vec<u8>)]) -> Option<String> {
    let at = one.iter().zip(other).position(|(one, other)| one != other);
    let at = at.or((one.len() != other.len()).then_some(one.len().min(other.len())))?;
    Some(format!("frame {at} of {} and {}: {:?}, {:?}", one.len(), other.len(), one.get(at), other.get(at)))
}

#[test]
fn run_keeps_the_packets_of_a_flow_in_their_order() {
    let folder = Folder::new("order");
    let (out, back) = conversation();
    folder.capture("access.pcap", ETHERNET, borrowed(&out));
    folder.capture("core.pcap", ETHERNET, borrowed(&back));
    let port = |name: &str| format!("driver = \"pcap\"\nread = \"{name}.pcap\"\nwrite = \"out-{name}.pcap\"");
    let cores = cores();
    let text = config(&port("access"), &port("core"), &format!("cores = {:?}", &cores[..cores.len().min(2)]));
    folder.write("c.toml", &text);
    assert_eq!(folder.run("run -c c.toml").code, Some(0));
    let left = folder.frames("out-core.pcap");
    let mut flows: BTreeMap<Vec<u8>, Micros> = BTreeMap::new();
    for (at, frame) in &left {
        let flow = frame[26..34].to_vec();
        let last = flows.insert(flow, *at);
        assert!(last.is_none_or(|last| last <= *at), "{frame:02x?}");
    }
    assert!(flows.len() > 500 && left.len() > 2_000);
}

#[test]
fn run_prints_a_table_of_reasons_whose_sum_is_what_was_received() {
    let folder = Folder::new("table");
    let [open, closed] = two();
    folder.capture("access.pcap", ETHERNET, [(NOW, &open[..]), (NOW + 1, &closed), (NOW + 2, &open)]);
    let access = "driver = \"pcap\"\nread = \"access.pcap\"\nwrite = \"back.pcap\"";
    folder.write(
        "c.toml",
        &config(access, "driver = \"pcap\"\nwrite = \"out.pcap\"", "cores = [0]")
            .replace("cores = [0]", &format!("cores = [{}]", cores()[0])),
    );
    let finished = folder.run("run -c c.toml");
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    let row = |name: &str| {
        let line = finished.stdout.lines().find(|line| line.split_whitespace().next() == Some(name));
        line.unwrap_or_else(|| panic!("no {name} in {}", finished.stdout)).to_owned()
    };
    // Numbers are flush right below their headings.
    let below = |heading: &str, line: &str| -> u64 {
        let head = row("reason");
        let at = head.find(heading).unwrap_or_else(|| panic!("no {heading} in {head}")) + heading.len();
        let number = line.chars().take(at).collect::<String>();
        number.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    for (name, forwarded, denied) in [("other-port", 2, 0), ("port25-egress", 0, 1), ("sum", 2, 1)] {
        let line = row(name);
        assert_eq!((below("forwarded", &line), below("denied", &line)), (forwarded, denied), "{line}");
    }
    assert!(row("sum").contains('3'), "{}", row("sum"));
    assert!(row("my-b-flets").contains("My-BフレッツF/M-B"));
    assert!(finished.stdout.lines().all(|line| line.chars().count() <= 100), "{}", finished.stdout);
    // What left: two packets out, and one answer back.
    assert_eq!(folder.frames("out.pcap"), [(NOW, open.clone()), (NOW + 2, open)]);
    let back = folder.frames("back.pcap");
    assert_eq!(back.len(), 1);
    assert_eq!(
        (back[0].0, &back[0].1[26..30], back[0].1[47]),
        (NOW + 1, &ELSEWHERE[..], 0x14),
        "a RST with ACK"
    );
}

#[test]
fn run_warns_of_a_capture_that_ends_inside_a_packet_and_goes_on() {
    let folder = Folder::new("run-cut");
    let [open, closed] = two();
    folder.capture("whole.pcap", ETHERNET, [(NOW, &open[..]), (NOW + 1, &closed), (NOW + 2, &open)]);
    let bytes = fs::read(folder.0.join("whole.pcap")).expect("a capture");
    fs::write(folder.0.join("cut.pcap"), &bytes[..bytes.len() - 7]).expect("a scratch folder is writable");
    let cores = cores();
    let text = config(
        "driver = \"pcap\"\nread = \"cut.pcap\"",
        "driver = \"pcap\"\nwrite = \"out.pcap\"",
        &format!("cores = {:?}", &cores[..cores.len().min(2)]),
    );
    folder.write("c.toml", &text);
    let finished = folder.run("run -c c.toml --json");
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(lines(&finished)[0]["received"], 2);
    let warnings: Vec<&str> = finished.stderr.lines().collect();
    assert_eq!(warnings.len(), 1, "one warning for all workers: {warnings:?}");
    assert!(warnings[0].contains("warning") && warnings[0].contains("cut.pcap"), "{warnings:?}");
    assert_eq!(folder.frames("out.pcap").len(), 1);
}

#[test]
fn run_reads_a_damaged_capture_up_to_the_damage_and_fails_in_the_end() {
    let folder = Folder::new("run-damaged");
    damaged(&folder, "bad.pcap");
    let cores = cores();
    let text = config(
        "driver = \"pcap\"\nread = \"bad.pcap\"",
        "driver = \"pcap\"\nwrite = \"out.pcap\"",
        &format!("cores = {:?}", &cores[..cores.len().min(2)]),
    );
    folder.write("c.toml", &text);
    let finished = folder.run("run -c c.toml --json");
    refused(&finished, &["bad.pcap", "access"]);
    assert_eq!(lines(&finished)[0]["received"], 2, "{finished:?}");
    assert_eq!(folder.frames("out.pcap").len(), 1);
}

/// Two whole packets, and a third one with a length that cannot be right.
fn damaged(folder: &Folder, name: &str) {
    let [open, closed] = two();
    folder.capture(
        name,
        ETHERNET,
        [(NOW, &open[..]), (NOW + 1, &closed), (NOW + 2, &open), (NOW + 3, &open)],
    );
    let path = folder.0.join(name);
    let mut bytes = fs::read(&path).expect("a capture");
    let third = 24 + 2 * (16 + open.len());
    bytes[third + 8..third + 12].fill(0xff);
    fs::write(&path, bytes).expect("a scratch folder is writable");
}

#[test]
fn run_refuses_what_it_cannot_read_or_write_by_name() {
    let folder = Folder::new("run-refusals");
    let [open, _] = two();
    folder.capture("in.pcap", ETHERNET, [(NOW, &open[..])]);
    folder.capture("usb.pcap", 189, [(NOW, &open[..])]);
    folder.write("text.pcap", "this is no capture at all, is it");
    let core = cores()[0];
    for (read, write, parts) in [
        ("missing.pcap", "out.pcap", &["missing.pcap", "No such file"][..]),
        ("usb.pcap", "out.pcap", &["usb.pcap", "USB"]),
        ("text.pcap", "out.pcap", &["text.pcap"]),
        ("in.pcap", "no-such-folder/out.pcap", &["no-such-folder/out.pcap", "No such file"]),
    ] {
        let access = format!("driver = \"pcap\"\nread = \"{read}\"");
        let out = format!("driver = \"pcap\"\nwrite = \"{write}\"");
        folder.write("c.toml", &config(&access, &out, &format!("cores = [{core}]")));
        let finished = folder.run("run -c c.toml");
        refused(&finished, parts);
        assert_eq!(finished.stdout, "", "{read}, {write}");
    }
}

#[test]
fn run_refuses_a_core_that_is_not_there() {
    let folder = Folder::new("core");
    let access = "driver = \"pcap\"\nread = \"in.pcap\"";
    folder.write("c.toml", &config(access, "driver = \"pcap\"\nwrite = \"out.pcap\"", "cores = [1000]"));
    refused(&folder.run("run -c c.toml"), &["1000"]);
}

// ---------------------------------------------------------------------- replay

#[test]
fn replay_refuses_a_port_that_is_not_there_and_says_which_are() {
    let folder = Folder::new("ports");
    folder.write("c.toml", &offline());
    folder.capture("in.pcap", ETHERNET, []);
    for command in [
        "replay -c c.toml --in acess=in.pcap",
        "replay -c c.toml --in access=in.pcap --out acess=out.pcap",
        "replay -c c.toml --in access=in.pcap --down acess",
    ] {
        let finished = folder.run(command);
        refused(&finished, &["acess", "access, core, filter"]);
        assert_eq!(finished.stdout, "", "{command}");
    }
}

#[test]
fn replay_plays_only_a_filter_dead() {
    let folder = Folder::new("down");
    folder.write("c.toml", &offline());
    folder.capture("in.pcap", ETHERNET, []);
    refused(&folder.run("replay -c c.toml --in access=in.pcap --down core"), &["core", "filter"]);
    assert_eq!(folder.run("replay -c c.toml --in access=in.pcap --down filter").code, Some(0));
}

#[test]
fn replay_warns_of_a_capture_that_ends_inside_a_packet_and_goes_on() {
    let folder = Folder::new("cut");
    folder.write("c.toml", &offline());
    let [open, closed] = two();
    folder.capture("whole.pcap", ETHERNET, [(NOW, &open[..]), (NOW + 1, &closed), (NOW + 2, &open)]);
    let bytes = fs::read(folder.0.join("whole.pcap")).expect("a capture");
    fs::write(folder.0.join("cut.pcap"), &bytes[..bytes.len() - 7]).expect("a scratch folder is writable");
    let finished = folder.run("replay -c c.toml --clock capture --in access=cut.pcap --json");
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let (reasons, summary) = reasons(&finished);
    assert_eq!(
        (reasons, summary["received"].as_u64()),
        (vec!["other-port".to_owned(), "port25-egress".to_owned()], Some(2))
    );
    assert!(
        finished.stderr.contains("warning") && finished.stderr.contains("cut.pcap"),
        "{}",
        finished.stderr
    );
    assert!(finished.stderr.contains('2'), "how many were whole: {}", finished.stderr);
}

#[test]
fn replay_of_a_damaged_capture_gives_the_packets_before_the_damage_then_the_summary_then_fails() {
    let folder = Folder::new("damaged");
    folder.write("c.toml", &offline());
    damaged(&folder, "bad.pcap");
    let [open, _] = two();
    folder.capture("good.pcap", ETHERNET, [(NOW + 500, &open[..])]);
    let finished = folder.run("replay -c c.toml --clock capture --in access=bad.pcap --in core=good.pcap --out core=out.pcap --json");
    refused(&finished, &["bad.pcap"]);
    let (reasons, summary) = reasons(&finished);
    assert_eq!(reasons, ["other-port", "port25-egress", "other-port"], "the other capture is read on");
    assert_eq!(summary["received"], 3);
    assert_eq!(folder.frames("out.pcap").len(), 1);
}

#[test]
fn replay_says_why_it_cannot_write() {
    let folder = Folder::new("write");
    folder.write("c.toml", &offline());
    let [open, _] = two();
    folder.capture("in.pcap", ETHERNET, [(NOW, &open[..])]);
    let finished = folder.run("replay -c c.toml --in access=in.pcap --out core=no-such-folder/out.pcap");
    refused(&finished, &["no-such-folder/out.pcap", "No such file"]);
    // Over what is being read.
    let before = fs::read(folder.0.join("in.pcap")).expect("a capture");
    refused(&folder.run("replay -c c.toml --in access=in.pcap --out core=./in.pcap"), &["in.pcap"]);
    assert_eq!(fs::read(folder.0.join("in.pcap")).expect("a capture"), before);
    // Two outputs that are one file.
    let finished =
        folder.run("replay -c c.toml --in access=in.pcap --out core=out.pcap --out access=./out.pcap");
    refused(&finished, &["out.pcap"]);
}

#[test]
fn replay_takes_packets_by_their_times_and_of_equal_ones_in_the_order_of_the_inputs() {
    let folder = Folder::new("ties");
    folder.write("c.toml", &offline());
    let [open, closed] = two();
    folder.capture(
        "access.pcap",
        ETHERNET,
        [(NOW, &open[..]), (NOW + 5, &closed), (NOW + 5, &open), (NOW + 9, &open)],
    );
    folder.capture("core.pcap", ETHERNET, [(NOW + 5, &open[..]), (NOW + 5, &open), (NOW + 7, &open)]);
    let order = |command: &str| -> Vec<(String, u64)> {
        let mut lines = lines(&folder.run(command));
        lines.pop();
        let port = |line: &Value| {
            (line["port"].as_str().expect("a port").to_owned(), line["n"].as_u64().expect("a number"))
        };
        lines.iter().map(port).collect()
    };
    let expected = |list: &[(&str, u64)]| -> Vec<(String, u64)> {
        list.iter().map(|(port, n)| (port.to_string(), *n)).collect()
    };
    let (a, c) = ("access", "core");
    assert_eq!(
        order("replay -c c.toml --clock capture --json --in access=access.pcap --in core=core.pcap"),
        expected(&[(a, 1), (a, 2), (a, 3), (c, 1), (c, 2), (c, 3), (a, 4)])
    );
    assert_eq!(
        order("replay -c c.toml --clock capture --json --in core=core.pcap --in access=access.pcap"),
        expected(&[(a, 1), (c, 1), (c, 2), (a, 2), (a, 3), (c, 3), (a, 4)])
    );
}

/// `sekisho replay … | head -1`
#[test]
fn replay_ends_in_peace_when_nobody_reads_on() {
    let folder = Folder::new("pipe");
    folder.write("c.toml", &offline());
    let [open, _] = two();
    folder.capture("in.pcap", ETHERNET, (0..20_000).map(|n| (NOW + n, &open[..])));
    let mut child = Command::new(binary::sekisho())
        .args(["replay", "-c", "c.toml", "--in", "access=in.pcap", "--json"])
        .current_dir(&folder.0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sekisho starts");
    let mut first = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut first).expect("a line");
    assert!(first.starts_with("{\"n\":1,"), "{first}");
    let mut complaints = String::new();
    child.stderr.take().expect("its complaints").read_to_string(&mut complaints).expect("text");
    let status = child.wait().expect("it ends");
    assert_eq!((status.code(), complaints.as_str()), (Some(0), ""));
}

#[test]
fn replay_at_an_instant_judges_all_packets_then() {
    let folder = Folder::new("at");
    folder.write("c.toml", &offline());
    let [_, closed] = two();
    folder.capture("in.pcap", ETHERNET, [(NOW, &closed[..])]);
    for (at, reason) in
        [("2006-05-31T23:59:59.999999+09:00", "not-in-scope"), ("2006-06-01T00:00:00+09:00", "port25-egress")]
    {
        let finished = folder.run(&format!("replay -c c.toml --in access=in.pcap --json --at {at}"));
        assert_eq!(reasons(&finished).0, [reason], "{at}");
    }
}

#[test]
fn replay_gives_grants_from_their_instant_for_their_time() {
    let folder = Folder::new("grants");
    folder.write("c.toml", &offline());
    let [_, closed] = two();
    let second = 1_000_000;
    folder.capture(
        "in.pcap",
        ETHERNET,
        [(NOW, &closed[..]), (NOW + second, &closed), (NOW + 2 * second, &closed)],
    );
    let finished = folder.run("replay -c c.toml --clock capture --in access=in.pcap --json --grant 203.0.113.5=2006-06-15T03:00:01Z/1s");
    assert_eq!(reasons(&finished).0, ["port25-egress", "exempt-grant", "port25-egress"]);
}

// ---------------------------------------------------------------------- explain and check

#[test]
fn explain_names_rule_pool_policy_and_phase() {
    let folder = Folder::new("explain");
    folder.write("c.toml", &offline());
    for (packet, verdict, parts) in [
        (
            "203.0.113.5 198.51.100.200 25",
            "deny: port25-egress",
            &["my-b-flets", "My-BフレッツF/M-B", "dynamic", "all-operators", "18  yes", "action: reject"][..],
        ),
        (
            "203.0.113.5 192.0.2.25 25",
            "forward: allowed-destination",
            &["my-b-flets", "own-msa", "14  yes", "out: core"],
        ),
        ("203.0.113.130 198.51.100.200 25", "forward: exempt-pool", &["pool: static", "15  yes"]),
        (
            "2001:db8:d000::5 2001:db8:f::1 25",
            "deny: port25-egress",
            &["my-b-flets", "2001:db8:d000::/36", "18  yes"],
        ),
        ("203.0.113.5 198.51.100.200 587", "forward: submission", &["10  yes"]),
        ("203.0.113.5 198.51.100.200 25 --proto udp", "forward: not-tcp", &["9  yes"]),
        (
            "203.0.113.5 198.51.100.200 25 --at 2006-05-31T00:00:00+09:00",
            "forward: not-in-scope",
            &["to come", "19  yes"],
        ),
        (
            "--in core 198.51.100.200 203.0.113.5 50000 --sport 25",
            "deny: port25-mirror",
            &["my-b-flets", "20  yes", "all-operators", "action: drop"],
        ),
        ("10.0.0.1 198.51.100.200 25", "deny: port25-unknown-source", &["17  yes"]),
    ] {
        let finished = folder.run(&format!("explain -c c.toml {packet}"));
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{packet}");
        for part in parts.iter().chain([&verdict]) {
            assert!(finished.stdout.contains(part), "{packet}: no {part:?} in\n{}", finished.stdout);
        }
        assert!(finished.stdout.lines().all(|line| line.chars().count() <= 100), "{}", finished.stdout);
        // For machines, the same.
        let finished = folder.run(&format!("explain -c c.toml {packet} --json"));
        let explained = lines(&finished).pop().expect("an object");
        let said = format!(
            "{}: {}",
            explained["verdict"].as_str().expect("a verdict"),
            explained["reason"].as_str().expect("a reason")
        );
        assert_eq!(said, verdict, "{packet}");
        let matched: Vec<&Value> = explained["rules"]
            .as_array()
            .expect("rules")
            .iter()
            .filter(|rule| rule["matched"] == true)
            .collect();
        assert!(!matched.is_empty(), "{explained}");
    }
}

#[test]
fn explain_says_what_replay_does() {
    let folder = Folder::new("agree");
    folder.write("c.toml", &offline());
    let [open, closed] = two();
    folder.capture("in.pcap", ETHERNET, [(NOW, &open[..]), (NOW, &closed)]);
    let replayed = lines(&folder.run("replay -c c.toml --clock capture --in access=in.pcap --json"));
    for (line, port) in replayed.iter().zip([443, 25]) {
        let finished = folder.run(&format!(
            "explain -c c.toml 203.0.113.5 198.51.100.200 {port} --at 2006-06-15T12:00:00+09:00 --json"
        ));
        let explained = lines(&finished).pop().expect("an object");
        for key in ["verdict", "reason", "pool", "policy", "phase", "would", "action", "out"] {
            assert_eq!(explained[key], line[key], "{key}, port {port}");
        }
    }
}

#[test]
fn explain_refuses_what_makes_no_packet() {
    let folder = Folder::new("explain-refusals");
    folder.write("c.toml", &offline());
    refused(&folder.run("explain -c c.toml 203.0.113.5 2001:db8::1 25"), &["203.0.113.5", "2001:db8::1"]);
    refused(&folder.run("explain -c c.toml --in nowhere 203.0.113.5 192.0.2.1 25"), &["nowhere", "access"]);
    for bad in [
        "203.0.113.555 192.0.2.1 25",
        "203.0.113.5 192.0.2.1 65536",
        "203.0.113.5 192.0.2.1",
        "203.0.113.5 192.0.2.1 25 --at yesterday",
    ] {
        assert_eq!(folder.run(&format!("explain -c c.toml {bad}")).code, Some(2), "{bad}");
    }
}

#[test]
fn check_prints_what_a_configuration_means() {
    let folder = Folder::new("check");
    folder.write("c.toml", &offline());
    let finished = folder.run("check -c c.toml");
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    for part in
        ["c.toml", "my-b-flets", "My-BフレッツF/M-B", "own-msa", "all-operators", "in force", "pools_v4"]
    {
        assert!(finished.stdout.contains(part), "no {part:?} in\n{}", finished.stdout);
    }
    let finished = folder.run("check -c c.toml --json");
    let report = lines(&finished).pop().expect("an object");
    assert_eq!(report["ok"], true);
    assert_eq!(
        report["ports"][0],
        serde_json::json!({ "name": "access", "role": "subscriber", "peer": "core" })
    );
    assert_eq!(report["ports"][2]["peer"], Value::Null);
    assert_eq!(report["pools"][0]["prefixes_v4"], 1);
    assert_eq!(report["pools"][0]["prefixes_v6"], 1);
    assert_eq!(report["policies"][0]["phases"][0]["state"], "in force");
    assert_eq!(report["policies"][0]["phases"][0]["block"], serde_json::json!(["all"]));
    let tables = report["tables"].as_array().expect("tables");
    let names: Vec<&str> = tables.iter().map(|table| table["table"].as_str().expect("a name")).collect();
    assert_eq!(names, ["pools_v4", "pools_v6", "sets_v4", "sets_v6"]);
    assert_eq!(tables[0]["prefixes"], 2);
    let bytes: u64 = tables.iter().map(|table| table["bytes"].as_u64().expect("a number")).sum();
    assert_eq!(report["memory_bytes"].as_u64(), Some(bytes));
}

#[test]
fn check_shows_every_mistake_with_file_line_and_column() {
    let folder = Folder::new("mistakes");
    let text = offline().replace("policy = \"static\"", "policy = \"statc\"").replace("mirror", "mirrored");
    let text = text.replace("203.0.113.128/26", "203.0.113.129/26");
    let place = |part: &str| {
        let at = text.find(part).expect("it is there");
        let line = text[..at].matches('\n').count() + 1;
        format!("c.toml:{line}:{}", at - text[..at].rfind('\n').map_or(0, |newline| newline + 1) + 1)
    };
    folder.write("c.toml", &text);
    let finished = folder.run("check -c c.toml");
    refused(
        &finished,
        &[&place("\"statc\""), "statc", "static", &place("\"203.0.113.129/26\""), "203.0.113.128/26"],
    );
    assert!(finished.stderr.contains("policy = \"statc\""), "the line itself: {}", finished.stderr);
    let finished = folder.run("check -c c.toml --json");
    assert_eq!(finished.code, Some(1));
    let report = lines(&finished).pop().expect("an object");
    assert_eq!(report["ok"], false);
    let problems = report["problems"].as_array().expect("problems");
    assert_eq!(problems.len(), 2, "{problems:?}");
    for problem in problems {
        for key in ["file", "message", "help"] {
            assert!(problem[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {problem}");
        }
        assert!(problem["line"].is_u64() && problem["column"].is_u64(), "{problem}");
    }
    // Every command shows them.
    folder.capture("in.pcap", ETHERNET, []);
    for command in [
        "run -c c.toml",
        "replay -c c.toml --in access=in.pcap",
        "explain -c c.toml 203.0.113.5 192.0.2.1 25",
    ] {
        refused(&folder.run(command), &[&place("\"statc\"")]);
    }
}

#[test]
fn check_refuses_a_file_that_is_not_there() {
    let folder = Folder::new("missing");
    refused(&folder.run("check -c missing.toml"), &["missing.toml", "No such file"]);
}

// ---------------------------------------------------------------------- usage

#[test]
fn bad_usage_ends_with_2_and_help_with_0() {
    let folder = Folder::new("usage");
    folder.write("c.toml", &offline());
    for command in [
        "",
        "frobnicate",
        "check",
        "check -c c.toml --frobnicate",
        "run",
        "replay -c c.toml",
        "replay -c c.toml --in access",
        "replay -c c.toml --in =in.pcap",
        "replay -c c.toml --in access=in.pcap --clock tomorrow",
        "replay -c c.toml --in access=in.pcap --at 2006-06-01T00:00:00+09:00 --clock capture",
        "replay -c c.toml --in access=in.pcap --grant 203.0.113.5",
        "explain -c c.toml",
    ] {
        let finished = folder.run(command);
        assert_eq!(
            (finished.code, finished.stdout.as_str()),
            (Some(2), ""),
            "{command:?}: {}",
            finished.stderr
        );
        assert!(!finished.stderr.is_empty(), "{command:?}");
    }
    for command in
        ["--help", "help", "--version", "check --help", "run --help", "replay --help", "explain --help"]
    {
        let finished = folder.run(command);
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{command:?}");
        assert!(
            finished.stdout.lines().all(|line| line.chars().count() <= 100),
            "{command:?}: {}",
            finished.stdout
        );
    }
}

/// The first command of the README, on copies.
#[test]
fn the_quickstart_runs_and_its_books_balance() {
    let folder = Folder::new("quickstart");
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let text = fs::read_to_string(configs.join("quickstart.toml")).expect("the quickstart");
    let cores = cores();
    folder.write(
        "quickstart.toml",
        &text.replace("cores = [0, 1]", &format!("cores = {:?}", &cores[..cores.len().min(2)])),
    );
    fs::create_dir(folder.0.join("quickstart")).expect("a scratch folder is writable");
    for name in ["access.pcap", "core.pcap"] {
        fs::copy(configs.join("quickstart").join(name), folder.0.join("quickstart").join(name))
            .expect("a capture");
    }
    let finished = folder.run("run -c quickstart.toml --json");
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    let summary = lines(&finished).pop().expect("a summary");
    let received =
        ["access", "core"].map(|name| folder.frames(&format!("quickstart/{name}.pcap")).len() as u64);
    let received: u64 = received.iter().sum();
    assert_eq!(summary["received"].as_u64(), Some(received));
    let reasons = summary["reasons"].as_object().expect("reasons");
    assert_eq!(reasons.values().filter_map(Value::as_u64).sum::<u64>(), received);
    assert!(reasons.contains_key("port25-egress") && summary["denied"].as_u64() > Some(0), "{summary}");
    for name in ["out-access", "out-core"] {
        assert!(!folder.frames(&format!("quickstart/{name}.pcap")).is_empty(), "{name}");
    }
}

#[test]
fn replay_of_a_capture_that_can_not_be_read_says_why_and_prints_no_empty_table() {
    let folder = Folder::new("replay-unreadable");
    let [open, _] = two();
    folder.capture("bad.pcap", ETHERNET, [(NOW, &open[..])]);
    let path = folder.0.join("bad.pcap");
    let mut bytes = fs::read(&path).expect("a capture");
    bytes[24 + 8..24 + 12].fill(0xff);
    fs::write(&path, bytes).expect("a scratch folder is writable");
    folder.write("c.toml", &config(MEMORY, MEMORY, ""));
    let finished = folder.run("replay -c c.toml --in access=bad.pcap");
    refused(&finished, &["bad.pcap"]);
    assert_eq!(finished.stdout, "");
}

#[test]
fn check_accepts_and_warns_of_what_would_not_run_here() {
    let folder = Folder::new("check-warns");
    let text = config(
        "driver = \"pcap\"\nread = \"later.pcap\"",
        "driver = \"dpdk\"\ndevice = \"0000:01:00.0\"",
        "cores = [65535]",
    );
    folder.write("c.toml", &text);
    let finished = folder.run("check -c c.toml --json");
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let warnings = lines(&finished)[0]["warnings"].as_array().expect("a list").clone();
    let told: Vec<&str> = warnings.iter().filter_map(Value::as_str).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    for (told, what) in told.iter().zip(["later.pcap", "dpdk", "65535"]) {
        assert!(told.contains(what) && finished.stderr.contains(told), "{told}: {finished:?}");
    }
    folder.write("c.toml", &config(MEMORY, "driver = \"xdp\"\ndevice = \"no-such-dev\"", ""));
    let finished = folder.run("check -c c.toml");
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(
        finished.stderr.contains("port core: there is no interface no-such-dev on this host"),
        "{finished:?}"
    );
}

#[test]
fn doctor_says_of_a_port_without_an_interface_what_to_do_and_fails() {
    let folder = Folder::new("doctor");
    let text = config(MEMORY, "driver = \"packet\"\ndevice = \"no-such-dev\"", "");
    folder.write("c.toml", &text);
    let finished = folder.run("doctor -c c.toml --json");
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let report = &lines(&finished)[0];
    let findings = report["findings"].as_array().expect("a list");
    let absent = findings.iter().find(|finding| finding["subject"] == "port core").expect("the port");
    assert_eq!((&report["ok"], &absent["level"]), (&Value::from(false), &Value::from("fail")), "{absent}");
    assert!(absent["fix"].as_str().is_some_and(|fix| fix.starts_with("ip ")), "{absent}");
    assert!(absent["why"].is_string(), "{absent}");

    // Nothing to be seen of what there is not would read as nothing wrong.
    refused(&folder.run("doctor -c c.toml --only prot --json"), &["called \"prot\"", "\"port core\""]);
    let host = folder.run("doctor");
    assert!(host.stdout.contains("kernel: Linux") && !host.stdout.contains("port "), "{host:?}");
}
