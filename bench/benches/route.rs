//! Route mode in memory with full tables, beside two runs without the look-up of routes: the same traffic *bridged*, where
//! no time to live, no MAC and no table is looked at, and the same traffic routed by a table of a *default route* alone,
//! where a router does all that it does, but every look-up has the same answer.
//!
//! The ratios are taken in turns, one way after the other, so that the machine's mood falls on all alike. With
//! `SEKISHO_FIB_DIR` the tables are those of real routers (see `tables`). In all three ways frames come anew each time, as
//! from a wire, which costs the driver a copy of their headers.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sekisho_bench::tables::{Family, tables_4, tables_6};
use sekisho_bench::{Load, Route, line_rate_share};
use sekisho_control::bench::traffic::{Shape, Size};

/// Turns are short, so that a machine that does other things as well takes some of them whole and leaves the others.
const TURNS: usize = 2_000;
const PACKETS: u64 = 32_768;

fn routes<A: Family<Network = N>, N: Into<ipnetwork::IpNetwork> + Copy>(
    table: &sekisho_bench::tables::Prefixes<A>,
) -> Vec<Route> {
    let routes = table.networks().into_iter();
    routes.map(|(prefix, id)| Route { prefix: prefix.into(), router: id % 512 }).collect()
}

#[allow(clippy::print_stdout)]
fn route(c: &mut Criterion) {
    let mut group = c.benchmark_group("route");
    let shape = Shape { size: Size::Fixed(64), flows: 10_000, smtp_permille: 10, frames: 32_768 };
    let v4 = tables_4().pop().expect("the full table");
    let v6 = tables_6().pop().expect("the full table");
    for (v6, name, routes) in [
        (false, "v4/64-byte/1000-pools/full-table", routes(&v4)),
        (true, "v6/64-byte/1000-pools/full-table", routes(&v6)),
    ] {
        let began = std::time::Instant::now();
        let mut routed = Load::routing(v6, 1_000, 4, shape, &routes);
        println!(
            "{name}: {} routes and the traffic are made in {:.1} s",
            routes.len(),
            began.elapsed().as_secs_f64()
        );
        let mut by_default = Load::routing_by_default(v6, 1_000, 4, shape, &routes);
        let mut bridged = Load::bridging(v6, 1_000, 4, shape, &routes);
        group.throughput(Throughput::Elements(PACKETS));
        group.bench_function(format!("{name}/bridged"), |b| b.iter(|| bridged.carry(PACKETS)));
        group.bench_function(format!("{name}/default-route"), |b| b.iter(|| by_default.carry(PACKETS)));
        group.bench_function(format!("{name}/routed"), |b| b.iter(|| routed.carry(PACKETS)));
        line_rate_share(name, &mut routed);
        let totals = routed.totals();
        let left = totals.forwarded() as f64 / totals.received as f64;
        assert!(left > 0.98, "only {left:.3} of the packets are led to a next hop");
        let mut rates: [Vec<f64>; 3] = Default::default();
        for _ in 0..TURNS {
            for (rates, load) in rates.iter_mut().zip([&mut bridged, &mut by_default, &mut routed]) {
                rates.push(load.rate_of(PACKETS));
            }
        }
        rates.iter_mut().for_each(|rates| rates.sort_by(|a, b| b.total_cmp(a)));
        for (what, share) in [("the median", 2), ("the better quarter", 4)] {
            let [bridged, by_default, routed] =
                rates.each_ref().map(|rates| rates[rates.len() / share] / 1e6);
            println!(
                "{name}: {routed:.1} Mpps routed: {:.3} of {bridged:.1} Mpps bridged, {:.3} of {by_default:.1} Mpps by a \
                 default route, in {what} of {TURNS} turns",
                routed / bridged,
                routed / by_default
            );
        }
    }
    group.finish();
}

criterion_group!(benches, route);
criterion_main!(benches);
