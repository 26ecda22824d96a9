//! `sekisho pools`: the running daemon's pools, and what was counted for them.

use std::io::{self, Write};

use super::remote::Remote;
use super::{Failure, shorten};
use crate::rpc::methods::Nothing;
use crate::rpc::methods::pools::{Counted, Pools};

/// What `pools` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    arguments.remote.show("pools", &Nothing {}, out, print)
}

fn print(pools: &Pools, out: &mut dyn Write) -> io::Result<()> {
    let titles = ["pool", "policy", "IPv4", "IPv6", "packets", "denied", "monitored"];
    let [pool, policy, v4, v6, packets, denied, monitored] = titles;
    writeln!(out, "{pool:<25}{policy:<18}{v4:>7}{v6:>7}{packets:>16}{denied:>13}{monitored:>13}")?;
    for pool in &pools.pools {
        let Counted { packets, denied, would_deny } = pool.counted;
        let (name, policy) = (shorten(&pool.name, 24), shorten(&pool.policy, 17));
        let (v4, v6) = (pool.prefixes_v4, pool.prefixes_v6);
        writeln!(out, "{name:<25}{policy:<18}{v4:>7}{v6:>7}{packets:>16}{denied:>13}{would_deny:>13}")?;
        let table = pool.kernel_table.map(|table| format!("kernel table {table}"));
        let notes: Vec<&str> = [pool.title.as_deref(), table.as_deref()].into_iter().flatten().collect();
        if !notes.is_empty() {
            writeln!(out, "  {}", shorten(&notes.join("; "), 96))?;
        }
    }
    let Counted { packets, denied, would_deny } = pools.no_pool;
    writeln!(out, "{:<57}{packets:>16}{denied:>13}{would_deny:>13}", "in no pool")
}
