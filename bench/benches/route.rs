//! Route mode in memory with full tables, side by side with the same traffic bridged: what the look-up of routes, the
//! checks of a router and the new headers cost.
//!
//! The ratio is taken in rounds, one way and the other in turn, so that the machine's mood falls on both alike. With
//! `SEKISHO_FIB_DIR` the tables are those of real routers (see `tables`).

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sekisho_bench::tables::{Family, tables_4, tables_6};
use sekisho_bench::{Load, Route, line_rate_share, median_ratio};
use sekisho_control::bench::traffic::{Shape, Size};

const ROUNDS: usize = 9;
const PACKETS: u64 = 4_000_000;

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
        let ratio = median_ratio(ROUNDS, "routes", |with| match with {
            true => routed.rate_of(PACKETS),
            false => bridged.rate_of(PACKETS),
        });
        println!("{name}: {ratio:.3} of what is bridged, in the median of {ROUNDS} rounds");
    }
    group.finish();
}

criterion_group!(benches, route);
criterion_main!(benches);
