//! Whether the filter answers: checks made and judged here, carried by the workers.
//!
//! A round begins with ARP or ND, which a check by TCP needs as well: it tells the filter's MAC, and the filter ours. For
//! TCP a SYN follows, whose SYN+ACK is answered with a RST. A round without the answer when the next is due has failed;
//! so many in a row and the filter is down, one answer and it is up again. Until the first verdict it counts as up.

mod wire;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sekisho_dataplane::health::Checks;
use sekisho_dataplane::pipeline::Common;
use sekisho_dataplane::policy::PortId;
use serde::{Deserialize, Serialize};

use crate::config::{Config, Health, HealthCheck};
use crate::words;
use wire::{Answer, Probe};

/// While an answer is waited for, it is looked for as often.
const LOOK: Duration = Duration::from_millis(20);

/// The way to the filter's port, if it is to be checked.
pub(super) fn checks(config: &Config) -> Option<Checks> {
    let (at, _) = checked(config)?;
    // A MAC of our own (locally administered), another with each start, so that two checkpoints don't meet.
    let mut own = [0; 6];
    own.copy_from_slice(&RandomState::new().hash_one(at).to_be_bytes()[..6]);
    own[0] = own[0] & 0xfc | 2;
    Some(Checks::new(PortId(at as u8), own))
}

fn checked(config: &Config) -> Option<(usize, &Health)> {
    config.ports.iter().enumerate().find_map(|(at, port)| Some((at, port.health.as_ref()?)))
}

/// How the filter is, for `status` and metrics.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct FilterHealth {
    /// `arp`, `nd` or `tcp`.
    pub check: String,
    /// The address that is checked.
    pub address: String,
    /// Whether it answers. It is said to until so many checks in a row went without an answer.
    pub up: bool,
    /// Checks that were made.
    pub checks: u64,
    /// Checks that were answered.
    pub answers: u64,
    /// The last ones, if they went without an answer.
    pub failed_in_a_row: u32,
    /// Frames for the checks that there was no room for.
    pub missed: u64,
}

/// What has been answered of the round that is under way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    /// None is under way, or it is over.
    Over,
    /// For the filter's MAC.
    Neighbour,
    /// For a SYN+ACK to the SYN of that sequence number.
    Connection(u32),
}

/// The checks of one filter.
pub(super) struct Monitor {
    common: Arc<Common>,
    port: PortId,
    health: Health,
    probe: Probe,
    due: Instant,
    round: Round,
    checks: u64,
    answers: u64,
    failed_in_a_row: u32,
    numbers: RandomState,
}

impl Monitor {
    /// None where nothing is to be checked.
    pub(super) fn new(config: &Config, common: &Arc<Common>, now: Instant) -> Option<Monitor> {
        let (checks, (_, health)) = (common.checks()?, checked(config)?);
        Some(Monitor {
            port: checks.port(),
            probe: Probe::new(checks.own(), health),
            health: health.clone(),
            common: Arc::clone(common),
            due: now,
            round: Round::Over,
            checks: 0,
            answers: 0,
            failed_in_a_row: 0,
            numbers: RandomState::new(),
        })
    }

    /// When it wants to be called next.
    pub(super) fn due(&self, now: Instant) -> Instant {
        match self.round {
            Round::Over => self.due,
            Round::Neighbour | Round::Connection(_) => self.due.min(now + LOOK),
        }
    }

