//! The conformance vectors: how they are read, what configuration each is judged with, and how an outcome
//! and an answer are compared with what they expect. `data/vectors/README.md` is the contract.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::corpus;
use crate::twin::{Exit, Micros, Outcome, instant};

/// A line of `vectors.jsonl`.
#[derive(Clone, Debug, Deserialize)]
pub struct Vector {
    /// `v001` and so on.
    pub id: String,
    /// What it shows.
    pub title: String,
    /// The clock at the first step.
    pub at: String,
    /// Grants in force.
    #[serde(default)]
    pub grants: Vec<Grant>,
    /// Changes of the fixture.
    #[serde(default)]
    pub overrides: Map<String, Value>,
    /// Dead ports.
    #[serde(default)]
    pub down: Vec<String>,
    /// Frames in order.
    pub steps: Vec<Step>,
}

/// A grant of a vector.
#[derive(Clone, Debug, Deserialize)]
pub struct Grant {
    /// An address or a prefix.
    pub addr: String,
    /// For how long.
    #[serde(rename = "for")]
    pub lasts: String,
    /// From when on, if not from the vector's `at`.
    pub given: Option<String>,
}

/// A frame and what has to become of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Step {
    /// Where it is received.
    pub port: String,
    /// When, in microseconds after the vector's `at`.
    pub dt_us: Option<Micros>,
    /// The frame.
    #[serde(deserialize_with = "hex")]
    pub frame: Vec<u8>,
    /// What is compared.
    pub expect: Map<String, Value>,
}

impl Vector {
    /// The instant of every step: its own, or 10 µs after the step before.
    pub fn instants(&self) -> Vec<Micros> {
        let at = instant(&self.at).expect("a vector's `at` is an instant");
        let mut next = at;
        let mut all = Vec::new();
        for step in &self.steps {
            let now = step.dt_us.map_or(next, |dt| at + dt);
            all.push(now);
            next = now + 10;
        }
        all
    }

    /// The fixture with this vector's overrides.
    pub fn config(&self) -> toml::Table {
        overridden(&self.overrides)
    }

    /// Every grant as address, given and for.
    pub fn grants(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.grants
            .iter()
            .map(|g| (g.addr.as_str(), g.given.as_deref().unwrap_or(&self.at), g.lasts.as_str()))
    }
}

/// A line of `config-checks.jsonl`.
#[derive(Clone, Debug, Deserialize)]
pub struct ConfigCheck {
    /// `c01` and so on.
    pub id: String,
    /// What it shows.
    pub title: String,
    /// Changes of the fixture.
    pub overrides: Map<String, Value>,
    /// What `check` has to say.
    pub expect: CheckExpectation,
}

/// What `check` has to say.
#[derive(Clone, Debug, Deserialize)]
pub struct CheckExpectation {
    /// `accept` or `refuse`.
    pub check: String,
    /// What the printed text contains.
    #[serde(default)]
    pub names: Vec<String>,
}

/// All vectors: the copies beside this crate and, where there is a larger collection, those that it has
/// besides.
pub fn vectors() -> Vec<Vector> {
    lines("vectors.jsonl").map(|line| serde_json::from_str(&line).expect("a vector")).collect()
}

/// All configurations to check.
pub fn config_checks() -> Vec<ConfigCheck> {
    lines("config-checks.jsonl")
        .map(|line| serde_json::from_str(&line).expect("a configuration check"))
        .collect()
}

/// The fixture's text.
pub fn fixture() -> String {
    fs::read_to_string(directory().join("fixture.toml")).expect("the fixture")
}

/// The fixture with overrides.
pub fn overridden(overrides: &Map<String, Value>) -> toml::Table {
    let mut config = toml::from_str(&fixture()).expect("the fixture is TOML");
    for (path, value) in overrides {
        override_at(&mut config, path, value);
    }
    config
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/vectors")
}

fn lines(name: &str) -> impl Iterator<Item = String> {
    let mut all: Vec<String> = Vec::new();
    let folders =
        std::iter::once(directory()).chain(corpus::shared().map(|folder| folder.join("spec/vectors")));
    for path in folders.map(|folder| folder.join(name)).filter(|path| path.exists()) {
        let text = fs::read_to_string(&path).expect("vectors are readable");
        let known: std::collections::HashSet<String> = all.iter().cloned().collect();
        all.extend(text.lines().filter(|line| !known.contains(*line)).map(str::to_owned));
    }
    assert!(!all.is_empty(), "no {name}");
    all.into_iter()
}

