//! `[[policy]]` with its phases.

use sekisho_dataplane::policy::{Action, DivertFallback, Kind, RejectWith};
use toml::de::DeValue;

use super::error::quoted;
use super::instant::{InstantError, native_instant, parse_instant};
use super::keys::{Key, Shape, Takes, Without};
use super::model::{Block, Phase, Policy};
use super::reader::{Entry, Name, Names, Table, described};
use super::report::Report;
use super::sets::Sets;
use super::source::Place;

const MOST_POLICIES: usize = 4_096;
const MOST_PHASES: usize = 65_535;

/// Keys by which somebody might want to deny another port than 25.
const PORT_KEYS: &[&str] = &[
    "port",
    "ports",
    "dport",
    "dports",
    "destination-port",
    "destination-ports",
    "block-port",
    "block-ports",
    "submission",
];

const PORT_REMARK: &str =
    "remove it: a policy is about port 25 only; 587 and 465 (submission) are never denied by a policy";

pub(super) static POLICY: Shape = Shape {
    what: "a policy",
    keys: &[
        Key::new("name", Takes::Some("a name"), Without::Refused, "Pools refer to it."),
        Key::new(
            "kind",
            Takes::word::<Kind>(),
            Without::Is("\"restrict\""),
            "\"restrict\": the phases hold. \"exempt\": customers may send to any server, as those with fixed addresses. \
             \"quarantine\": to none, not even to those in allow.",
        ),
        Key::new(
            "allow",
            Takes::Some("a list of names of sets"),
            Without::Is("[]"),
            "Destinations that stay reachable on port 25 in every phase: the provider's own servers.",
        ),
        Key::new(
            "action",
            Takes::word::<Action>(),
            Without::Is("\"drop\""),
            "What a denied packet meets. \"drop\": silence. \"reject\": an answer, so that the mail program reports an \
             error at once; see reject-burst. \"divert\": the port with the role filter. \"monitor\": nothing, it passes \
             and is counted as one that would be denied.",
        ),
        Key::new(
            "reject-with",
            Takes::word::<RejectWith>(),
            Without::Is("\"rst\""),
            "\"rst\": a TCP reset, \"connection refused\". \"icmp\": administratively prohibited (ICMPv4 3/13, ICMPv6 1/1).",
        ),
        Key::new(
            "divert-fallback",
            Takes::word::<DivertFallback>(),
            Without::Is("\"reject\""),
            "What a diverted packet meets while the filter is down. It never passes in silence.",
        ),
        Key::new(
            "mirror",
            Takes::Truth,
            Without::Is("true"),
            "Servers' answers to customers who may not ask are held back too, against triangular spamming.",
        ),
        Key::new(
            "phases",
            Takes::Inlines(&PHASE),
            Without::Is("[]"),
            "What is denied from when on. A phase begins by itself at its instant and does not end; a later one adds to \
             it. Where several cover a destination, one that enforces goes before one that monitors, then the first.",
        ),
    ],
    remarks: &[
        (PORT_KEYS, PORT_REMARK),
        (
            &["block", "from"],
            "`block` and `from` belong to a phase: `phases = [{ name = …, from = …, block = … }]`",
        ),
    ],
};

pub(super) static PHASE: Shape = Shape {
    what: "a phase",
    keys: &[
        Key::new("name", Takes::Some("a name"), Without::Refused, "Unique within its policy."),
        Key::new(
            "from",
            Takes::Some("an instant with its offset from UTC, such as \"2030-04-01T00:00:00+09:00\""),
            Without::Refused,
            "When it begins (RFC 3339).",
        ),
        Key::new(
            "block",
            Takes::Some("\"all\", or a list of names of sets"),
            Without::Refused,
            "The destinations that it denies.",
        ),
        Key::new(
            "action",
            Takes::word::<Action>(),
            Without::Means("that of the policy"),
            "So that one phase can be enforced and the next only monitored.",
        ),
    ],
    remarks: &[
        (PORT_KEYS, PORT_REMARK),
        (
            &["to", "until"],
            "a phase that has begun does not end: phases of a policy are a union, a later one adds",
        ),
        (&["allow"], "`allow` belongs to the policy, and holds in all of its phases"),
    ],
};

/// Reads every `[[policy]]`. Gives the names as well: pools refer to them.
pub(super) fn read<'a>(
    report: &mut Report,
    root: &Table<'a>,
    sets: &mut Sets<'a>,
    filter: Option<bool>,
) -> (Vec<Policy>, Names<'a>) {
    let values = root.get("policy").map_or(&[][..], |entry| entry.tables(report));
    if let Some(first) = values.get(MOST_POLICIES) {
        let message = format!("there are {} policies, more than {MOST_POLICIES}", values.len());
        report.refuse(Place::main(first.span()), message, "bind pools that are treated alike to one policy");
    }
    let mut reading = Reading { sets, filter, phases_left: MOST_PHASES };
    let mut names = Names::new("policy", "policies");
    let mut policies = Vec::new();
    for value in values.iter().take(MOST_POLICIES) {
        let Some(table) = Table::named(report, value, "policy", "", &POLICY) else {
            continue;
        };
        let name = table.name(report);
        match &name {
            Some(name) => names.add(report, name.clone(), ""),
            None => names.skip(table.place.clone()),
        }
        policies.push(reading.policy(report, &table, name));
    }
    (policies, names)
}

/// What the policies have in common while they are read.
struct Reading<'s, 'a> {
    sets: &'s mut Sets<'a>,
    filter: Option<bool>,
    phases_left: usize,
}

