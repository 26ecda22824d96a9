//! Captures of other people's programs, and the answers beside them: for every frame what a filter of port
//! 25 has to do with it, computed without any parser of this project (`data/pcaps/README.md`).

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::capture::{self, Frame};
use crate::corpus;

/// The policy that the answers were made for, with this action: every source address is in a dynamic pool, no
/// exemptions.
pub fn configuration(action: &str) -> String {
    format!(
        r#"
[[port]]
name = "customers"
role = "subscriber"
peer = "core"
driver = "memory"

[[port]]
name = "core"
role = "internet"
peer = "customers"
driver = "memory"

[[policy]]
name = "dynamic"
action = "{action}"
phases = [{{ name = "all", from = "2006-06-01T00:00:00+09:00", block = "all" }}]

[[pool]]
name = "everyone"
policy = "dynamic"
prefixes = ["0.0.0.0/0", "::/0"]

[checks]
source-validation = "off"
"#
    )
}

/// One clock for all frames, at which that policy blocks: some captures have clocks that jump.
pub const AT: &str = "2006-06-15T12:00:00+09:00";

/// What a filter has to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// It must not come out.
    Drop,
    /// The filter must not drop it.
    Forward,
    /// Either is right.
    Any,
}

/// A row of the answers.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What to do.
    pub wanted: Wanted,
    columns: HashMap<String, String>,
}

impl Answer {
    fn column(&self, name: &str) -> &str {
        self.columns.get(name).unwrap_or_else(|| panic!("no column {name}"))
    }

    /// Why.
    pub fn reason(&self) -> &str {
        self.column("reason")
    }

    /// Whom the frame is from, if it has an address that a host can have (rule 5).
    pub fn source(&self) -> Option<IpAddr> {
        let source = self.column("src");
        source.parse().ok().filter(|_| !is_bogon(source))
    }

    /// Whether no rule has anything against the frame but those of port 25: it is whole, and no fragment.
    pub fn is_plain(&self) -> bool {
        let is = |column: &str, value: &str| self.column(column) == value;
        !is("malformed", "1") && !is("truncated", "1") && !is("mf", "1")
    }

    /// Whether there are MPLS labels, which the answers do not open.
    pub fn has_labels(&self) -> bool {
        matches!(self.column("ethertype"), "0x8847" | "0x8848")
    }
}

/// A capture that has answers.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Folder and file.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

impl Answered {
    /// The capture, unpacked.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        capture::unpacked(&self.path)
    }

    /// The answers, one for each whole frame.
    pub fn answers(&self) -> io::Result<Vec<Answer>> {
        let mut name = self.path.file_name().expect("a file").to_owned();
        name.push(".oracle.csv.gz");
        let text = String::from_utf8(capture::unpacked(&self.path.with_file_name(name))?)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        let mut rows = text.lines().map(columns);
        let header = rows.next().expect("a header row");
        Ok(rows
            .map(|row| {
                let columns: HashMap<String, String> = header.iter().cloned().zip(row).collect();
                let wanted = match columns["verdict"].as_str() {
                    "drop" => Wanted::Drop,
                    "forward" => Wanted::Forward,
                    "any" => Wanted::Any,
                    other => panic!("verdict {other:?}"),
                };
                Answer { wanted, columns }
            })
            .collect())
    }
}

