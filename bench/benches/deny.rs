//! The deny path: what answers and the affected list cost the pipeline, against dropping without a word.
//!
//! The loads take turns in one run, so that what the host does meanwhile meets all of them; what is printed is the median
//! of the rounds, and the median of the ratios within a round.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sekisho_bench::Load;
use sekisho_control::bench::traffic::{Shape, Size};
use sekisho_dataplane::policy::Action;

const POOLS: usize = 1_000;
const SETS: usize = 4;
/// Places for affected customers, as the daemon has.
const PLACES: usize = 32_768;
const PACKETS: u64 = 32_768;
/// The clock of a load goes as if packets came at line rate of 100GbE, less what no core takes.
const PER_MICROSECOND: f64 = 100.0;
/// Of a storm, the rate that the operators of a box are told.
const STORM_PER_MICROSECOND: f64 = 10.0;
const ROUNDS: usize = 301;
/// Each load's share of a round.
const TURN: u64 = 4 * PACKETS;

struct Way {
    name: &'static str,
    load: Load,
}

fn shape(flows: usize, smtp_permille: u32) -> Shape {
    Shape { size: Size::Fixed(64), flows, smtp_permille, frames: PACKETS as usize }
}

/// Dropping, answering, watching; with the affected list, of so many places, and without.
fn ways(flows: usize, smtp_permille: u32, places: usize) -> Vec<Way> {
    let ways = [
        ("drop", Action::Drop, None),
        ("drop+affected", Action::Drop, Some(places)),
        ("reject", Action::Reject, None),
        ("reject+affected", Action::Reject, Some(places)),
        ("monitor", Action::Monitor, None),
        ("monitor+affected", Action::Monitor, Some(places)),
    ];
    let load =
        |action, places| Load::denying(false, POOLS, SETS, shape(flows, smtp_permille), action, places);
    ways.map(|(name, action, places)| Way { name, load: load(action, places) }).into()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints each way's cost, and its ratio to the first.
#[allow(clippy::print_stdout)]
fn compare(title: &str, ways: &mut [Way], per_microsecond: f64, rounds: usize, turn: u64) {
    let mut taken: Vec<Vec<f64>> = vec![Vec::new(); ways.len()];
    for round in 0..=rounds {
        for (at, way) in ways.iter_mut().enumerate() {
            let nanos = way.load.carry_in_time(turn, per_microsecond);
            // The first round only warms up.
            if round > 0 {
                taken[at].push(nanos);
            }
        }
    }
    for (at, way) in ways.iter().enumerate() {
        let ratios = taken[at].iter().zip(&taken[0]).map(|(own, first)| own / first).collect();
        let nanos = median(taken[at].clone());
        println!("{title}/{}: {nanos:.2} ns a packet, {:.3} of {}", way.name, median(ratios), ways[0].name);
        let totals = way.load.totals();
        assert!(totals.balance(), "the books balance");
        if let Some(report) = way.load.affected() {
            let watched: u64 = totals.would.iter().sum();
            assert_eq!(report.attempts, totals.denied() + watched, "every deny is booked");
        }
    }
}

fn deny(c: &mut Criterion) {
    let mut group = c.benchmark_group("deny");
    group.throughput(Throughput::Elements(PACKETS));
    for (title, flows, permille, rate) in
        [("1%-port-25", 10_000, 10, PER_MICROSECOND), ("100%-port-25", 10_000, 1_000, STORM_PER_MICROSECOND)]
    {
        let mut ways = ways(flows, permille, PLACES);
        for way in &mut ways {
            group.bench_function(format!("{title}/{}", way.name), |b| {
                b.iter(|| way.load.carry_in_time(PACKETS, rate));
            });
        }
        compare(title, &mut ways, rate, ROUNDS, TURN);
    }
    group.finish();
    // More customers than places: each packet is from another one.
    let mut flood = ways(PACKETS as usize * 4, 1_000, 512);
    compare("flood-of-customers", &mut flood, STORM_PER_MICROSECOND, ROUNDS / 10, TURN);
}

criterion_group!(benches, deny);
criterion_main!(benches);