impl Reading<'_, '_> {
    fn policy(&mut self, report: &mut Report, table: &Table<'_>, name: Option<Name<'_>>) -> Policy {
        let title = &table.title;
        Policy {
            name: name.map_or(String::new(), |name| name.text.to_owned()),
            kind: table.get("kind").and_then(|entry| entry.word(report)).unwrap_or(Kind::Restrict),
            allow: table.get("allow").map_or(Vec::new(), |entry| self.allow(report, &entry, title)),
            action: table
                .get("action")
                .and_then(|entry| self.action(report, &entry, title))
                .unwrap_or(Action::Drop),
            reject_with: table
                .get("reject-with")
                .and_then(|entry| entry.word(report))
                .unwrap_or(RejectWith::Rst),
            divert_fallback: table
                .get("divert-fallback")
                .and_then(|entry| entry.word(report))
                .unwrap_or(DivertFallback::Reject),
            mirror: table.get("mirror").and_then(|entry| entry.boolean(report)).unwrap_or(true),
            phases: table.get("phases").map_or(Vec::new(), |entry| self.phases(report, &entry, title)),
        }
    }

    fn allow(&mut self, report: &mut Report, entry: &Entry<'_>, title: &str) -> Vec<usize> {
        let names = entry.names(report).unwrap_or_default();
        for name in &names {
            self.sets.refuse_empty(report, name, title);
        }
        self.sets.names.resolve_all(report, &names)
    }

    fn action(&self, report: &mut Report, entry: &Entry<'_>, title: &str) -> Option<Action> {
        let action = entry.word(report)?;
        if action == Action::Divert && self.filter == Some(false) {
            let help = "add a `[[port]]` with `role = \"filter\"`, or choose `drop`, `reject` or `monitor`";
            report.refuse(
                entry.place(),
                format!("{title} diverts, but there is no `filter` port to divert to"),
                help,
            );
        }
        Some(action)
    }

    fn phases(&mut self, report: &mut Report, entry: &Entry<'_>, title: &str) -> Vec<Phase> {
        let values = entry.list(report, "{ name = \"…\", from = \"…\", block = \"all\" }").unwrap_or(&[]);
        if values.len() > self.phases_left {
            let message = format!("there are more than {MOST_PHASES} phases in all policies together");
            report.refuse(
                entry.place(),
                message,
                "phases that begin together can be one: `block` takes several sets",
            );
        }
        let taken = values.len().min(self.phases_left);
        self.phases_left -= taken;
        let of = format!(" of {title}");
        let mut names = Names::new("phase", "phases");
        let mut phases = Vec::with_capacity(taken);
        for value in &values[..taken] {
            let Some(table) = Table::named(report, value, "phase", &of, &PHASE) else {
                continue;
            };
            let name = table.name(report);
            if let Some(name) = &name {
                names.add(report, name.clone(), &format!(" in {title}"));
            }
            let from = table.require(report, "from", "\"2006-06-01T00:00:00+09:00\"");
            let from = from.and_then(|entry| instant(report, &entry));
            let block =
                table.require(report, "block", "\"all\"").and_then(|entry| self.block(report, &entry));
            let action = table.get("action").and_then(|entry| self.action(report, &entry, &table.title));
            if let (Some(name), Some((from_micros, from_text)), Some(block)) = (name, from, block) {
                phases.push(Phase { name: name.text.to_owned(), from_micros, from_text, block, action });
            }
        }
        phases
    }

    fn block(&self, report: &mut Report, entry: &Entry<'_>) -> Option<Block> {
        const HELP: &str = "write `block = \"all\"`, or `block = [\"…\"]` with names of sets";
        match entry.value.get_ref() {
            DeValue::String(text) if text == "all" => Some(Block::All),
            DeValue::String(text) => {
                let help = match self.sets.names.get(text) {
                    Some(_) => format!("write it as a list: `block = [\"{text}\"]`"),
                    None => HELP.to_owned(),
                };
                report.refuse(entry.place(), format!("{} is no value of `block`", quoted(text)), help);
                None
            }
            DeValue::Array(values) if values.is_empty() => {
                report.refuse(entry.place(), "`block` names no set: the phase would deny nothing", HELP);
                None
            }
            DeValue::Array(_) => {
                let names = entry.names(report)?;
                if let ([name], None) = (names.as_slice(), self.sets.names.get("all"))
                    && name.text == "all"
                {
                    report.refuse(
                        name.place.clone(),
                        "there is no set `all`",
                        "for every destination, write `block = \"all\"`",
                    );
                    return None;
                }
                Some(Block::Sets(self.sets.names.resolve_all(report, &names)))
            }
            _ => {
                let message =
                    format!("`block` must be `\"all\"` or a list of sets, not {}", described(entry.value));
                report.refuse(entry.place(), message, HELP);
                None
            }
        }
    }
}

/// An instant, and what stands in the file for it.
fn instant(report: &mut Report, entry: &Entry<'_>) -> Option<(i64, String)> {
    let (text, parsed): (String, Result<i64, InstantError>) = match entry.value.get_ref() {
        DeValue::String(text) => (text.to_string(), parse_instant(text)),
        DeValue::Datetime(datetime) => (report.text_of(&entry.place()).to_owned(), native_instant(datetime)),
        _ => {
            let message = format!("`{}` must be a date and time, not {}", entry.key, described(entry.value));
            report.refuse(entry.place(), message, InstantError::Grammar.help());
            return None;
        }
    };
    match parsed {
        Ok(micros) => Some((micros, text)),
        Err(error) => {
            report.refuse(entry.place(), format!("{} is no instant: {error}", quoted(&text)), error.help());
            None
        }
    }
}
