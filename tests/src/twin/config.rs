//! What the twin knows of a configuration: plain lists, read by its own small structs and searched from end
//! to end.
//!
//! It takes any configuration for correct (refusing wrong ones is `sekisho check`'s work) and leaves out
//! everything that no decision hangs on.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv6Network};
use jiff::Timestamp;
use serde::Deserialize;

/// Microseconds since 1970-01-01T00:00:00Z.
pub type Micros = i64;

/// A configuration that the twin cannot read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not the TOML that the twin's structs expect.
    #[error("configuration: {0}")]
    Toml(#[from] toml::de::Error),
    /// A prefix or an address.
    #[error("{0:?} is no prefix")]
    Prefix(String),
    /// An instant.
    #[error("{0:?} is no RFC 3339 instant")]
    Instant(String),
    /// A duration.
    #[error("{0:?} is no duration")]
    Duration(String),
}

/// The role of a port (policy.md section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Customers' side.
    Subscriber,
    /// The outside.
    Internet,
    /// The ISP's own mail segment.
    Servers,
    /// An SMTP filter that diverted traffic is sent to.
    Filter,
}

/// What a deny of a policy does (section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Nothing is sent.
    Drop,
    /// The sender is answered.
    Reject,
    /// To the filter.
    Divert,
    /// Forwarded and counted.
    Monitor,
}

/// How a reject answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RejectWith {
    /// A TCP reset.
    Rst,
    /// ICMPv4 3/13 or ICMPv6 1/1.
    Icmp,
}

/// What kind of customers a policy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Phases decide.
    Restrict,
    /// Rule 15.
    Exempt,
    /// Rule 12.
    Quarantine,
}

/// Rule 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceValidation {
    /// Drop.
    Enforce,
    /// Count as would-drop.
    Monitor,
    /// Skip.
    Off,
}

/// A port.
#[derive(Clone, Debug, Deserialize)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Where its frames leave by.
    pub peer: Option<String>,
}

/// What a phase blocks.
#[derive(Clone, Debug)]
pub enum Block {
    /// Every destination.
    All,
    /// The destinations of these sets.
    Sets(Vec<String>),
}

/// A phase.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// Its instant.
    pub from: Micros,
    /// What it blocks.
    pub block: Block,
    /// Its own action, or the policy's.
    pub action: Action,
}

/// A policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Names of the sets that are always reachable.
    pub allow: Vec<String>,
    /// What its denies do.
    pub action: Action,
    /// How it answers.
    pub reject_with: RejectWith,
    /// What a divert does where the filter is down.
    pub divert_fallback: Action,
    /// Rule 20.
    pub mirror: bool,
    /// In the order of the file.
    pub phases: Vec<Phase>,
}

/// A pool.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// The name of its policy.
    pub policy: String,
    /// Its prefixes.
    pub prefixes: Vec<IpNetwork>,
}

/// A grant: live while given ≤ now < given + for.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    /// The customers.
    pub prefix: IpNetwork,
    /// From this instant on,
    pub given: Micros,
    /// until right before this one.
    pub until: Micros,
}

/// The limits, with their defaults.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Tags and labels.
    pub l2_headers: usize,
    /// Extension headers that are walked.
    pub extension_headers: usize,
    /// Datagrams remembered.
    pub fragments: usize,
    /// Datagrams remembered of one source.
    pub fragments_per_source: usize,
    /// How long a datagram is remembered.
    pub fragment_lifetime: Micros,
    /// Answers to one customer at once.
    pub reject_burst: u64,
    /// The time for one more answer.
    pub reject_interval: Micros,
    /// Answers to all customers in a second.
    pub reject_per_second: u64,
}

/// A configuration, the grants in force and the ports that are down.
#[derive(Clone, Debug)]
pub struct TwinConfig {
    /// Ports in the order of the file.
    pub ports: Vec<Port>,
    /// Named lists of destinations.
    pub sets: BTreeMap<String, Vec<IpNetwork>>,
    /// Policies in the order of the file.
    pub policies: Vec<Policy>,
    /// Pools in the order of the file.
    pub pools: Vec<Pool>,
    /// Rule 6.
    pub source_validation: SourceValidation,
    /// Prefixes that embed an IPv4 address, 64:ff9b::/96 among them.
    pub nat64: Vec<Ipv6Network>,
    /// The limits.
    pub limits: Limits,
    /// Grants, live or not.
    pub grants: Vec<Grant>,
    /// Names of dead ports.
    pub down: Vec<String>,
}

