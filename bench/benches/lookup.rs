//! Longest-prefix match beside other crates: the same prefixes, the same addresses, one thread.
//!
//! An iteration looks up every address of a stream (2^20 in IPv4, 2^18 in IPv6, so that the stream itself
//! does not stay in the nearest caches) and sums the ids; before it is measured, each table's sum is compared
//! with that of the first. `sekisho-burst` takes 32 addresses at a time. Benches are named
//! `lookup/FAMILY/TABLE/STREAM/WHO`; `compile` and `update` are about ours alone.

use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use ip_network_table::IpNetworkTable;
use poptrie::Poptrie;
use prefix_trie::PrefixMap;
use sekisho_bench::streams::{Numbers, Spread};
use sekisho_bench::tables::{Family, Prefixes, tables_4, tables_6};
use sekisho_dataplane::lpm::{Live4, Live6, Table4, Table6};

/// Addresses that `sekisho-burst` looks up at a time.
const BURST: usize = 32;

type Who<'t, A> = (&'static str, Box<dyn Fn(&[A]) -> u64 + 't>);

fn one_by_one<A: Copy>(addresses: &[A], lookup: impl Fn(A) -> u32) -> u64 {
    addresses.iter().map(|address| u64::from(lookup(*address))).sum()
}

fn by_bursts<A>(addresses: &[A], lookup: impl Fn(&[A], &mut [u32])) -> u64 {
    let mut ids = [0; BURST];
    let mut sum = 0;
    for burst in addresses.chunks_exact(BURST) {
        lookup(burst, &mut ids);
        sum += ids.iter().copied().map(u64::from).sum::<u64>();
    }
    sum
}

fn compare<A: Family>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    prefixes: &Prefixes<A>,
    all: &[Who<'_, A>],
    count: usize,
) {
    group.throughput(Throughput::Elements(count as u64));
    for spread in Spread::ALL {
        let addresses = spread.addresses(prefixes, count);
        let expected = all[0].1(&addresses);
        for (name, sum) in all {
            assert_eq!(sum(&addresses), expected, "{name} differs");
            let id = BenchmarkId::from_parameter(format!("{}/{}/{name}", prefixes.name, spread.name()));
            group.bench_function(id, |bencher| bencher.iter(|| sum(black_box(&addresses))));
        }
    }
}

fn lookup_4(c: &mut Criterion) {
    let mut group = c.benchmark_group("lookup/v4");
    for prefixes in tables_4() {
        let ours = Table4::build(&prefixes.networks()).expect("a table");
        eprintln!("v4/{}: {} prefixes, {} KiB", prefixes.name, ours.prefixes(), ours.memory_bytes() >> 10);
        let entries = &prefixes.entries;
        let map: PrefixMap<(u32, u8), u32> =
            entries.iter().map(|&(address, len, id)| ((address, len), id)).collect();
        let poptrie: Poptrie<(u32, u8), u32> =
            entries.iter().map(|&(address, len, id)| ((address, len), id)).collect();
        let mut network_table = IpNetworkTable::new();
        for &(address, len, id) in entries {
            network_table.insert(ip_network::Ipv4Network::new(address.into(), len).expect("a network"), id);
        }
        let all: [Who<'_, u32>; 5] = [
            ("sekisho-scalar", Box::new(|stream| one_by_one(stream, |address| ours.lookup(address)))),
            (
                "sekisho-burst",
                Box::new(|stream| by_bursts(stream, |addresses, ids| ours.lookup_burst(addresses, ids))),
            ),
            (
                "prefix-trie",
                Box::new(|stream| {
                    one_by_one(stream, |address| map.get_lpm(&(address, 32)).map_or(0, |found| *found.1))
                }),
            ),
            (
                "ip_network_table",
                Box::new(|stream| {
                    one_by_one(stream, |address| {
                        network_table.longest_match_ipv4(Ipv4Addr::from(address)).map_or(0, |found| *found.1)
                    })
                }),
            ),
            (
                "poptrie",
                Box::new(|stream| {
                    one_by_one(stream, |address| poptrie.lookup(address).copied().unwrap_or(0))
                }),
            ),
        ];
        compare(&mut group, &prefixes, &all, 1 << 20);
    }
    group.finish();
}

