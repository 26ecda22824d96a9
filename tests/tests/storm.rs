//! A storm of port 25 in memory: everybody else's traffic goes on, and every counter is exact.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sekisho_control::affected::{Affected, Which};
use sekisho_control::compile::{Compiler, fragment_limits, reject_limits};
use sekisho_control::config::{Config, Privacy};
use sekisho_dataplane::clock::Instant;
use sekisho_dataplane::counters::{PoolTotals, Totals, WorkerCounters};
use sekisho_dataplane::pipeline::{Common, Pipeline};
use sekisho_dataplane::policy::{PortId, Reason, Taken};
use sekisho_dataplane::port::MemoryDriver;
use sekisho_dataplane::port::memory::Ring;
use sekisho_dataplane::publication::publish;
use sekisho_dataplane::worker::Corridor;
use sekisho_tests::lab::frame::{Segment, Side, tcp};

const CONFIG: &str = r#"
[[port]]
name = "access"
role = "subscriber"
peer = "core"
driver = "memory"

[[port]]
name = "core"
role = "internet"
peer = "access"
driver = "memory"

[sets]
own-msa = ["192.0.2.25/32"]

[[policy]]
name = "dynamic"
action = "reject"
allow = ["own-msa"]
phases = [{ name = "all", from = "2006-06-01T00:00:00+09:00", block = "all" }]

[[pool]]
name = "stormy"
policy = "dynamic"
prefixes = ["10.0.0.0/16"]

[[pool]]
name = "quiet"
policy = "dynamic"
prefixes = ["10.1.0.0/16"]
"#;

const ACCESS: PortId = PortId(0);
const CORE: PortId = PortId(1);
/// Customers that storm, each at a number of servers.
const STORMING: u32 = 1_000;
const SERVERS: u32 = 3;
/// Customers that do not, each with a connection to somewhere and a letter to the provider's own server.
const QUIET: u32 = 40;
/// How often each frame comes.
const TURNS: u64 = 300;
/// Ten million packets a second.
const PER_MICROSECOND: u64 = 10;

fn address(network: u32, host: u32) -> IpAddr {
    Ipv4Addr::from_bits(network | host).into()
}

fn syn(from: IpAddr, to: [u8; 4], port: u16) -> Vec<u8> {
    let from = SocketAddr::new(from, 50_000);
    tcp(Side::Customer, from, SocketAddr::from((to, port)), Segment::Syn, b"")
}

/// The storm, and between its packets those of the others.
fn frames() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for n in 0..STORMING {
        for server in 0..SERVERS {
            frames.push(syn(address(0x0a00_0000, n + 1), [198, 51, 100, server as u8 + 1], 25));
        }
        if n % (STORMING / QUIET) == 0 {
            let customer = address(0x0a01_0000, n + 1);
            frames.push(syn(customer, [198, 51, 100, 1], 443));
            frames.push(syn(customer, [192, 0, 2, 25], 25));
        }
    }
    frames
}

/// Ends the other thread, however this one ends.
struct OnEnd<'a>(&'a AtomicBool);

impl Drop for OnEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_storm_leaves_other_customers_traffic_forwarded_and_every_counter_exact() {
    let config = Config::from_toml(CONFIG, Path::new("storm.toml")).expect("a configuration");
    let compiled = Compiler::default().compile(&config, Vec::new()).expect("it compiles");
    let names = compiled.names;
    let (_publisher, mut readers) = publish(compiled.generation, 1);
    let counters = Arc::new(WorkerCounters::new(2, names.highest_pool() + 1));
    let common = Arc::new(Common::new(2, reject_limits(&config.limits)));
    let affected = Affected::new(1, config.affected.customers);
    let pipeline = Pipeline::new(common, Arc::clone(&counters), fragment_limits(&config.limits))
        .with_affected(affected.recorder(0));
    let frames = frames();
    let is_storm = |frame: &[u8]| frame[27] == 0;
    let is_mail = |frame: &[u8]| frame[36..38] == [0, 25];
    let quiet: Vec<&Vec<u8>> = frames.iter().filter(|frame| !is_storm(frame)).collect();
    // Room for every frame, and for an answer to each.
    let driver = MemoryDriver::new(2, 2 * frames.len(), 128, Ring::Once);
    let mut corridor = Corridor::new(driver, pipeline, 64);

