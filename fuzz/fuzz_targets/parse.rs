//! Any bytes as frames on ports: parsed, and judged by the policy of the conformance vectors.
//!
//! What has to hold for every frame: the headers lie inside it, the decision is one that its port and its headers
//! allow, an answer goes back to who is answered, the books balance, and a burst is judged and booked as the
//! specification of the pipeline, `judge_traced`, does it frame by frame.
#![no_main]

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use sekisho_control::compile::{Compiled, Compiler};
use sekisho_control::config::Config;
use sekisho_dataplane::clock::Instant;
use sekisho_dataplane::counters::{PoolTotals, Totals, WorkerCounters};
use sekisho_dataplane::frame::{self, Addresses, Datagram, Depth, Frame, Headers, Link, Upper, protocol};
use sekisho_dataplane::generation::Generation;
use sekisho_dataplane::pipeline::{Arrival, Common, Pipeline};
use sekisho_dataplane::policy::{Decision, FragmentLimits, Grant, PoolId, PortId, Reason, Role, Taken};
use sekisho_dataplane::port::worker_for;
use sekisho_dataplane::{RejectLimits, Replies};
use sekisho_fuzz::stream::{self, Setting};

const POLICY: &str = include_str!("../../tests/data/vectors/fixture.toml");
/// 2006-06-15T12:00:00+09:00: some of its phases are in force, one is to come.
const UTC_MICROS: i64 = 1_150_340_400_000_000;
const SECOND: u64 = 1_000_000;
/// After so long no budget and no fragment of an earlier input is left.
const HOUR: u64 = 3600 * SECOND;
const BURST: usize = 64;
/// More than the policy has.
const POOLS: usize = 32;

fuzz_target!(|bytes: &[u8]| {
    thread_local!(static BENCH: RefCell<Bench> = RefCell::new(Bench::new()));
    BENCH.with_borrow_mut(|bench| bench.judge(bytes));
});

struct Bench {
    generation: Generation,
    in_bursts: Judge,
    one_by_one: Judge,
    now: u64,
}

impl Bench {
    fn new() -> Bench {
        let config = Config::from_toml(POLICY, Path::new("fixture.toml")).expect("the fixture is accepted");
        let grant = Grant {
            prefix: "203.0.113.77/32".parse().expect("a prefix"),
            given: UTC_MICROS - 1,
            until: UTC_MICROS + 1,
        };
        let Compiled { generation, .. } = Compiler::default().compile(&config, vec![grant]).expect("tables");
        let ports = generation.port_count();
        Bench {
            generation,
            in_bursts: Judge::new(ports, Way::Burst),
            one_by_one: Judge::new(ports, Way::Specification),
            now: HOUR,
        }
    }

    fn judge(&mut self, bytes: &[u8]) {
        let (setting, rest) = stream::setting(bytes);
        let filter = self.generation.filter().expect("the fixture has a filter");
        for judge in [&mut self.in_bursts, &mut self.one_by_one] {
            judge.common.set_up(filter, setting.filter_is_up);
        }
        let ports = self.generation.port_count();
        let mut burst: Vec<&[u8]> = Vec::with_capacity(BURST);
        let mut port = PortId(0);
        for arrival in stream::arrivals(rest) {
            let next = PortId((usize::from(arrival.port) % ports) as u8);
            if next != port || arrival.pause > 0 || burst.len() == BURST {
                self.judge_burst(setting, port, &burst);
                burst.clear();
            }
            self.now += arrival.pause * SECOND;
            port = next;
            burst.push(arrival.frame);
        }
        self.judge_burst(setting, port, &burst);
        self.now += HOUR;
        for pool in (0..POOLS as u16).map(PoolId) {
            let [fast, slow] =
                [&self.in_bursts, &self.one_by_one].map(|judge| PoolTotals::of([judge.counters()], pool));
            assert_eq!(fast, slow, "{pool:?}");
        }
    }

    fn judge_burst(&mut self, setting: Setting, port: PortId, frames: &[&[u8]]) {
        let Setting { link, filter_is_up } = setting;
        let now = Instant { utc_micros: UTC_MICROS, monotonic_micros: self.now };
        let arrival = Arrival { port, link, now };
        let role = self.generation.role(port);

        let (decisions, answers) = self.in_bursts.judge(&self.generation, arrival, frames);
        for (at, (&frame, decision)) in frames.iter().zip(&decisions).enumerate() {
            let depth = self.generation.depth();
            let parsed = frame::parse(link, frame, depth);
            check_headers(frame, &parsed, depth);
            check_decision(role, &parsed, decision);
            assert!(decision.taken != Taken::Divert || filter_is_up, "{decision:?}");
            if decision.taken == Taken::Divert {
                assert_eq!(decision.out, self.generation.filter());
            }
            let mine: Vec<_> = answers.iter().filter(|(_, answers, _)| *answers == at).collect();
            assert_eq!(mine.len(), usize::from(decision.taken == Taken::Reject), "{decision:?}");
            for (out, _, answer) in mine {
                assert_eq!((*out, decision.out), (port, Some(port)));
                check_answer(link, &parsed, answer, depth);
            }
            for workers in 1..4 {
                assert!(worker_for(link, frame, depth, workers) < workers);
            }
        }

        for (at, frame) in frames.iter().enumerate() {
            let (single, single_answers) = self.one_by_one.judge(&self.generation, arrival, &[frame]);
            let expected = decisions[at];
            // Which port a filter's packet goes to may differ: the tables of returns forget by keys of their own.
            let out = if role == Role::Filter { expected.out } else { single[0].out };
            let specified = Decision { out, ..single[0] };
            assert_eq!(expected, specified, "frame {at} of a burst of {}; right: as specified", frames.len());
            let same = answers.iter().filter(|(_, answers, _)| *answers == at).map(|(_, _, bytes)| bytes);
            assert!(same.eq(single_answers.iter().map(|(_, _, bytes)| bytes)), "answers differ");
        }
        assert_eq!(self.in_bursts.checked_totals(), self.one_by_one.checked_totals());
    }
}