/// Where policy.md asks for something else than the answer does: the rule that says so.
///
/// The answers know nothing of what policy.md drops for other reasons than port 25, nor do they open MPLS.
/// Every line holds only for frames whose answer shows what the rule speaks of; a difference that no line
/// holds for is a fault.
pub fn explained(answer: &Answer, verdict: &str, reason: &str) -> Option<&'static str> {
    if answer.wanted != Wanted::Forward || verdict != "deny" {
        return None;
    }
    let has = |text: &str| answer.column("protocols").contains(text);
    let is = |column: &str, value: &str| answer.column(column) == value;
    let mpls = is("ethertype", "0x8847") || is("ethertype", "0x8848");
    match reason {
        "encap-depth" if mpls => Some("rule 2: labels count towards the limit"),
        "malformed" if is("malformed", "1") => {
            Some("rule 3: a header past the end, or a length that is wrong")
        }
        "malformed" if is("reason", "udp") && is("sport", "") => Some("rule 3: UDP too short for its ports"),
        "source-route" if has("ipv6.routing") => Some("rule 4: routing header type 0"),
        "bogon-source" if is_bogon(answer.column("src")) => Some("rule 5: the source address"),
        "bogon-source" if mpls => Some("rule 5, behind MPLS labels"),
        "tiny-fragment" if is("mf", "1") && is("frag_offset", "0") && is("l4_proto", "6") => Some("F3"),
        "fragment-follow" if is("reason", "nonfirst_frag") => Some("F6: its first was denied by F3 or F11"),
        "header-chain" if has("ipv6.fraghdr:ipv6.fraghdr") => Some("F11, and rule 8"),
        _ => None,
    }
}

/// Rule 5's ranges, in the spelling of the answers.
fn is_bogon(source: &str) -> bool {
    match source.parse() {
        Ok(IpAddr::V4(a)) => matches!(a.octets()[0], 0 | 127 | 224..),
        Ok(IpAddr::V6(a)) => {
            a.is_unspecified() || a.is_loopback() || a.is_multicast() || a.to_ipv4_mapped().is_some()
        }
        Err(_) => false,
    }
}

/// All captures that have answers: the copies beside this crate and, where there is a larger collection,
/// the rest.
pub fn captures() -> Vec<Answered> {
    let copies = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/pcaps");
    let mut all = Vec::new();
    let mut known = HashSet::new();
    for folder in std::iter::once(copies).chain(corpus::shared().map(|folder| folder.join("data/pcaps"))) {
        for path in files(&folder) {
            let name = path.strip_prefix(&folder).expect("inside the folder").to_string_lossy().into_owned();
            if let Some(capture) = name.strip_suffix(".oracle.csv.gz")
                && known.insert(capture.to_owned())
            {
                all.push(Answered { name: capture.to_owned(), path: folder.join(capture) });
            }
        }
    }
    all
}

/// Every file below a folder, sorted; none if there is no such folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    paths.into_iter().flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// A frame of another link type as an Ethernet frame with the same packet; `None` for link types that hold
/// none.
pub fn as_ethernet(frame: &Frame) -> Option<Vec<u8>> {
    let bytes = &frame.bytes;
    let by_version = |packet: &[u8]| match packet.first().map(|b| b >> 4) {
        Some(6) => 0x86dd,
        _ => 0x0800,
    };
    let (ether_type, packet): (u16, &[u8]) = match frame.link {
        capture::ETHERNET => return Some(bytes.clone()),
        // BSD loopback, in either byte order: an address family.
        0 | 108 => {
            let family = bytes.get(..4)?;
            let packet = &bytes[4..];
            match u32::from_le_bytes(family.try_into().expect("four bytes")) {
                2 | 0x0200_0000 => (0x0800, packet),
                24 | 28 | 30 | 10 | 0x1800_0000 | 0x1c00_0000 | 0x1e00_0000 => (0x86dd, packet),
                _ => (0xffff, packet),
            }
        }
        12 | 14 | 101 => (by_version(bytes), bytes),
        228 => (0x0800, bytes),
        229 => (0x86dd, bytes),
        // Linux cooked, versions 1 and 2.
        113 => (u16::from_be_bytes(bytes.get(14..16)?.try_into().expect("two bytes")), &bytes[16..]),
        276 => (u16::from_be_bytes(bytes.get(..2)?.try_into().expect("two bytes")), bytes.get(20..)?),
        _ => return None,
    };
    let mut ethernet = vec![2, 0, 0, 0, 0x0f, 1, 2, 0, 0, 0, 1, 1];
    ethernet.extend_from_slice(&ether_type.to_be_bytes());
    ethernet.extend_from_slice(packet);
    Some(ethernet)
}

/// The columns of a row; a column may stand in double quotes.
fn columns(row: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut quoted = false;
    for c in row.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => all.push(String::new()),
            c => all.last_mut().expect("a column").push(c),
        }
    }
    all
}
