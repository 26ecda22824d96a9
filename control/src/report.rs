//! What is said of packets: a line of JSON for each, and the summary of all, for machines and for people.

use std::io::{self, Write};

use sekisho_dataplane::counters::{PoolTotals, Totals};
use sekisho_dataplane::policy::{Decision, Reason, Taken};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::compile::Names;

/// One packet's line of `replay --json`.
#[derive(Debug, Serialize)]
pub struct PacketLine<'a> {
    n: u64,
    port: &'a str,
    #[serde(flatten)]
    outcome: Outcome<'a>,
}

impl<'a> PacketLine<'a> {
    /// The line for packet `n` (from 1) of the capture on `port`.
    pub fn new(n: u64, port: &'a str, outcome: Outcome<'a>) -> PacketLine<'a> {
        PacketLine { n, port, outcome }
    }
}

/// A decision with names in place of numbers.
#[derive(Debug, Serialize)]
pub struct Outcome<'a> {
    verdict: &'static str,
    reason: &'static str,
    pool: Option<&'a str>,
    policy: Option<&'a str>,
    phase: Option<&'a str>,
    would: Option<&'static str>,
    action: Option<&'static str>,
    out: Option<&'a str>,
    generation: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    suppressed: bool,
}

impl<'a> Outcome<'a> {
    /// Names a decision of generation `generation`.
    pub fn new(decision: &Decision, names: &'a Names, generation: u64) -> Outcome<'a> {
        Outcome {
            verdict: verdict(decision.taken),
            reason: decision.reason.code(),
            pool: names.pool(decision.pool),
            policy: names.policy_of(decision.pool),
            phase: decision.phase.and_then(|phase| names.phase(phase)),
            would: decision.would.map(Reason::code),
            action: action(decision.taken),
            out: decision.out.map(|port| names.port(port)),
            generation,
            suppressed: decision.suppressed,
        }
    }
}

/// `forward` or `deny`.
pub fn verdict(taken: Taken) -> &'static str {
    match taken {
        Taken::Forward => "forward",
        Taken::Drop | Taken::Reject | Taken::Divert => "deny",
    }
}

/// What was done with a denied packet.
pub fn action(taken: Taken) -> Option<&'static str> {
    match taken {
        Taken::Forward => None,
        Taken::Drop => Some("drop"),
        Taken::Reject => Some("reject"),
        Taken::Divert => Some("divert"),
    }
}

/// The last line of `replay --json`.
#[derive(Debug, Serialize)]
pub struct SummaryLine {
    summary: Summary,
}

/// The sum of what became of the packets.
#[derive(Debug, Serialize)]
pub struct Summary {
    received: u64,
    forwarded: u64,
    denied: u64,
    #[serde(skip_serializing_if = "is_zero")]
    errors: u64,
    reasons: Reasons,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl SummaryLine {
    /// The line for these totals.
    pub fn new(totals: &Totals) -> SummaryLine {
        SummaryLine { summary: Summary::new(totals) }
    }
}

impl Summary {
    /// The summary of these totals.
    pub fn new(totals: &Totals) -> Summary {
        Summary {
            received: totals.received,
            forwarded: totals.forwarded(),
            denied: totals.denied(),
            errors: totals.errors(),
            reasons: Reasons::new(totals),
        }
    }
}

/// Packets by reason; reasons that no packet had are left out.
#[derive(Debug)]
struct Reasons(Vec<(Reason, u64)>);

impl Reasons {
    fn new(totals: &Totals) -> Reasons {
        let counted = Reason::ALL.iter().map(|reason| (*reason, totals.reason(*reason)));
        Reasons(counted.filter(|(_, count)| *count > 0).collect())
    }
}

impl Serialize for Reasons {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (reason, count) in &self.0 {
            map.serialize_entry(reason.code(), count)?;
        }
        map.end()
    }
}

/// A pool's line of a summary.
pub struct PoolLine<'a> {
    /// Its name.
    pub name: &'a str,
    /// What people call it.
    pub title: Option<&'a str>,
    /// What was counted for it.
    pub totals: PoolTotals,
}

