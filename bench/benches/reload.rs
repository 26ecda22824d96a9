//! What reloads cost a worker: packets per second with and without 100,000 prefixes compiled and published ten
//! times a second by another thread, in turns, so that the machine's mood falls on both alike; and the longest
//! burst of 64 in times with a reload, beside the longest in quiet times as long.

#![allow(clippy::print_stdout)]

use std::time::Duration;

use sekisho_bench::{Load, Longest, generation, median_ratio};
use sekisho_control::bench::traffic::{Shape, Size};

const PREFIXES: usize = 100_000;
const PER_SECOND: u32 = 10;
const ROUNDS: usize = 5;
const RELOADS: u64 = 31;

fn main() {
    let shape = Shape { size: Size::Fixed(64), flows: 10_000, smtp_permille: 10, frames: 32_768 };
    let mut load = Load::new(false, 1_000, 4, shape);
    let compile = || generation(1_000, 4, PREFIXES);
    let time = Duration::from_secs(1);
    let what = format!("{PER_SECOND} reloads a second");
    let ratio =
        median_ratio(ROUNDS, &what, |with| load.rate_beside(time, with.then_some((&compile, PER_SECOND))));
    println!("median ratio with {PREFIXES} prefixes: {ratio:.3}");
    let Longest { quiet, reload } = load.longest_bursts(RELOADS, &compile);
    let median = |times: &[Duration]| times[times.len() / 2].as_secs_f64() * 1e6;
    println!(
        "longest burst, median of {RELOADS}: {:.1} µs without a reload, {:.1} µs during one: {:.2}",
        median(&quiet),
        median(&reload),
        median(&reload) / median(&quiet)
    );
    assert!(load.totals().balance(), "the books balance");
}
