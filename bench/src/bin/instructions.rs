//! Fixed work for counting instructions: `instructions WORK` does it, under callgrind or not.
//!
//! `bench/instructions` runs each under callgrind, which counts only what happens inside [`measured`], and holds
//! the counts against `bench/instructions.txt`. Counts of the same binary do not depend on the machine's load;
//! valgrind shows a processor without AVX-512, so the AVX2 loops are the ones that are counted.

#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::process::ExitCode;

use ipnetwork::{Ipv4Network, Ipv6Network};
use sekisho_bench::{Load, Route};
use sekisho_control::bench::traffic::{Shape, Size};
use sekisho_dataplane::frame::{Depth, Link, parse};
use sekisho_dataplane::lpm::{Table4, Table6};
use sekisho_dataplane::policy::Action;

/// Packets or look-ups in a piece of work; counts are divided by it.
const ITEMS: u64 = 65_536;
const BURST: usize = 64;

fn main() -> ExitCode {
    let Some(work) = std::env::args().nth(1) else {
        WORKS.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    };
    match WORKS.iter().find(|(name, _)| *name == work) {
        Some((_, run)) => {
            run();
            println!("{ITEMS}");
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("no such work: {work}");
            ExitCode::FAILURE
        }
    }
}

const WORKS: [(&str, fn()); 12] = [
    ("lookup-v4-1k", || lookup_v4(1_000)),
    ("lookup-v4-100k", || lookup_v4(100_000)),
    ("lookup-v6-10k", || lookup_v6(10_000)),
    ("parse-general", parse_general),
    ("pipeline-v4", || pipeline(false, 10)),
    ("pipeline-v6", || pipeline(true, 10)),
    ("pipeline-v4-smtp", || pipeline(false, 1_000)),
    ("pipeline-v6-smtp", || pipeline(true, 1_000)),
    ("route-v4", || route(false)),
    ("route-v6", || route(true)),
    ("deny-affected", || deny(Action::Drop)),
    ("deny-reject", || deny(Action::Reject)),
];

/// What callgrind counts.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
}

/// Numbers that are the same each time (Knuth's MMIX constants).
fn numbers() -> impl Iterator<Item = u64> {
    let mut state = 1u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state ^ state >> 29
    })
}

fn lookup_v4(prefixes: u32) {
    let entries: Vec<(Ipv4Network, u32)> = (0..prefixes)
        .map(|n| {
            let network = (0x0b00_0000 + (n << 9)).into();
            (Ipv4Network::new(network, 24).expect("a valid length"), n % 30_000 + 1)
        })
        .collect();
    let table = Table4::build(&entries).expect("the table builds");
    let inside = numbers().map(|n| 0x0b00_0000 + ((n as u32 % prefixes) << 9) + (n >> 40) as u8 as u32);
    let addresses: Vec<u32> = inside.take(ITEMS as usize).collect();
    let mut ids = [0; BURST];
    measured(&mut || {
        for burst in addresses.chunks_exact(BURST) {
            table.lookup_burst(black_box(burst), &mut ids);
            black_box(&ids);
        }
    });
}

fn lookup_v6(prefixes: u32) {
    let network = |n: u32| 0x2001_0db8u128 << 96 | u128::from(n) << 72;
    let entries: Vec<(Ipv6Network, u32)> = (0..prefixes)
        .map(|n| (Ipv6Network::new(network(n).into(), 56).expect("a valid length"), n % 30_000 + 1))
        .collect();
    let table = Table6::build(&entries).expect("the table builds");
    let inside = numbers().map(|n| network(n as u32 % prefixes) | u128::from(n));
    let addresses: Vec<u128> = inside.take(ITEMS as usize).collect();
    let mut ids = [0; BURST];
    measured(&mut || {
        for burst in addresses.chunks_exact(BURST) {
            table.lookup_burst(black_box(burst), &mut ids);
            black_box(&ids);
        }
    });
}

fn parse_general() {
    let shape = Shape { size: Size::Fixed(64), flows: 100, smtp_permille: 10, frames: 1_024 };
    let prefix = "203.0.113.0/24".parse().expect("a prefix");
    let frames = sekisho_control::bench::traffic::outbound(&[prefix], shape);
    measured(&mut || {
        for _ in 0..ITEMS as usize / frames.len() {
            for frame in &frames {
                black_box(parse(Link::Ethernet, black_box(frame), Depth::default()));
            }
        }
    });
}

fn pipeline(v6: bool, smtp_permille: u32) {
    let shape = Shape { size: Size::Fixed(64), flows: 10_000, smtp_permille, frames: 4_096 };
    let mut load = Load::new(v6, 1_000, 4, shape);
    measured(&mut || load.carry(ITEMS));
}

/// As `pipeline`, in route mode: to hosts of twenty thousand networks behind 512 routers.
fn route(v6: bool) {
    let shape = Shape { size: Size::Fixed(64), flows: 10_000, smtp_permille: 10, frames: 4_096 };
    let prefix = |n: u32| match v6 {
        false => Ipv4Network::new((0x1400_0000 + (n << 9)).into(), 24).expect("a valid length").into(),
        true => {
            let network = 0x2400_1234u128 << 96 | u128::from(n) << 76;
            Ipv6Network::new(network.into(), 52).expect("a valid length").into()
        }
    };
    let routes: Vec<Route> = (0..20_000).map(|n| Route { prefix: prefix(n), router: n % 512 }).collect();
    let mut load = Load::routing(v6, 1_000, 4, shape, &routes);
    measured(&mut || load.carry(ITEMS));
}

/// Everything is denied, and affected customers are booked. The clock stands still, so that budgets are soon spent.
fn deny(action: Action) {
    let shape = Shape { size: Size::Fixed(64), flows: 1_000, smtp_permille: 1_000, frames: 4_096 };
    let mut load = Load::denying(false, 1_000, 4, shape, action, Some(32_768));
    load.carry(4 * ITEMS);
    measured(&mut || load.carry(ITEMS));
}
