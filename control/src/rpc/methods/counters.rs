//! `counters`: everything that is counted, from the one registry. Takes [`Wanted`], gives [`Counters`].

use std::collections::BTreeMap;

use sekisho_dataplane::counters::Totals;
use sekisho_dataplane::policy::{PortId, Reason, Taken};
use serde::{Deserialize, Serialize};

use super::{Answer, Params, give};
use crate::clock;
use crate::daemon::View;
use crate::report;

/// What `counters` takes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wanted {
    /// Each worker's share as well.
    pub workers: bool,
}

/// What `counters` gives.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Counters {
    /// When, in UTC.
    pub at: String,
    /// The generation in force.
    pub generation: u64,
    /// All ports together.
    pub totals: Counts,
    /// Each port, in the order of the configuration.
    pub ports: Vec<PortCounts>,
    /// Each worker, if asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workers: Vec<WorkerCounts>,
}

/// What was counted at a port.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PortCounts {
    /// The port.
    pub port: String,
    /// Its role.
    pub role: String,
    /// What was counted.
    #[serde(flatten)]
    pub counts: Counts,
    /// What its driver counted by itself; each is a reason why a frame was not received, or did not leave.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub driver: BTreeMap<String, u64>,
}

/// What a worker counted.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct WorkerCounts {
    /// Its number.
    pub worker: usize,
    /// At each port.
    pub ports: Vec<PortCounts>,
}

/// The books: received = forwarded + denied + errors. A burst may be half booked while they are read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Counts {
    /// Packets received.
    pub received_packets: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Packets that were forwarded and left, monitored ones included.
    pub forwarded_packets: u64,
    /// Packets that were dropped, rejected or diverted.
    pub denied_packets: u64,
    /// Packets that errors took: the next three.
    pub errors: u64,
    /// Received by the driver, which could not hand them over.
    pub receive_errors: u64,
    /// Forwarded, but there was no room on the way out.
    pub forwards_lost: u64,
    /// Diverted, but there was no room on the way to the filter.
    pub diverts_lost: u64,
    /// By reason, and by what was done: `forward`, `drop`, `reject`, `divert`. What never happened is left out.
    pub reasons: BTreeMap<String, BTreeMap<String, u64>>,
    /// By the reason that a monitored deny would have had.
    pub would_deny: BTreeMap<String, u64>,
    /// Rejects that were not answered, over their budget.
    pub rejects_suppressed: u64,
    /// Answers that found no room.
    pub replies_lost: u64,
    /// Fragments that could not be remembered.
    pub fragments_unremembered: u64,
    /// UDP to port 25, never denied.
    pub mail_over_udp: u64,
    /// SCTP to port 25, never denied.
    pub mail_over_sctp: u64,
    /// Frames for the checks of the filter's health; counted with what was forwarded.
    #[serde(default)]
    pub check_answers: u64,
    /// Frames that these checks sent.
    #[serde(default)]
    pub checks_sent: u64,
    /// Packets that wait for their next hop's MAC now, in route mode; received, and nothing else yet.
    #[serde(default)]
    pub waiting: u64,
    /// Packets that left as fragments, in route mode.
    #[serde(default)]
    pub fragmented: u64,
    /// Their fragments that left.
    #[serde(default)]
    pub fragments_sent: u64,
    /// Their fragments that found no room.
    #[serde(default)]
    pub fragments_lost: u64,
    /// Redirects to better first hops that left, in route mode.
    #[serde(default)]
    pub redirects_sent: u64,
    /// Redirects that found no room.
    #[serde(default)]
    pub redirects_lost: u64,
    /// Frames that the kernel sent, in route mode.
    #[serde(default)]
    pub kernel_sent: u64,
    /// Taken by a driver to be sent, and not sent.
    #[serde(default)]
    pub transmit_lost: u64,
    /// Frames that left, answers included.
    pub transmitted_packets: u64,
    /// Their bytes.
    pub transmitted_bytes: u64,
}

impl From<&Totals> for Counts {
    fn from(totals: &Totals) -> Counts {
        let some = |reason: &&Reason| totals.reason(**reason) > 0;
        let reasons = Reason::ALL.iter().filter(some).map(|reason| {
            let done = Taken::ALL.iter().map(|taken| {
                let word = report::action(*taken).unwrap_or("forward");
                (word.to_owned(), totals.decided[*reason as usize][*taken as usize])
            });
            (reason.code().to_owned(), done.filter(|(_, count)| *count > 0).collect())
        });
        let would =
            Reason::ALL.iter().map(|reason| (reason.code().to_owned(), totals.would[*reason as usize]));
        Counts {
            received_packets: totals.received,
            received_bytes: totals.received_bytes,
            forwarded_packets: totals.forwarded(),
            denied_packets: totals.denied(),
            errors: totals.errors(),
            receive_errors: totals.receive_errors,
            forwards_lost: totals.forwards_lost,
            diverts_lost: totals.diverts_lost,
            reasons: reasons.collect(),
            would_deny: would.filter(|(_, count)| *count > 0).collect(),
            rejects_suppressed: totals.suppressed,
            replies_lost: totals.replies_lost,
            fragments_unremembered: totals.unremembered,
            mail_over_udp: totals.mail_over_udp,
            mail_over_sctp: totals.mail_over_sctp,
            check_answers: totals.check_answers,
            checks_sent: totals.checks_sent,
            waiting: totals.waiting,
            fragmented: totals.fragmented,
            fragments_sent: totals.fragments,
            fragments_lost: totals.fragments_lost,
            redirects_sent: totals.redirects,
            redirects_lost: totals.redirects_lost,
            kernel_sent: totals.kernel_sent,
            transmit_lost: totals.transmit_lost,
            transmitted_packets: totals.transmitted,
            transmitted_bytes: totals.transmitted_bytes,
        }
    }
}

