//! Route mode in memory with full tables, side by side with the same traffic bridged: what the look-up of routes, the
//! checks of a router and the new headers cost.
//!
//! The ratio is taken in turns, one way and the other, so that the machine's mood falls on both alike. With
//! `SEKISHO_FIB_DIR` the tables are those of real routers (see `tables`).

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
        let mut bridged = Load::bridging(v6, 1_000, 4, shape, &routes);
        let packets = 32_768;
        group.throughput(Throughput::Elements(packets));
        group.bench_function(format!("{name}/bridged"), |b| b.iter(|| bridged.carry(packets)));
        group.bench_function(format!("{name}/routed"), |b| b.iter(|| routed.carry(packets)));
        line_rate_share(name, &mut routed);
        let totals = routed.totals();
        let left = totals.forwarded() as f64 / totals.received as f64;
        assert!(left > 0.98, "only {left:.3} of the packets are led to a next hop");
        let (mut with, mut without) = (Vec::with_capacity(TURNS), Vec::with_capacity(TURNS));
        for _ in 0..TURNS {
            without.push(bridged.rate_of(PACKETS));
            with.push(routed.rate_of(PACKETS));
        }
        for (what, share) in [("the median", 2), ("the better quarter", 4)] {
            let at = |rates: &mut Vec<f64>| {
                rates.sort_by(|a, b| b.total_cmp(a));
                rates[rates.len() / share] / 1e6
            };
            let (with, without) = (at(&mut with), at(&mut without));
            let ratio = with / without;
            println!(
                "{name}: {without:.1} Mpps bridged, {with:.1} Mpps routed, {ratio:.3}, in {what} of {TURNS} turns"
            );
        }
    }
    group.finish();
}

criterion_group!(benches, route);
criterion_main!(benches);