fn lookup_6(c: &mut Criterion) {
    let mut group = c.benchmark_group("lookup/v6");
    for prefixes in tables_6() {
        let ours = Table6::build(&prefixes.networks()).expect("a table");
        eprintln!("v6/{}: {} prefixes, {} KiB", prefixes.name, ours.prefixes(), ours.memory_bytes() >> 10);
        let entries = &prefixes.entries;
        let map: PrefixMap<(u128, u8), u32> =
            entries.iter().map(|&(address, len, id)| ((address, len), id)).collect();
        let poptrie: Poptrie<(u128, u8), u32> =
            entries.iter().map(|&(address, len, id)| ((address, len), id)).collect();
        let mut network_table = IpNetworkTable::new();
        for &(address, len, id) in entries {
            network_table.insert(ip_network::Ipv6Network::new(address.into(), len).expect("a network"), id);
        }
        let all: [Who<'_, u128>; 5] = [
            ("sekisho-scalar", Box::new(|stream| one_by_one(stream, |address| ours.lookup(address)))),
            (
                "sekisho-burst",
                Box::new(|stream| by_bursts(stream, |addresses, ids| ours.lookup_burst(addresses, ids))),
            ),
            (
                "prefix-trie",
                Box::new(|stream| {
                    one_by_one(stream, |address| map.get_lpm(&(address, 128)).map_or(0, |found| *found.1))
                }),
            ),
            (
                "ip_network_table",
                Box::new(|stream| {
                    one_by_one(stream, |address| {
                        network_table.longest_match_ipv6(Ipv6Addr::from(address)).map_or(0, |found| *found.1)
                    })
                }),
            ),
            (
                "poptrie",
                Box::new(|stream| {
                    one_by_one(stream, |address| poptrie.lookup(address).copied().unwrap_or(0))
                }),
            ),
        ];
        compare(&mut group, &prefixes, &all, 1 << 18);
    }
    group.finish();
}

/// Prefixes that are sorted already, into a table.
fn compile(c: &mut Criterion) {
    let mut group = c.benchmark_group("compile");
    for prefixes in tables_4() {
        let networks = prefixes.networks();
        group.throughput(Throughput::Elements(networks.len() as u64));
        let id = BenchmarkId::new("v4", prefixes.name);
        group.bench_function(id, |bencher| bencher.iter_with_large_drop(|| Table4::build(&networks)));
    }
    for prefixes in tables_6() {
        let networks = prefixes.networks();
        group.throughput(Throughput::Elements(networks.len() as u64));
        let id = BenchmarkId::new("v6", prefixes.name);
        group.bench_function(id, |bencher| bencher.iter_with_large_drop(|| Table6::build(&networks)));
    }
    group.finish();
}

/// One random prefix of the full table taken out and put back, so two changes each time.
fn update(c: &mut Criterion) {
    let mut group = c.benchmark_group("update");
    group.throughput(Throughput::Elements(2));
    let mut numbers = Numbers::new(11);
    if let Some(prefixes) = tables_4().pop() {
        let networks = prefixes.networks();
        let mut live = Live4::build(&networks).expect("a table");
        let mut reader = live.reader();
        group.bench_function(BenchmarkId::new("v4", prefixes.name), |bencher| {
            bencher.iter(|| {
                let (network, id) = networks[numbers.below(networks.len() as u64) as usize];
                live.remove(network).expect("room");
                live.insert(network, id).expect("room");
                reader.quiescent();
            });
        });
    }
    if let Some(prefixes) = tables_6().pop() {
        let networks = prefixes.networks();
        let mut live = Live6::build(&networks).expect("a table");
        let mut reader = live.reader();
        group.bench_function(BenchmarkId::new("v6", prefixes.name), |bencher| {
            bencher.iter(|| {
                let (network, id) = networks[numbers.below(networks.len() as u64) as usize];
                live.remove(network).expect("room");
                live.insert(network, id).expect("room");
                reader.quiescent();
            });
        });
    }
    group.finish();
}

/// Short, since there are many; `--warm-up-time`, `--measurement-time` and `--sample-size` make it longer.
fn quick() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .without_plots()
}

criterion_group! {
    name = benches;
    config = quick();
    targets = lookup_4, lookup_6, compile, update
}
criterion_main!(benches);