/// Which of the pipeline's two ways a judge takes.
#[derive(Clone, Copy)]
enum Way {
    Burst,
    Specification,
}

/// A pipeline with its books, and what they have to say.
struct Judge {
    way: Way,
    common: Arc<Common>,
    pipeline: Pipeline,
    replies: Replies,
    packets: u64,
    bytes: u64,
    by_taken: [u64; Taken::ALL.len()],
    suppressed: u64,
}

type Answer = (PortId, usize, Vec<u8>);

impl Judge {
    fn new(ports: usize, way: Way) -> Judge {
        // Little enough that an input runs into the bounds.
        let rejects = RejectLimits { burst: 3, interval_micros: 10 * SECOND, per_second: 8 };
        let fragments = FragmentLimits { datagrams: 12, per_source: 4, lifetime_micros: 120 * SECOND };
        let common = Arc::new(Common::new(ports, rejects));
        let counters = Arc::new(WorkerCounters::new(ports, POOLS));
        Judge {
            way,
            common: Arc::clone(&common),
            pipeline: Pipeline::new(common, counters, fragments),
            replies: Replies::with_capacity(BURST),
            packets: 0,
            bytes: 0,
            by_taken: [0; Taken::ALL.len()],
            suppressed: 0,
        }
    }

    fn judge(
        &mut self,
        generation: &Generation,
        arrival: Arrival,
        frames: &[&[u8]],
    ) -> (Vec<Decision>, Vec<Answer>) {
        let mut decisions = vec![Decision::UNDECIDED; frames.len()];
        let replies = &mut self.replies;
        replies.clear();
        match self.way {
            Way::Burst => self.pipeline.judge(generation, arrival, frames, &mut decisions, replies),
            Way::Specification => {
                self.pipeline.judge_traced(generation, arrival, frames, &mut decisions, replies, &mut ());
            }
        }
        self.packets += frames.len() as u64;
        self.bytes += frames.iter().map(|frame| frame.len() as u64).sum::<u64>();
        for decision in &decisions {
            self.by_taken[decision.taken as usize] += 1;
            self.suppressed += u64::from(decision.suppressed);
        }
        assert!(self.pipeline.fragments_known() <= 12);
        let answers = self.replies.iter();
        let answers =
            answers.map(|(reply, bytes)| (reply.port, reply.answers as usize, bytes.to_vec())).collect();
        (decisions, answers)
    }

    fn counters(&self) -> &WorkerCounters {
        self.pipeline.counters()
    }

    /// The books, if they balance and say what was decided.
    fn checked_totals(&self) -> Totals {
        let totals = Totals::of([self.counters()]);
        assert!(totals.balance(), "{totals:?}");
        assert_eq!((totals.received, totals.received_bytes), (self.packets, self.bytes));
        assert_eq!(Taken::ALL.map(|taken| totals.taken(taken)), self.by_taken);
        assert_eq!(Reason::ALL.iter().map(|reason| totals.reason(*reason)).sum::<u64>(), self.packets);
        assert_eq!(totals.suppressed, self.suppressed);
        totals
    }
}