impl TwinConfig {
    /// Reads the text of a configuration file.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Self::from_table(toml::from_str(text)?)
    }

    /// Reads a configuration that is already a table.
    pub fn from_table(table: toml::Table) -> Result<Self, ConfigError> {
        let file: File = table.try_into()?;
        let mut nat64 = vec![
            Ipv6Network::new_checked(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96).expect("a prefix"),
        ];
        for text in &file.checks.nat64_prefixes {
            match prefix(text)? {
                IpNetwork::V6(p) => nat64.push(p),
                IpNetwork::V4(_) => return Err(ConfigError::Prefix(text.clone())),
            }
        }
        let mut sets = BTreeMap::new();
        for (name, list) in &file.sets {
            sets.insert(name.clone(), prefixes(list)?);
        }
        Ok(Self {
            ports: file.port,
            sets,
            policies: file.policy.iter().map(policy).collect::<Result<_, _>>()?,
            pools: file.pool.iter().map(pool).collect::<Result<_, _>>()?,
            source_validation: file.checks.source_validation,
            nat64,
            limits: Limits {
                l2_headers: file.limits.l2_headers,
                extension_headers: file.limits.extension_headers,
                fragments: file.limits.fragments,
                fragments_per_source: file.limits.fragments_per_source,
                fragment_lifetime: duration(&file.limits.fragment_lifetime)?,
                reject_burst: file.limits.reject_burst,
                reject_interval: duration(&file.limits.reject_interval)?,
                reject_per_second: file.limits.reject_per_second,
            },
            grants: Vec::new(),
            down: Vec::new(),
        })
    }

    /// Gives `customer` (an address or a prefix) a grant from `given` on, for the time `lasts`.
    pub fn grant(&mut self, customer: &str, given: &str, lasts: &str) -> Result<(), ConfigError> {
        let given = instant(given)?;
        self.grants.push(Grant { prefix: prefix(customer)?, given, until: given + duration(lasts)? });
        Ok(())
    }

    /// The port of that name.
    pub(super) fn port(&self, name: &str) -> Option<&Port> {
        self.ports.iter().find(|p| p.name == name)
    }

    /// The pool that holds the address by its longest prefix: a scan over all of them.
    pub(super) fn pool_of(&self, address: IpAddr) -> Option<&Pool> {
        let mut best: Option<(u8, &Pool)> = None;
        for pool in &self.pools {
            for prefix in &pool.prefixes {
                if prefix.contains(address) && best.is_none_or(|(length, _)| prefix.prefix() > length) {
                    best = Some((prefix.prefix(), pool));
                }
            }
        }
        best.map(|(_, pool)| pool)
    }

    /// The index of the policy that a pool is bound to.
    pub(super) fn policy_of(&self, pool: &Pool) -> usize {
        self.policies.iter().position(|p| p.name == pool.policy).expect("a pool names a policy of the file")
    }

    /// Whether the set holds the destination, or the IPv4 address that it embeds (section 2, notes; section
    /// 7, 12).
    pub(super) fn set_holds(&self, set: &str, destination: IpAddr) -> bool {
        let prefixes = &self.sets[set];
        self.spellings(destination).iter().any(|a| prefixes.iter().any(|p| p.contains(*a)))
    }

    /// The address, and for every NAT64 prefix that holds it the IPv4 address inside.
    fn spellings(&self, address: IpAddr) -> Vec<IpAddr> {
        let mut all = vec![address];
        if let IpAddr::V6(a) = address {
            let holders = self.nat64.iter().filter(|p| p.contains(a));
            all.extend(holders.filter_map(|p| embedded(a, p.prefix())).map(IpAddr::V4));
        }
        all
    }

    /// The filter that diverted frames go to, unless it is down.
    pub(super) fn live_filter(&self) -> Option<&Port> {
        self.ports.iter().find(|p| p.role == Role::Filter && !self.down.contains(&p.name))
    }
}

/// The IPv4 address inside an IPv6 address (RFC 6052 section 2.2: bits 64 to 71 are left out).
fn embedded(address: Ipv6Addr, length: u8) -> Option<Ipv4Addr> {
    let o = address.octets();
    let [a, b, c, d] = match length {
        32 => [o[4], o[5], o[6], o[7]],
        40 => [o[5], o[6], o[7], o[9]],
        48 => [o[6], o[7], o[9], o[10]],
        56 => [o[7], o[9], o[10], o[11]],
        64 => [o[9], o[10], o[11], o[12]],
        96 => [o[12], o[13], o[14], o[15]],
        _ => return None,
    };
    Some(Ipv4Addr::new(a, b, c, d))
}