impl From<&Counts> for Totals {
    /// The other way round, for a summary. Reasons that this build does not know are left out.
    fn from(counts: &Counts) -> Totals {
        let mut totals = Totals {
            received: counts.received_packets,
            received_bytes: counts.received_bytes,
            receive_errors: counts.receive_errors,
            forwards_lost: counts.forwards_lost,
            diverts_lost: counts.diverts_lost,
            suppressed: counts.rejects_suppressed,
            replies_lost: counts.replies_lost,
            unremembered: counts.fragments_unremembered,
            mail_over_udp: counts.mail_over_udp,
            mail_over_sctp: counts.mail_over_sctp,
            check_answers: counts.check_answers,
            checks_sent: counts.checks_sent,
            waiting: counts.waiting,
            fragmented: counts.fragmented,
            fragments: counts.fragments_sent,
            fragments_lost: counts.fragments_lost,
            redirects: counts.redirects_sent,
            redirects_lost: counts.redirects_lost,
            kernel_sent: counts.kernel_sent,
            transmit_lost: counts.transmit_lost,
            transmitted: counts.transmitted_packets,
            transmitted_bytes: counts.transmitted_bytes,
            ..Totals::default()
        };
        for &reason in Reason::ALL {
            if let Some(done) = counts.reasons.get(reason.code()) {
                for taken in Taken::ALL {
                    let word = report::action(taken).unwrap_or("forward");
                    let count = done.get(word).copied().unwrap_or(0);
                    totals.decided[reason as usize][taken as usize] = count;
                }
            }
            totals.would[reason as usize] = counts.would_deny.get(reason.code()).copied().unwrap_or(0);
        }
        totals
    }
}

pub(super) fn answer(view: &View<'_>, params: &Params<'_>) -> Answer {
    give(&Counters::of(view, params.read()?))
}

impl Counters {
    pub(super) fn of(view: &View<'_>, wanted: Wanted) -> Counters {
        let ports = || view.in_force.config.ports.iter().enumerate();
        let port = |at: usize, totals: &Totals| {
            let port = &view.in_force.config.ports[at];
            PortCounts {
                port: port.name.clone(),
                role: crate::words::role(port.role).to_owned(),
                counts: Counts::from(totals),
                driver: BTreeMap::new(),
            }
        };
        let all = ports().map(|(at, _)| {
            let id = PortId(at as u8);
            PortCounts { driver: driver(view, id), ..port(at, &view.books.port(id)) }
        });
        let worker = |number: usize| WorkerCounts {
            worker: number,
            ports: ports()
                .map(|(at, _)| port(at, &view.books.port_of_worker(number, PortId(at as u8))))
                .collect(),
        };
        Counters {
            at: clock::show(clock::now()),
            generation: view.in_force.generation,
            totals: Counts::from(&view.books.totals()),
            ports: all.collect(),
            workers: match wanted.workers {
                true => (0..view.books.workers.len()).map(worker).collect(),
                false => Vec::new(),
            },
        }
    }
}

/// What the drivers of interfaces count by themselves.
fn driver(view: &View<'_>, port: PortId) -> BTreeMap<String, u64> {
    let Some(counted) = view.books.statistics(port) else { return BTreeMap::new() };
    let counted = [
        ("kernel_drops", counted.kernel_drops),
        ("receive_ring_full", counted.receive_ring_full),
        ("fill_ring_empty", counted.fill_ring_empty),
        ("truncated", counted.truncated),
        ("merged", counted.merged),
        ("checksum_completed", counted.checksum_completed),
        ("checksum_incomplete", counted.checksum_incomplete),
        ("unreadable", counted.unreadable),
        ("oversize", counted.oversize),
        ("transmit_full", counted.transmit_full),
        ("transmit_failed", counted.transmit_failed),
        ("transmit_down", counted.transmit_down),
    ];
    counted.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_survive_the_way_to_the_client() {
        let mut totals = Totals { received: 30, suppressed: 4, transmitted_bytes: 9, ..Totals::default() };
        totals.decided[Reason::Port25Egress as usize][Taken::Reject as usize] = 12;
        totals.decided[Reason::OtherPort as usize][Taken::Forward as usize] = 18;
        totals.would[Reason::Port25Mirror as usize] = 2;
        (totals.waiting, totals.fragmented, totals.fragments, totals.kernel_sent) = (1, 2, 5, 7);
        let counts = Counts::from(&totals);
        assert_eq!(counts.reasons["port25-egress"]["reject"], 12);
        let text = serde_json::to_string(&counts).unwrap();
        assert_eq!(Totals::from(&serde_json::from_str::<Counts>(&text).unwrap()), totals);
    }
}
