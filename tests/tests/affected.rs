//! The affected list after a replay: real captures against the answers beside them, and phases side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use sekisho_tests::answers::{self, AT, Answered, Wanted};
use sekisho_tests::binary;
use sekisho_tests::capture::{self, ETHERNET};
use sekisho_tests::lab::frame::{Segment, Side, tcp};

/// The rows of a list, each by its columns.
fn rows(path: &Path) -> Vec<BTreeMap<String, String>> {
    let text = fs::read_to_string(path).expect("replay writes the list");
    let mut lines = text.split_terminator("\r\n").map(|line| line.split(',').map(str::to_owned));
    let header: Vec<String> = lines.next().expect("a header").collect();
    lines.map(|line| header.iter().cloned().zip(line).collect()).collect()
}

fn replay(folder: &Path, config: &str, capture: &[u8], more: &[&str]) -> Result<(), String> {
    fs::create_dir_all(folder).expect("a scratch folder is writable");
    fs::write(folder.join("config.toml"), config).expect("a scratch folder is writable");
    fs::write(folder.join("in"), capture).expect("a scratch folder is writable");
    let arguments = ["replay", "-c", "config.toml", "--in", "customers=in", "--affected", "list.csv"];
    let finished = binary::run(folder, arguments.iter().chain(more));
    match finished.broke().is_empty() && folder.join("list.csv").exists() {
        true => Ok(()),
        false => Err(format!("{finished:?}")),
    }
}

/// What the answers imply of a customer.
#[derive(Clone, Copy, Default)]
struct Implied {
    /// It tries port 25, and must be listed.
    tries: bool,
    /// Attempts that no other rule than those of port 25 can have denied.
    least: u64,
    /// Attempts, if every answer that leaves it open is one.
    most: u64,
}

impl Implied {
    fn explains(self, attempts: u64) -> bool {
        (self.least.max(self.tries.into())..=self.most).contains(&attempts)
    }
}

fn implied(answered: &Answered) -> BTreeMap<IpAddr, Implied> {
    let mut customers: BTreeMap<IpAddr, Implied> = BTreeMap::new();
    for answer in answered.answers().expect("answers") {
        let Some(source) = answer.source() else { continue };
        let tries = answer.wanted == Wanted::Drop;
        if tries || answer.wanted == Wanted::Any || answer.has_labels() {
            let implied = customers.entry(source).or_default();
            implied.tries |= tries;
            implied.least += u64::from(tries && answer.is_plain());
            implied.most += 1;
        }
    }
    customers
}

#[test]
fn a_replayed_capture_names_exactly_the_customers_that_its_answers_imply() {
    let captures = answers::captures();
    let config = answers::configuration("reject");
    let folder = binary::scratch("affected-captures");
    let failures = binary::failures_of_all(&captures, |answered| {
        let folder = folder.join(answered.name.replace('/', "-"));
        let capture = answered.bytes().expect("a capture");
        if let Err(failure) = replay(&folder, &config, &capture, &["--at", AT]) {
            return vec![format!("{}: {failure}", answered.name)];
        }
        let listed: BTreeMap<IpAddr, u64> = rows(&folder.join("list.csv"))
            .iter()
            .map(|row| {
                (row["customer"].parse().expect("an address"), row["attempts"].parse().expect("a number"))
            })
            .collect();
        fs::remove_dir_all(&folder).expect("a scratch folder can be removed");
        let implied = implied(answered);
        let all: BTreeSet<&IpAddr> = listed.keys().chain(implied.keys()).collect();
        let wrong = all.into_iter().filter_map(|customer| {
            let got = listed.get(customer).copied().unwrap_or(0);
            let Implied { tries, least, most } = implied.get(customer).copied().unwrap_or_default();
            let told = format!("{}: {customer}: {got} attempts, {least} to {most}, {tries}", answered.name);
            (!implied.get(customer).copied().unwrap_or_default().explains(got)).then_some(told)
        });
        wrong.collect()
    });
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
    fs::remove_dir_all(&folder).expect("a scratch folder can be removed");

    // The answers leave little open, and say something of many.
    let implied: Vec<Implied> =
        captures.iter().flat_map(|answered| implied(answered).into_values()).collect();
    let named = implied.iter().filter(|implied| implied.tries).count();
    let exact = implied.iter().filter(|implied| implied.tries && implied.least == implied.most).count();
    assert!(named >= 35 && exact > named * 9 / 10, "{named} customers try, of {exact} all attempts are told");
}