/// An RFC 3339 instant.
pub fn instant(text: &str) -> Result<Micros, ConfigError> {
    let parsed: Timestamp = text.parse().map_err(|_| ConfigError::Instant(text.to_owned()))?;
    Ok(parsed.as_microsecond())
}

/// A number with a unit: `us`, `ms`, `s`, `m`, `h` or `d`.
pub fn duration(text: &str) -> Result<Micros, ConfigError> {
    let error = || ConfigError::Duration(text.to_owned());
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
    let count: Micros = text[..unit_at].parse().map_err(|_| error())?;
    let unit = match &text[unit_at..] {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return Err(error()),
    };
    count.checked_mul(unit).ok_or_else(error)
}

fn prefix(text: &str) -> Result<IpNetwork, ConfigError> {
    text.parse().map_err(|_| ConfigError::Prefix(text.to_owned()))
}

fn prefixes(list: &[String]) -> Result<Vec<IpNetwork>, ConfigError> {
    list.iter().map(|text| prefix(text)).collect()
}

fn pool(raw: &RawPool) -> Result<Pool, ConfigError> {
    Ok(Pool { name: raw.name.clone(), policy: raw.policy.clone(), prefixes: prefixes(&raw.prefixes)? })
}

fn policy(raw: &RawPolicy) -> Result<Policy, ConfigError> {
    let action = raw.action.unwrap_or(Action::Drop);
    let mut phases = Vec::new();
    for p in &raw.phases {
        phases.push(Phase {
            name: p.name.clone(),
            from: instant(&p.from)?,
            block: match &p.block {
                RawBlock::Word(All::All) => Block::All,
                RawBlock::Sets(names) => Block::Sets(names.clone()),
            },
            action: p.action.unwrap_or(action),
        });
    }
    Ok(Policy {
        name: raw.name.clone(),
        kind: raw.kind.unwrap_or(Kind::Restrict),
        allow: raw.allow.clone(),
        action,
        reject_with: raw.reject_with.unwrap_or(RejectWith::Rst),
        divert_fallback: raw.divert_fallback.unwrap_or(Action::Reject),
        mirror: raw.mirror.unwrap_or(true),
        phases,
    })
}

// ---- the file as it stands

#[derive(Deserialize)]
struct File {
    port: Vec<Port>,
    #[serde(default)]
    sets: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    policy: Vec<RawPolicy>,
    #[serde(default)]
    pool: Vec<RawPool>,
    #[serde(default)]
    checks: RawChecks,
    #[serde(default)]
    limits: RawLimits,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawPolicy {
    name: String,
    kind: Option<Kind>,
    #[serde(default)]
    allow: Vec<String>,
    action: Option<Action>,
    reject_with: Option<RejectWith>,
    divert_fallback: Option<Action>,
    mirror: Option<bool>,
    #[serde(default)]
    phases: Vec<RawPhase>,
}

#[derive(Deserialize)]
struct RawPhase {
    name: String,
    from: String,
    block: RawBlock,
    action: Option<Action>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawBlock {
    Sets(Vec<String>),
    Word(All),
}

#[derive(Deserialize)]
enum All {
    #[serde(rename = "all")]
    All,
}

#[derive(Deserialize)]
struct RawPool {
    name: String,
    policy: String,
    prefixes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct RawChecks {
    source_validation: SourceValidation,
    nat64_prefixes: Vec<String>,
}

impl Default for RawChecks {
    fn default() -> Self {
        Self { source_validation: SourceValidation::Enforce, nat64_prefixes: Vec::new() }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct RawLimits {
    l2_headers: usize,
    extension_headers: usize,
    fragments: usize,
    fragments_per_source: usize,
    fragment_lifetime: String,
    reject_burst: u64,
    reject_interval: String,
    reject_per_second: u64,
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            l2_headers: 4,
            extension_headers: 8,
            fragments: 65536,
            fragments_per_source: 256,
            fragment_lifetime: "120s".to_owned(),
            reject_burst: 5,
            reject_interval: "10s".to_owned(),
            reject_per_second: 10_000,
        }
    }
}