/// Prints the table of reasons, whose sum is the packets received, and the pools that had packets.
///
/// # Errors
/// When `out` can't be written.
pub fn summary(out: &mut impl Write, totals: &Totals, pools: &[PoolLine<'_>]) -> io::Result<()> {
    writeln!(out, "{:<23}{:<13}{:>11}{:>11}  what it means", "reason", "rule", "forwarded", "denied")?;
    for &reason in Reason::ALL {
        if totals.reason(reason) == 0 {
            continue;
        }
        let forwarded = totals.decided[reason as usize][Taken::Forward as usize];
        let denied = blank(totals.reason(reason) - forwarded);
        let (code, rule, meaning) = (reason.code(), reason.rule(), reason.meaning());
        writeln!(out, "{code:<23}{rule:<13}{:>11}{denied:>11}  {meaning}", blank(forwarded))?;
    }
    let actions = [Taken::Drop, Taken::Reject, Taken::Divert];
    let forwarded = totals.taken(Taken::Forward);
    let denied: u64 = actions.iter().map(|taken| totals.taken(*taken)).sum();
    let received = totals.received;
    writeln!(out, "{:<36}{forwarded:>11}{denied:>11}  of {received} received", "sum")?;

    let done: Vec<String> = actions
        .iter()
        .filter(|taken| totals.taken(**taken) > 0)
        .map(|taken| format!("{} {}", totals.taken(*taken), past(*taken)))
        .collect();
    if !done.is_empty() {
        writeln!(out, "\ndenied: {}", done.join(", "))?;
    }
    for &reason in Reason::ALL {
        let would = totals.would[reason as usize];
        if would > 0 {
            writeln!(out, "monitored: {would} would have been denied, {}", reason.code())?;
        }
    }
    let counted = [
        (totals.suppressed, "rejects not answered: over their budget"),
        (totals.mail_over_udp, "UDP packets to port 25, forwarded"),
        (totals.mail_over_sctp, "SCTP packets to port 25, forwarded"),
        (totals.unremembered, "fragments not remembered: table full, or source over its share"),
        (totals.replies_lost, "answers lost: no room to send them"),
        (totals.errors(), "packets lost to errors"),
    ];
    for (count, what) in counted {
        if count > 0 {
            writeln!(out, "{count} {what}")?;
        }
    }
    if !pools.is_empty() {
        writeln!(out, "\n{:<24}{:>12}{:>12}{:>12}  title", "pool", "packets", "denied", "monitored")?;
    }
    for PoolLine { name, title, totals } in pools {
        let PoolTotals { packets, denied, would } = *totals;
        let title = shorten(title.unwrap_or(""), 36);
        let line = format!("{name:<24}{packets:>12}{:>12}{:>12}  {title}", blank(denied), blank(would));
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn past(taken: Taken) -> &'static str {
    match taken {
        Taken::Forward => "forwarded",
        Taken::Drop => "dropped",
        Taken::Reject => "rejected with an answer",
        Taken::Divert => "diverted to the filter",
    }
}

/// A count, or nothing for none, so that the eye finds what happened.
fn blank(count: u64) -> String {
    match count {
        0 => String::new(),
        some => some.to_string(),
    }
}

/// At most `width` characters.
fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width - 1).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_the_rows_also_where_a_worker_stopped_in_the_middle_of_a_burst() {
        for received in [2, 5, 9] {
            let mut totals = Totals { received, ..Totals::default() };
            totals.decided[Reason::OtherPort as usize][Taken::Forward as usize] = 3;
            totals.decided[Reason::Malformed as usize][Taken::Drop as usize] = 2;
            let mut out = Vec::new();
            summary(&mut out, &totals, &[]).unwrap();
            let text = String::from_utf8(out).unwrap();
            let sum = text.lines().find(|line| line.starts_with("sum")).unwrap();
            let words: Vec<&str> = sum.split_whitespace().collect();
            assert_eq!(words, ["sum", "3", "2", "of", &received.to_string(), "received"], "{text}");
        }
    }
}
