//! Grants in the tables: given, taken back and forgotten between two reloads, by publishing what is in force once more
//! with other grants beside it.

use std::sync::atomic::Ordering;

use ipnetwork::IpNetwork;
use sekisho_dataplane::policy::Kind;

use super::event::Event;
use super::tables::Tables;
use crate::clock;
use crate::config::Config;
use crate::grants::{self, Held};
use crate::rpc::Error;
use crate::rpc::methods::grant::Granted;

/// Pools that are named at most.
const MOST_NAMED: usize = 5;

/// The pools that have a prefix inside this one.
fn pools_inside(config: &Config, prefix: IpNetwork) -> Vec<&str> {
    let is_inside = |inner: &IpNetwork| {
        inner.is_ipv6() == prefix.is_ipv6()
            && inner.prefix() >= prefix.prefix()
            && prefix.contains(inner.network())
    };
    let pools = config.pools.iter().filter(|pool| pool.prefixes.iter().any(is_inside));
    pools.map(|pool| pool.name.as_str()).collect()
}

fn some_of(names: &[&str]) -> String {
    let named = names[..names.len().min(MOST_NAMED)].join(", ");
    match names.len().saturating_sub(MOST_NAMED) {
        0 => format!("{} {named}", if names.len() == 1 { "the pool" } else { "the pools" }),
        more => format!("the pools {named} and {more} more"),
    }
}

/// Generations that differ in their grants alone and that a worker may hold: more, and no grant is given.
const MOST_HELD: usize = 64;

impl Tables {
    /// Exempts a customer. From the workers' next bursts on it holds.
    pub(crate) fn grant(
        &mut self,
        prefix: IpNetwork,
        micros: u64,
        reason: &str,
        who: (u32, i32),
    ) -> Result<Granted, Error> {
        self.expire_grants();
        self.may_publish()?;
        let in_force = self.in_force();
        let extended = self.grants.has(prefix);
        let limit = in_force.config.limits.grants;
        if !extended && self.grants.len() >= limit {
            let message = format!(
                "{limit} grants are there, as many as `[limits] grants` allows: revoke some, or raise it"
            );
            return Err(Error::new(Error::LIMIT, message));
        }
        let given = self.grants.give(prefix, (clock::now(), micros), reason, who);
        let grant = given.map_err(|error| Error::params(error.to_string()))?;
        self.publish_grants();
        self.happened(Event::Granted { grant: grant.clone(), extended });
        let pool = in_force.names.pool(self.generation().pool_of(prefix.network()));
        let pool = in_force.config.pools.iter().find(|known| Some(known.name.as_str()) == pool);
        let kind = pool.map(|pool| in_force.config.policies[pool.policy].kind);
        let inside = pools_inside(&in_force.config, prefix);
        let note = match (kind, &*inside) {
            (Some(Kind::Quarantine), _) => {
                Some("the pool is in quarantine, which a grant does not lift".to_owned())
            }
            (Some(Kind::Exempt), _) => Some("the pool is exempt, and needs no grant".to_owned()),
            (None, [_, ..]) => Some(format!("it holds customers of {}", some_of(&inside))),
            _ => None,
        };
        Ok(Granted {
            grant,
            extended,
            survives_restart: self.grants.persist(),
            saved_within_seconds: self.grants.persist().then_some(grants::WITHIN.as_secs_f64()),
            pool: pool.map(|pool| pool.name.clone()),
            note,
        })
    }

    /// Takes a grant back. From the workers' next bursts on it does not hold.
    pub(crate) fn revoke(&mut self, prefix: IpNetwork, (uid, pid): (u32, i32)) -> Result<Held, Error> {
        self.expire_grants();
        self.may_publish()?;
        let Some(held) = self.grants.revoke(prefix) else {
            let advice = match self.grants.around(prefix) {
                Some(wider) => format!("; {} has one that holds it", grants::shown(wider)),
                None => "; `sekisho grants` lists them".to_owned(),
            };
            let message = format!("there is no grant of {}{advice}", grants::shown(prefix));
            return Err(Error::new(Error::NOT_FOUND, message));
        };
        self.publish_grants();
        self.happened(Event::Revoked { address: held.address.clone(), uid, pid });
        Ok(held)
    }

    /// Forgets the grants that are over. The workers do not wait for that.
    pub(crate) fn expire_grants(&mut self) {
        let expired = self.grants.expire(clock::now());
        if expired.is_empty() {
            return;
        }
        if self.may_publish().is_ok() {
            self.publish_grants();
        }
        self.books.grants.store(self.grants.len(), Ordering::Relaxed);
        for held in expired {
            self.happened(Event::GrantExpired { address: held.address });
        }
    }

    /// Refuses where a worker that does not move on keeps old generations alive: each holds its grants.
    fn may_publish(&mut self) -> Result<(), Error> {
        match self.publisher.reclaim() {
            held if held < MOST_HELD => Ok(()),
            held => Err(Error::internal(format!(
                "a worker does not move on and holds {held} old generations; see `sekisho status`"
            ))),
        }
    }

    /// Puts the grants in force, beside tables that stay as they are.
    fn publish_grants(&mut self) {
        let next = self.publisher.current().with_grants(self.grants.table());
        self.publisher.publish(next);
        self.publisher.reclaim();
        self.books.grants.store(self.grants.len(), Ordering::Relaxed);
    }
}
