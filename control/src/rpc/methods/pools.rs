//! `pools`: the pools, and what was counted for them. Takes [`Nothing`], gives [`Pools`].

use sekisho_dataplane::policy::PoolId;
use serde::{Deserialize, Serialize};

use super::{Answer, Nothing, Params, give};
use crate::daemon::View;
use crate::words;

/// What `pools` gives.
#[derive(Debug, Deserialize, Serialize)]
pub struct Pools {
    /// The generation in force.
    pub generation: u64,
    /// The pools, in the order of the configuration.
    pub pools: Vec<PoolStatus>,
    /// What was counted of customers in no pool, and of pools that are gone.
    pub no_pool: Counted,
}

/// A pool.
#[derive(Debug, Deserialize, Serialize)]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// What people call it.
    pub title: Option<String>,
    /// Its policy.
    pub policy: String,
    /// `restrict`, `exempt` or `quarantine`.
    pub kind: String,
    /// IPv4 prefixes.
    pub prefixes_v4: usize,
    /// IPv6 prefixes.
    pub prefixes_v6: usize,
    /// The kernel's table that they come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_table: Option<u32>,
    /// What was counted, since the daemon started or the pool was first named.
    #[serde(flatten)]
    pub counted: Counted,
}

/// What is counted for a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Counted {
    /// Packets from its customers, and to them.
    pub packets: u64,
    /// Of these, denied.
    pub denied: u64,
    /// Of these, forwarded though a monitored rule would have denied them.
    pub would_deny: u64,
}

pub(super) fn answer(view: &View<'_>, params: &Params<'_>) -> Answer {
    let Nothing {} = params.read()?;
    let (config, names) = (&view.in_force.config, &view.in_force.names);
    let counted = |pool| {
        let totals = view.books.pool(pool);
        Counted { packets: totals.packets, denied: totals.denied, would_deny: totals.would }
    };
    let pools = config.pools.iter().zip(names.pools_in_order(config)).map(|(pool, id)| {
        let v4 = pool.prefixes.iter().filter(|prefix| prefix.is_ipv4()).count();
        let policy = &config.policies[pool.policy];
        PoolStatus {
            name: pool.name.clone(),
            title: pool.title.clone(),
            policy: policy.name.clone(),
            kind: words::kind(policy.kind).to_owned(),
            prefixes_v4: v4,
            prefixes_v6: pool.prefixes.len() - v4,
            kernel_table: pool.from_kernel.map(|from| from.table),
            counted: counted(id),
        }
    });
    give(&Pools {
        generation: view.in_force.generation,
        pools: pools.collect(),
        no_pool: counted(PoolId::NONE),
    })
}