    /// Looks for answers, and begins the next round if it is time. Whether the filter went down or came up.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        let before = self.common.answers(self.port);
        self.listen();
        if now >= self.due {
            if self.round != Round::Over {
                self.failed_in_a_row = self.failed_in_a_row.saturating_add(1);
                if self.failed_in_a_row >= self.health.fail_after {
                    self.common.set_answers(self.port, false);
                }
            }
            self.begin(now);
        }
        before != self.common.answers(self.port)
    }

    fn begin(&mut self, now: Instant) {
        self.due = now + Duration::from_micros(self.health.interval_micros);
        self.round = Round::Neighbour;
        self.checks += 1;
        self.send(self.probe.neighbour());
    }

    fn send(&self, frame: Option<Vec<u8>>) {
        if let (Some(checks), Some(frame)) = (self.common.checks(), frame) {
            // Longer than there is room for is none of them; what the queue has no room for goes unanswered.
            if let Ok(frame) = frame.as_slice().try_into() {
                let _ = checks.send(frame);
            }
        }
    }

    fn listen(&mut self) {
        while let Some(frame) = self.common.checks().and_then(Checks::next_heard) {
            match (self.round, self.probe.read(&frame)) {
                (Round::Neighbour, Some(Answer::Neighbour(mac))) => {
                    if self.health.check != HealthCheck::Tcp {
                        self.answered();
                        continue;
                    }
                    let number = self.numbers.hash_one(self.checks) as u32;
                    self.round = Round::Connection(number);
                    self.send(self.probe.syn(mac, number));
                }
                (Round::Connection(number), Some(Answer::Accepted { mac, acknowledges }))
                    if acknowledges == number.wrapping_add(1) =>
                {
                    self.send(self.probe.rst(mac, acknowledges));
                    self.answered();
                }
                _ => {}
            }
        }
    }

    fn answered(&mut self) {
        self.round = Round::Over;
        self.answers += 1;
        self.failed_in_a_row = 0;
        self.common.set_answers(self.port, true);
    }

    /// How it is.
    pub(super) fn shown(&self) -> FilterHealth {
        let check = words::health_check(self.health.check);
        FilterHealth {
            check: check.to_owned(),
            address: self.health.address.to_string(),
            up: self.common.answers(self.port),
            checks: self.checks,
            answers: self.answers,
            failed_in_a_row: self.failed_in_a_row,
            missed: self.common.checks().map_or(0, Checks::missed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sekisho_dataplane::RejectLimits;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(1);

    fn config(health: &str) -> Config {
        let text = format!(
            "[[port]]\nname = \"a\"\nrole = \"subscriber\"\npeer = \"b\"\ndriver = \"memory\"\n\
             [[port]]\nname = \"b\"\nrole = \"internet\"\npeer = \"a\"\ndriver = \"memory\"\n\
             [[port]]\nname = \"f\"\nrole = \"filter\"\ndriver = \"memory\"\nhealth = {health}\n"
        );
        Config::from_toml(&text, Path::new("s.toml")).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn so_many_checks_in_a_row_without_an_answer_and_the_filter_is_down() {
        let config = config("{ check = \"arp\", address = \"192.0.2.99\", fail-after = 2 }");
        let limits = RejectLimits::default();
        let common = Arc::new(Common::new(3, limits).with_checks(checks(&config)));
        let mut now = Instant::now();
        let mut monitor = Monitor::new(&config, &common, now).unwrap();
        let filter = PortId(2);
        assert!(!monitor.look(now) && common.is_up(filter));
        let sent = || std::iter::from_fn(|| common.checks().unwrap().next_to_send()).count();
        for round in 1..=2 {
            assert_eq!(sent(), 1, "one each interval");
            assert!(!monitor.look(now + INTERVAL / 2));
            now += INTERVAL;
            assert_eq!(monitor.look(now), round == 2);
        }
        assert!(!common.is_up(filter) && common.has_link(filter));
        let shown = monitor.shown();
        assert_eq!((shown.up, shown.checks, shown.answers, shown.failed_in_a_row), (false, 3, 0, 2));
        // The link that comes up does not make it answer.
        common.set_up(filter, true);
        assert!(!common.is_up(filter));
        now += INTERVAL;
        assert!(!monitor.look(now), "it is down already");
    }

    #[test]
    fn without_health_nothing_is_checked() {
        let mut config = config("{ check = \"arp\", address = \"192.0.2.99\" }");
        config.ports[2].health = None;
        assert!(checks(&config).is_none());
        let common = Arc::new(Common::new(3, RejectLimits::default()));
        assert!(Monitor::new(&config, &common, Instant::now()).is_none());
    }
}