/// Carriers are denied, and everyone else is to be: one phase is enforced, the next is watched.
const SIDE_BY_SIDE: &str = r#"
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

[sets]
own-msa = ["192.0.2.25/32"]
own-mx = ["192.0.2.26/32"]
carriers = ["198.51.100.0/24"]

[[policy]]
name = "dynamic"
action = "reject"
allow = ["own-mx"]
phases = [
  { name = "carriers", from = "2005-10-18T00:00:00+09:00", block = ["carriers"] },
  { name = "everyone", from = "2006-06-01T00:00:00+09:00", block = "all", action = "monitor" },
]

[[policy]]
name = "partner"
allow = ["own-msa"]

[[policy]]
name = "abused"
kind = "quarantine"

[[pool]]
name = "flets"
policy = "dynamic"
prefixes = ["203.0.113.0/25"]

[[pool]]
name = "-abused"
policy = "abused"
prefixes = ["203.0.113.128/25"]
"#;

#[test]
fn one_phase_is_enforced_and_the_next_is_watched_at_the_same_time() {
    let server = |n: u8| [192, 0, 2, n];
    let (mail, spam, quarantined) = ([203, 0, 113, 7], [203, 0, 113, 8], [203, 0, 113, 200]);
    let mut frames: Vec<Vec<u8>> = Vec::new();
    let mut send = |from: [u8; 4], to: [u8; 4], port| {
        let (from, to) = (SocketAddr::from((from, 50_000)), SocketAddr::from((to, port)));
        frames.push(tcp(Side::Customer, from, to, Segment::Syn, b""));
    };
    for _ in 0..3 {
        send(mail, [198, 51, 100, 1], 25);
        send(mail, server(200), 25);
        send(mail, server(26), 25);
        send(mail, server(200), 587);
    }
    send(mail, server(25), 25);
    for n in 0..30 {
        send(spam, server(100 + n), 25);
    }
    send(quarantined, server(25), 25);

    let folder = binary::scratch("affected-phases");
    let path = folder.join("made.pcap");
    let timed =
        frames.iter().enumerate().map(|(n, frame)| (1_150_000_000_000_000 + n as i64, frame.as_slice()));
    capture::write(&path, ETHERNET, timed).expect("a scratch folder is writable");
    let capture = fs::read(&path).expect("a capture");
    replay(&folder, SIDE_BY_SIDE, &capture, &["--clock", "capture"]).expect("replay does it");

    let rows = rows(&folder.join("list.csv"));
    let told: Vec<String> = rows
        .iter()
        .map(|row| {
            let columns = [
                "customer",
                "pool",
                "attempts",
                "connections",
                "denied",
                "would_deny",
                "to_own_servers",
                "to_listed_servers",
                "to_other_servers",
                "distinct_destinations",
                "hint",
            ];
            columns.map(|column| row[column].as_str()).join(" ")
        })
        .collect();
    assert_eq!(told.len(), 3, "{told:?}");
    let estimate: u64 = rows[0]["distinct_destinations"].parse().expect("a number");
    assert!((24..=36).contains(&estimate), "thirty servers, about: {estimate}");
    assert_eq!(told[0], format!("203.0.113.8 flets 30 30 0 30 0 0 30 {estimate} infected"));
    assert_eq!(told[1], "203.0.113.7 flets 7 7 3 4 1 3 3 3 mail client");
    assert_eq!(told[2], "203.0.113.200 '-abused 1 1 1 0 1 0 0 1 mail client");
    assert_eq!(rows[1]["first_seen"], "2006-06-11T04:26:40Z");
    assert!(rows.iter().all(|row| row["attempts"] == row["attempts_at_most"]));
    fs::remove_dir_all(&folder).expect("a scratch folder can be removed");
}