    let done = AtomicBool::new(false);
    let done = &done;
    let reads = std::thread::scope(|scope| {
        // Somebody asks all the while.
        let reader = scope.spawn(|| {
            let (mut reads, mut last) = (0u64, 0);
            while !done.load(Ordering::Relaxed) {
                let (rows, accuracy) = affected.rows(Which::Current, &names, Privacy::Off, None);
                assert!(accuracy.attempts >= last && rows.len() <= STORMING as usize);
                (reads, last) = (reads + 1, accuracy.attempts);
            }
            reads
        });
        let end = OnEnd(done);
        let mut online = readers[0].online();
        let mut carried = 0u64;
        for _ in 0..TURNS {
            assert!(frames.iter().all(|frame| corridor.driver().load(ACCESS, frame)));
            let end = carried + frames.len() as u64;
            while carried < end {
                let now = 1_180_000_000_000_000 + (carried / PER_MICROSECOND) as i64;
                let served = corridor.serve(ACCESS, &mut online, &mut || Instant::from_utc_micros(now));
                carried += served.frames as u64;
            }
            let left: Vec<Vec<u8>> = std::iter::from_fn(|| corridor.driver().take(CORE)).collect();
            assert!(left.iter().eq(quiet.iter().copied()), "what others send leaves as it came");
            while corridor.driver().take(ACCESS).is_some() {}
        }
        drop(end);
        reader.join().expect("the reader meets nothing odd")
    });
    assert!(reads > 0);

    let totals = Totals::of([&*counters]);
    assert!(totals.balance() && totals.leaving_balances());
    assert_eq!(totals.received, frames.len() as u64 * TURNS);
    let count = |is: &dyn Fn(&[u8]) -> bool| frames.iter().filter(|frame| is(frame)).count() as u64 * TURNS;
    let storm = count(&is_storm);
    assert_eq!(storm, u64::from(STORMING * SERVERS) * TURNS);
    assert_eq!(totals.reason(Reason::OtherPort), count(&|frame| !is_mail(frame)));
    assert_eq!(totals.reason(Reason::AllowedDestination), count(&|frame| !is_storm(frame) && is_mail(frame)));
    assert_eq!(totals.reason(Reason::Port25Egress), storm);
    assert_eq!((totals.forwarded(), totals.denied()), (totals.received - storm, storm));
    assert_eq!(totals.forwards_lost + totals.replies_lost, 0);
    // Each is answered at most five times, and one time more each ten seconds; whoever is not, is counted.
    let answered = totals.decided[Reason::Port25Egress as usize][Taken::Reject as usize];
    assert_eq!(answered, u64::from(STORMING) * 5);
    assert_eq!(totals.suppressed, storm - answered);
    let core = Totals::of_port([&*counters], CORE);
    assert_eq!((core.transmitted, core.received), (totals.forwarded(), 0));
    for (pool, packets, denied) in [("stormy", storm, storm), ("quiet", totals.received - storm, 0)] {
        let pool = names.pool_named(pool).expect("a pool");
        assert_eq!(PoolTotals::of([&*counters], pool), PoolTotals { packets, denied, would: 0 });
    }

    let (rows, accuracy) = affected.rows(Which::Current, &names, Privacy::Off, None);
    assert_eq!((accuracy.attempts, accuracy.displaced_customers, accuracy.unread), (storm, 0, 0));
    let customers = (0..STORMING).map(|n| address(0x0a00_0000, n + 1).to_string());
    let expected: BTreeMap<String, u64> = customers.map(|who| (who, u64::from(SERVERS) * TURNS)).collect();
    let listed: BTreeMap<String, u64> = rows.iter().map(|row| (row.customer.clone(), row.attempts)).collect();
    assert_eq!(listed, expected);
    for row in &rows {
        assert_eq!((row.attempts, row.attempts, 0), (row.attempts_at_most, row.connections, row.would_deny));
        assert_eq!((row.attempts, row.attempts), (row.denied, row.destinations.other));
        assert!((2..=4).contains(&row.distinct_destinations), "{row:?}");
    }
}
