//! What scrapes cost a worker: packets per second with and without another thread that makes the whole text of metrics,
//! 1,000 pools in it, ten times a second; in turns, so that the machine's mood falls on both alike.

#![allow(clippy::print_stdout)]

use std::path::Path;
use std::time::Duration;

use sekisho_bench::{Load, median_ratio};
use sekisho_control::bench::traffic::{Shape, Size};
use sekisho_control::config::Config;
use sekisho_control::metrics::{Exposition, Format};

const POOLS: usize = 1_000;
const PER_SECOND: u32 = 10;
const ROUNDS: usize = 41;

fn configuration() -> Config {
    let mut text = "[[port]]\nname = \"a\"\nrole = \"subscriber\"\npeer = \"b\"\ndriver = \"memory\"\n\
                    [[port]]\nname = \"b\"\nrole = \"internet\"\npeer = \"a\"\ndriver = \"memory\"\n\
                    [[policy]]\nname = \"p\"\n"
        .to_owned();
    for n in 0..POOLS {
        let (high, low) = (n >> 8, n & 255);
        text += &format!(
            "[[pool]]\nname = \"pool-{n}\"\npolicy = \"p\"\nprefixes = [\"10.{high}.{low}.0/24\"]\n"
        );
    }
    Config::from_toml(&text, Path::new("scrape.toml")).expect("the configuration is valid")
}

fn main() {
    let shape = Shape { size: Size::Fixed(64), flows: 10_000, smtp_permille: 10, frames: 32_768 };
    let mut load = Load::new(false, POOLS, 4, shape);
    let exposition = Exposition::beside(configuration(), [load.counters()]).expect("it compiles");
    let time = Duration::from_millis(300);
    let mut bytes = 0;
    let mut scrape = || bytes = exposition.text(Format::OpenMetrics).len();
    let what = format!("{PER_SECOND} scrapes a second");
    let ratio = median_ratio(ROUNDS, &what, |with| match with {
        true => load.rate_while(time, Some((&mut scrape, PER_SECOND))),
        false => load.rate_while(time, None),
    });
    println!("median ratio with {POOLS} pools, {bytes} bytes a scrape: {ratio:.3}");
    assert!(bytes > 100_000, "the pools are in it");
    assert!(load.totals().balance(), "the books balance");
}