/// Everything that the parser found lies inside the frame, in its order.
fn check_headers(frame: &[u8], parsed: &Frame, depth: Depth) {
    let Frame::Ip(headers) = parsed else { return };
    assert_eq!(depth, Depth::default());
    let (ip, end) = (headers.encapsulation.ip as usize, headers.end as usize);
    let fixed = match headers.addresses {
        Addresses::V4 { source, destination } => {
            assert_eq!(frame[ip] >> 4, 4);
            assert_eq!(frame[ip + 12..ip + 16], source.to_be_bytes());
            assert_eq!(frame[ip + 16..ip + 20], destination.to_be_bytes());
            20
        }
        Addresses::V6 { source, destination } => {
            assert_eq!(frame[ip] >> 4, 6);
            assert_eq!(frame[ip + 8..ip + 24], source.to_be_bytes());
            assert_eq!(frame[ip + 24..ip + 40], destination.to_be_bytes());
            40
        }
    };
    assert!(ip + fixed <= end && end <= frame.len(), "{headers:?} in {} bytes", frame.len());
    if let Some(pppoe) = headers.encapsulation.pppoe {
        assert!(pppoe as usize + 6 < ip, "{headers:?}");
    }
    match headers.datagram {
        Datagram::Whole => {}
        Datagram::First(part) => {
            assert_eq!(part.offset, 0, "{headers:?}");
            assert!((ip + fixed..=end).contains(&(part.data as usize)), "{headers:?}");
        }
        Datagram::Later(part) => {
            assert!(part.offset > 0 && part.offset % 8 == 0, "{headers:?}");
            assert!((ip + fixed..=end).contains(&(part.data as usize)), "{headers:?}");
        }
    }
    if let Upper::Found(transport) = headers.upper {
        let offset = transport.offset as usize;
        assert!((ip + fixed..=end).contains(&offset), "{headers:?}");
        assert_eq!(offset + transport.available as usize, end, "{headers:?}");
        assert!(
            !matches!(headers.datagram, Datagram::Later(_)),
            "a later fragment has no ports: {headers:?}"
        );
        if let Some(ports) = transport.ports {
            assert_eq!(frame[offset..offset + 2], ports.source.to_be_bytes());
            assert_eq!(frame[offset + 2..offset + 4], ports.destination.to_be_bytes());
        }
    }
}

/// Source and destination port of a TCP packet, where it has them.
fn tcp_ports(headers: &Headers) -> Option<(u16, u16)> {
    match headers.upper {
        Upper::Found(transport) if transport.protocol == protocol::TCP => {
            transport.ports.map(|ports| (ports.source, ports.destination))
        }
        _ => None,
    }
}

/// The decision is one that this frame may have on a port of this role.
fn check_decision(role: Role, parsed: &Frame, decision: &Decision) {
    let Decision { reason, taken, would, suppressed, out, .. } = *decision;
    match taken {
        Taken::Forward | Taken::Divert => assert!(out.is_some(), "{decision:?}"),
        Taken::Drop => assert!(out.is_none(), "{decision:?}"),
        Taken::Reject => assert!(role == Role::Subscriber && out.is_some(), "{decision:?}"),
    }
    assert!(!suppressed || taken == Taken::Drop, "{decision:?}");
    assert!(would.is_none() || taken == Taken::Forward, "{decision:?}");
    if matches!(role, Role::Servers | Role::Filter) && matches!(taken, Taken::Reject | Taken::Divert) {
        panic!("{decision:?} on a port that is not judged");
    }
    let headers = match (parsed, role) {
        (Frame::NotIp, _) => return assert_eq!((reason, taken), (Reason::NotIp, Taken::Forward)),
        (Frame::EncapDepth, Role::Subscriber) => {
            return assert_eq!((reason, taken), (Reason::EncapDepth, Taken::Drop));
        }
        (Frame::EncapDepth, _) => return assert_eq!((reason, taken), (Reason::NotIp, Taken::Forward)),
        (Frame::Malformed, _) => return assert_eq!((reason, taken), (Reason::Malformed, Taken::Drop)),
        (Frame::Ip(headers), _) => headers,
    };
    let ports = tcp_ports(headers);
    match reason {
        Reason::NotIp | Reason::EncapDepth | Reason::Malformed => panic!("{decision:?} of {headers:?}"),
        Reason::FragmentFollow | Reason::FragmentOrphan => {
            assert!(matches!(headers.datagram, Datagram::Later(_)), "{decision:?} of {headers:?}");
        }
        Reason::Submission => {
            let (source, destination) = ports.expect("submission has ports");
            let submission = |port| matches!(port, 465 | 587);
            assert!(submission(source) || submission(destination), "{decision:?}");
            assert_eq!(taken, Taken::Forward, "587 and 465 are never denied");
        }
        Reason::Port25Quarantine
        | Reason::RoutedHeader
        | Reason::Port25UnknownSource
        | Reason::Port25Egress
        | Reason::Port25Mirror => {
            let (source, destination) = ports.expect("port 25 has ports");
            let judged = if role == Role::Internet { source } else { destination };
            assert_eq!(judged, 25, "{decision:?} of {headers:?}");
        }
        _ => {}
    }
    let answerable_or_diverted =
        matches!(taken, Taken::Reject | Taken::Divert) && reason != Reason::FragmentFollow;
    assert!(
        !answerable_or_diverted || ports.is_some_and(|(s, d)| s == 25 || d == 25),
        "{decision:?} of {headers:?}"
    );
}

/// The answer is a packet from who was addressed to who sent.
fn check_answer(link: Link, asked: &Frame, answer: &[u8], depth: Depth) {
    let Frame::Ip(asked) = asked else { panic!("an answer to {asked:?}") };
    let parsed = frame::parse(link, answer, depth);
    check_headers(answer, &parsed, depth);
    let Frame::Ip(answered) = parsed else { panic!("an answer that is {parsed:?}") };
    assert_eq!(answered.addresses, asked.addresses.swapped());
    assert_eq!(answered.datagram, Datagram::Whole);
    if let (Some((source, destination)), Some(answered)) = (tcp_ports(asked), tcp_ports(&answered)) {
        assert_eq!(answered, (destination, source));
    }
}