/// Changes one place: a dotted path whose parts name keys, or in an array of tables the table of that
/// `name`. Tables on the way are made; `null` takes the key away.
fn override_at(config: &mut toml::Table, path: &str, value: &Value) {
    let mut parts: Vec<&str> = path.split('.').collect();
    let last = parts.pop().expect("a path has a last part");
    let mut table = config;
    let mut parts = parts.into_iter();
    while let Some(part) = parts.next() {
        let below = table.entry(part).or_insert_with(|| toml::Table::new().into());
        table = match below {
            toml::Value::Table(below) => below,
            toml::Value::Array(elements) => {
                let name = parts.next().expect("an array's element is named");
                elements
                    .iter_mut()
                    .filter_map(toml::Value::as_table_mut)
                    .find(|element| element.get("name").and_then(toml::Value::as_str) == Some(name))
                    .unwrap_or_else(|| panic!("{path}: no {name}"))
            }
            other => panic!("{path}: {other} has no keys"),
        };
    }
    if value.is_null() {
        table.remove(last);
    } else {
        let value = toml::Value::try_from(value).expect("an override is a TOML value");
        table.insert(last.to_owned(), value);
    }
}

fn hex<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(from)?;
    unhex(&text).ok_or_else(|| serde::de::Error::custom("not hexadecimal"))
}

/// Bytes from hexadecimal digits.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

/// The line of `replay --json` for the n-th frame of a port with that outcome.
///
/// `out` is left out where the documents do not say it.
pub fn line(n: usize, port: &str, outcome: &Outcome) -> Map<String, Value> {
    let mut line = Map::new();
    let mut put = |key: &str, value: Value| line.insert(key.to_owned(), value);
    put("n", json!(n));
    put("port", json!(port));
    put("verdict", json!(outcome.verdict));
    put("reason", json!(outcome.reason));
    put("pool", json!(outcome.pool));
    put("policy", json!(outcome.policy));
    put("phase", json!(outcome.phase));
    put("would", json!(outcome.would));
    put("action", json!(outcome.action));
    match &outcome.out {
        Exit::Nowhere => drop(put("out", Value::Null)),
        Exit::Port(name) => drop(put("out", json!(name))),
        Exit::Unsaid => {}
    }
    if outcome.suppressed {
        put("suppressed", json!(true));
    }
    line
}

/// How a line differs from what is expected; empty: it does not. A key that `expect` has not is not
/// compared, and `reply` is compared by [`compare_reply`].
pub fn differences(expect: &Map<String, Value>, line: &Map<String, Value>) -> Vec<String> {
    let mut all = Vec::new();
    for (key, wanted) in expect.iter().filter(|(key, _)| *key != "reply") {
        let got = line.get(key);
        // `suppressed` `false` also means that the line has no such key.
        let same = if key == "suppressed" && wanted == &Value::Bool(false) {
            got.is_none_or(|got| got == wanted)
        } else {
            got == Some(wanted)
        };
        if !same {
            let got = got.map_or("missing".to_owned(), Value::to_string);
            all.push(format!("{key}: expected {wanted}, got {got}"));
        }
    }
    all
}

/// The frame that a step's `reply` asks for: `None` if it is not compared, `Some(None)` if there must be
/// none.
pub fn expected_reply(expect: &Map<String, Value>) -> Option<Option<Vec<u8>>> {
    let reply = expect.get("reply")?;
    if reply.is_null() {
        return Some(None);
    }
    let text = reply.get("hex").and_then(Value::as_str).expect("a reply is written in hexadecimal");
    Some(Some(unhex(text).expect("a reply is written in hexadecimal")))
}

/// Compares an answer with the expected one as the README's table says: the link header byte for byte, free
/// fields free, checksums valid, zero bytes behind it.
pub fn compare_reply(expected: &[u8], got: &[u8]) -> Result<(), String> {
    let at = ip_at(expected).ok_or("the expected answer is not IP")?;
    if got.len() < at || got[..at] != expected[..at] {
        return Err(format!(
            "link header: expected {:02x?}, got {:02x?}",
            &expected[..at],
            &got[..at.min(got.len())]
        ));
    }
    let expected = settled(&expected[at..]).map_err(|e| format!("the expected answer: {e}"))?;
    let got = settled(&got[at..])?;
    for (field, wanted) in &expected {
        if got.get(field) != Some(wanted) {
            return Err(format!("{field}: expected {wanted:02x?}, got {:02x?}", got.get(field)));
        }
    }
    if got.len() != expected.len() {
        return Err("another kind of packet".to_owned());
    }
    Ok(())
}

/// Where the IP packet of an answer starts.
fn ip_at(frame: &[u8]) -> Option<usize> {
    let mut at = 12;
    loop {
        let ether_type = u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]);
        at += 2;
        match ether_type {
            0x8100 | 0x88a8 | 0x9100 => at += 2,
            0x0800 | 0x86dd => return Some(at),
            0x8864 => return Some(at + 6 + if frame.get(at + 6)? & 1 == 1 { 1 } else { 2 }),
            _ => return None,
        }
    }
}

type Fields = BTreeMap<&'static str, Vec<u8>>;

/// The fields of an answer's IP packet that are compared. Refuses wrong checksums and trailing bytes that
/// are not 0.
fn settled(packet: &[u8]) -> Result<Fields, String> {
    let mut fields = Fields::new();
    let version = packet.first().ok_or("no IP packet")? >> 4;
    let (length, header, protocol, addresses) = match version {
        4 if packet.len() >= 20 => {
            if packet[0] != 0x45 {
                return Err("IPv4 options".to_owned());
            }
            if sum(&[&packet[..20]]) != 0xffff {
                return Err("IPv4 header checksum".to_owned());
            }
            fields.insert("fragment fields without don't-fragment", vec![packet[6] & !0x40, packet[7]]);
            fields.insert("TTL", vec![packet[8]]);
            (usize::from(be16(packet, 2)), 20, packet[9], 12..20)
        }
        6 if packet.len() >= 40 => {
            fields.insert("hop limit", vec![packet[7]]);
            (40 + usize::from(be16(packet, 4)), 40, packet[6], 8..40)
        }
        _ => return Err("neither an IPv4 nor an IPv6 header".to_owned()),
    };
    if length > packet.len() {
        return Err("the IP length is past the end".to_owned());
    }
    if packet[length..].iter().any(|b| *b != 0) {
        return Err("bytes behind the packet that are not 0".to_owned());
    }
    let upper = &packet[header..length];
    let addresses = &packet[addresses];
    fields.insert("IP length", length.to_be_bytes().to_vec());
    fields.insert("protocol", vec![protocol]);
    fields.insert("addresses", addresses.to_vec());
    let pseudo_length = u32::try_from(upper.len()).expect("an IP packet's length").to_be_bytes();
    let pseudo: [&[u8]; 3] = [addresses, &pseudo_length, &[0, 0, 0, protocol]];
    let with_pseudo = || sum(&[pseudo[0], pseudo[1], pseudo[2], upper]);
    match protocol {
        6 if upper.len() >= 20 => {
            if with_pseudo() != 0xffff {
                return Err("TCP checksum".to_owned());
            }
            fields.insert("ports", upper[..4].to_vec());
            fields.insert("sequence number", upper[4..8].to_vec());
            if upper[13] & 0x10 != 0 {
                fields.insert("acknowledgment number", upper[8..12].to_vec());
            }
            fields.insert("data offset and flags", upper[12..14].to_vec());
            fields.insert("urgent pointer", upper[18..20].to_vec());
            fields.insert("behind the TCP header", upper[20..].to_vec());
        }
        1 | 58 if upper.len() >= 8 => {
            if (if protocol == 1 { sum(&[upper]) } else { with_pseudo() }) != 0xffff {
                return Err("ICMP checksum".to_owned());
            }
            fields.insert("type and code", upper[..2].to_vec());
            fields.insert("behind the checksum", upper[4..8].to_vec());
            fields.insert("quote", upper[8..].to_vec());
        }
        _ => return Err("neither TCP nor ICMP".to_owned()),
    }
    Ok(fields)
}

/// The one's complement sum of parts of which all but the last have an even length; 0xffff: the checksum is
/// right.
fn sum(parts: &[&[u8]]) -> u16 {
    let mut total: u32 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            total += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
            total = (total & 0xffff) + (total >> 16);
        }
    }
    u16::try_from(total).expect("folded to sixteen bits")
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
