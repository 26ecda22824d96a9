//! The grants of a daemon: who is exempt until when, why, and who said so.
//!
//! The tables know addresses and instants alone (see [`Grant`]), and compare them by the clock themselves; what is kept
//! here is for people, for the next generation, and for the next start.
//!
//! `grants.json` of the state folder holds it. It is written behind whoever grants, on a thread of its own, so that no
//! disk holds up a customer, a confirmation or a rollback: a grant is in force at once, and [on the disk](WITHIN) a second
//! later at most; a crash within that second costs those that were given in it. Where that is too much to lose, `grants`
//! says when all is saved. A file that says something else than it should costs the grants that it held, and is kept
//! under another name; one that can't be read stays as it is, and nothing is saved. Neither keeps the daemon from
//! forwarding. Without a state folder grants end with the daemon.

mod file;
mod register;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use sekisho_dataplane::policy::Grant;
use serde::{Deserialize, Serialize};

use crate::config::{format_duration, parse_instant};
use crate::durable::{Standing, WriteBehind};

use register::Entry;
pub use register::Register;

/// How often the file is written, at most; and so how long a change waits for being written, unless the disk is slow or
/// refuses. The latter is told as an event.
pub const WITHIN: Duration = Duration::from_secs(1);

/// The shortest and the longest time of a grant, in microseconds.
pub const TIMES: std::ops::RangeInclusive<u64> = 1_000_000..=31 * 86_400 * 1_000_000;
/// The shortest length of a prefix that is granted something, of IPv4 and of IPv6: what is wider is no customer.
pub const WIDEST: (u8, u8) = (8, 16);
/// Characters of a reason, at most.
pub const LONGEST_REASON: usize = 200;

/// A grant, for people.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// The customer's address, or a prefix.
    pub address: String,
    /// Since when, RFC 3339 in UTC.
    pub given: String,
    /// Until when.
    pub until: String,
    /// Why.
    pub reason: String,
    /// The user who gave or extended it last.
    pub uid: u32,
    /// That user's process.
    pub pid: i32,
}

/// Why an address or a prefix can't be granted anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is none.
    #[error("{0} is no address and no prefix; write one such as 203.0.113.7 or 2001:db8:1::/64")]
    NoPrefix(String),
    /// Bits behind its length are set.
    #[error("{0} has host bits set; write {1}")]
    HostBits(IpNetwork, String),
    /// It holds too much.
    #[error(
        "{0} is no customer: a grant is for /{1} or longer; for whole networks, give their pools another policy"
    )]
    Wide(IpNetwork, u8),
    /// The time is too short or too long.
    #[error("a grant lasts from {} to {}; for longer, put the customer into a pool with an exempt policy",
        format_duration(*TIMES.start()), format_duration(*TIMES.end()))]
    Time,
    /// The reason is empty, too long, or no line.
    #[error("a reason is one line of 1 to {LONGEST_REASON} characters")]
    Reason,
}

/// An address or a prefix. IPv4 addresses in their IPv6 form are the IPv4 addresses.
///
/// # Errors
/// When it is none, or has host bits set.
pub fn prefix(text: &str) -> Result<IpNetwork, Refused> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_canonical().into());
    }
    // Without a length it would be taken for an address.
    let prefix = text.contains('/').then(|| text.parse::<IpNetwork>().ok()).flatten();
    let prefix = prefix.ok_or_else(|| Refused::NoPrefix(text.chars().take(80).collect()))?;
    match IpNetwork::new(prefix.network(), prefix.prefix()) {
        Ok(cleared) if cleared != prefix => Err(Refused::HostBits(prefix, shown(cleared))),
        _ => Ok(prefix),
    }
}

/// A prefix for people: without its length if it is one address.
pub fn shown(prefix: IpNetwork) -> String {
    let whole = if prefix.is_ipv6() { 128 } else { 32 };
    if prefix.prefix() == whole { prefix.ip().to_string() } else { prefix.to_string() }
}

/// All grants of a daemon.
#[derive(Debug, Default)]
pub struct Grants {
    entries: Register,
    /// Where they are saved, if they are.
    folder: Option<PathBuf>,
    saving: Option<WriteBehind>,
    /// Something changed before there was somebody to save it.
    dirty: bool,
}

impl Grants {
    /// Those that `folder` remembers and that are not over; none without a folder. What can't be read is told in the
    /// second value, and is none.
    pub fn open(folder: Option<&Path>, now: i64) -> (Grants, Option<String>) {
        let Some(folder) = folder else { return (Grants::default(), None) };
        let file::Found { entries, trouble, may_replace } = file::read(folder);
        let live = entries.into_iter().filter(|entry| entry.grant.until > now);
        let grants = Grants {
            entries: live.collect(),
            folder: may_replace.then(|| folder.to_owned()),
            ..Grants::default()
        };
        (grants, trouble)
    }

    /// Saves what is not saved yet, and waits for that; nothing is saved from now on.
    pub fn end(&mut self) {
        drop(self.saving.take());
    }

    /// Saves them from now on, as long as they live. `failed` is told why that can't be done, once each time that it
    /// begins to fail; it is tried again. `begin` is called first on the thread that does so, `panicked` if a fault of ours ends it.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub fn save_behind(
        &mut self,
        begin: impl FnOnce() + Send + 'static,
        failed: impl Fn(String) + Send + 'static,
        panicked: impl FnOnce(&str) + Send + 'static,
    ) -> io::Result<()> {
        let Some(folder) = self.folder.clone() else { return Ok(()) };
        let register = self.register();
        let (path, mut told) = (folder.join(file::FILE), false);
        let write = move || {
            let written = file::write(&folder, &register);
            if let (Err(error), false) = (&written, told) {
                failed(format!("{}: {error}", path.display()));
            }
            told = written.is_err();
            written.is_ok()
        };
        let saving = WriteBehind::start("sekisho-grants", WITHIN, begin, write, panicked)?;
        if self.dirty {
            saving.changed();
        }
        self.saving = Some(saving);
        Ok(())
    }

    /// Whether all is saved, for those who read; none if nothing is.
    pub(crate) fn standing(&self) -> Option<Standing> {
        self.saving.as_ref().map(WriteBehind::standing)
    }

    fn changed(&mut self) {
        self.dirty = true;
        if let Some(saving) = &self.saving {
            saving.changed();
        }
    }

    /// The entries, for those who read.
    pub fn register(&self) -> Register {
        self.entries.clone()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether they survive the daemon.
    pub fn persist(&self) -> bool {
        self.folder.is_some()
    }

    /// Whether this very prefix has one.
    pub fn has(&self, prefix: IpNetwork) -> bool {
        self.entries.has(prefix)
    }

    /// What the tables need.
    pub fn table(&self) -> Vec<Grant> {
        self.entries.table()
    }

    /// Another prefix with a grant that holds this one, for advice.
    pub fn around(&self, prefix: IpNetwork) -> Option<IpNetwork> {
        let lengths = (0..prefix.prefix()).rev();
        lengths
            .filter_map(|length| IpNetwork::new(prefix.ip(), length).ok())
            .find(|wider| self.has(*wider))
            .and_then(|wider| IpNetwork::new(wider.network(), wider.prefix()).ok())
    }

    /// Gives one, or extends the one that is there: it never ends earlier than it would have.
    ///
    /// # Errors
    /// When the prefix, the time or the reason is out of bounds; nothing has changed then.
    pub fn give(
        &mut self,
        prefix: IpNetwork,
        (now, micros): (i64, u64),
        reason: &str,
        (uid, pid): (u32, i32),
    ) -> Result<Held, Refused> {
        let least = if prefix.is_ipv6() { WIDEST.1 } else { WIDEST.0 };
        if prefix.prefix() < least {
            return Err(Refused::Wide(prefix, least));
        }
        if !TIMES.contains(&micros) {
            return Err(Refused::Time);
        }
        let letters = reason.chars().count();
        if letters == 0 || letters > LONGEST_REASON || reason.chars().any(char::is_control) {
            return Err(Refused::Reason);
        }
        let fresh = Grant { prefix, given: now, until: now.saturating_add_unsigned(micros) };
        let grant = match self.entries.get(prefix) {
            // One that begins later is from before the clock stepped back.
            Some(entry) => Grant {
                given: entry.grant.given.min(now),
                until: entry.grant.until.max(fresh.until),
                ..fresh
            },
            None => fresh,
        };
        let entry = Entry { grant, reason: reason.into(), uid, pid };
        let told = entry.held();
        self.entries.insert(entry);
        self.changed();
        Ok(told)
    }

    /// Takes one back.
    pub fn revoke(&mut self, prefix: IpNetwork) -> Option<Held> {
        let entry = self.entries.remove(prefix)?;
        self.changed();
        Some(entry.held())
    }

    /// Forgets those that are over.
    pub fn expire(&mut self, now: i64) -> Vec<Held> {
        let expired = self.entries.expire(now);
        if !expired.is_empty() {
            self.changed();
        }
        expired.iter().map(Entry::held).collect()
    }
}

/// How long from `now` until `until`, for people.
pub fn left(until: &str, now: Timestamp) -> String {
    let micros = parse_instant(until).map_or(0, |until| until.saturating_sub(now.as_microsecond()));
    let seconds = u64::try_from(micros).unwrap_or(0) / 1_000_000;
    format_duration(seconds * 1_000_000)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const MINUTE: u64 = 60_000_000;

    #[test]
    fn a_grant_is_extended_never_shortened_expires_and_is_revoked() {
        let (mut grants, _) = Grants::open(None, 0);
        let customer = prefix("203.0.113.7").unwrap();
        let first = grants.give(customer, (0, 30 * MINUTE), "pop3:a", (0, 1)).unwrap();
        let second = grants.give(customer, (MINUTE as i64, MINUTE), "phone", (5, 2)).unwrap();
        assert_eq!((&second.given, &second.until), (&first.given, &first.until));
        assert_eq!((second.reason.as_str(), second.uid, grants.len()), ("phone", 5, 1));
        let third = grants.give(customer, (MINUTE as i64, 30 * MINUTE), "phone", (5, 2)).unwrap();
        assert_eq!(third.until, "1970-01-01T00:31:00Z");
        assert!(grants.expire(31 * MINUTE as i64 - 1).is_empty());
        assert_eq!(grants.expire(31 * MINUTE as i64), [third]);
        assert!(grants.is_empty() && grants.revoke(customer).is_none());
    }

    #[test]
    fn what_is_no_customer_no_time_or_no_reason_is_refused() {
        for text in ["", "203.0.113", "host", "203.0.113.0/33", "203.0.113.7/24", "::1/0"] {
            assert!(prefix(text).is_err(), "{text}");
        }
        assert_eq!(
            prefix("203.0.113.7/24").unwrap_err().to_string(),
            "203.0.113.7/24 has host bits set; write 203.0.113.0/24"
        );
        assert_eq!(prefix("::ffff:203.0.113.7"), prefix("203.0.113.7"));
        let mut grants = Grants::default();
        let to = prefix("2001:db8::/64").unwrap();
        assert_eq!(grants.give(to, (0, 1), "x", (0, 0)), Err(Refused::Time));
        assert_eq!(grants.give(to, (0, u64::MAX), "x", (0, 0)), Err(Refused::Time));
        for reason in ["", "a\nb", &"x".repeat(201)] {
            assert_eq!(grants.give(to, (0, MINUTE), reason, (0, 0)), Err(Refused::Reason));
        }
        for (wide, longest) in [("0.0.0.0/0", 8), ("10.0.0.0/7", 8), ("::/0", 16), ("2000::/15", 16)] {
            let wide = prefix(wide).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(grants.give(wide, (0, MINUTE), "x", (0, 0)), Err(Refused::Wide(wide, longest)));
        }
        assert!(grants.is_empty());
        grants.give(to, (0, MINUTE), &"関".repeat(200), (0, 0)).unwrap();
        assert_eq!(grants.around(prefix("2001:db8::7").unwrap()), Some(to));
        assert_eq!(grants.around(to), None);
    }

    #[test]
    fn what_was_written_is_there_after_a_restart_and_damage_costs_what_it_held() {
        let folder = tempfile::tempdir().unwrap();
        let (mut grants, _) = Grants::open(Some(folder.path()), 0);
        for (at, minutes) in [("203.0.113.7", 1), ("2001:db8::/64", 3), ("203.0.113.0/26", 3)] {
            grants.give(prefix(at).unwrap(), (0, minutes * MINUTE), "why", (7, 8)).unwrap();
        }
        let saved = |grants: &mut Grants| {
            grants.save_behind(|| {}, |why| panic!("{why}"), |_| {}).unwrap();
            // What is dropped is saved.
            grants.saving = None;
        };
        saved(&mut grants);
        fs::write(folder.path().join("grants.json.new"), "{\"ver").unwrap();
        let (again, trouble) = Grants::open(Some(folder.path()), 2 * MINUTE as i64);
        assert!(trouble.is_none(), "{trouble:?}");
        let list = |grants: &Grants| grants.register().page(None, 10);
        assert_eq!(list(&again), [list(&grants)[0].clone(), list(&grants)[2].clone()], "one is over");
        let good = fs::read_to_string(folder.path().join(file::FILE)).unwrap();
        for (text, told) in [
            (good[..40].to_owned(), "EOF"),
            (good.replace("\"version\":1", "\"version\":9"), "version 9"),
            (good.replace("203.0.113.7", "203.0.113.x"), "203.0.113.x"),
            (good.replace("reason", "cause"), "unknown field"),
        ] {
            fs::write(folder.path().join(file::FILE), &text).unwrap();
            let (none, trouble) = Grants::open(Some(folder.path()), 0);
            let trouble = trouble.expect("it is damaged");
            assert!(none.is_empty() && trouble.contains(told) && trouble.contains(file::FILE), "{trouble}");
            assert_eq!(fs::read_to_string(folder.path().join(file::REFUSED)).unwrap(), text);
        }
    }

    #[test]
    fn a_file_that_can_not_be_read_is_never_replaced_and_nothing_is_saved() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(file::FILE);
        // It is there, and reading it fails, for root as well.
        std::os::unix::fs::symlink("/proc/self/mem", &path).unwrap();
        let (mut grants, trouble) = Grants::open(Some(folder.path()), 0);
        let trouble = trouble.expect("it can't be read");
        assert!(trouble.contains("grants are not saved until it can be read"), "{trouble}");
        grants.save_behind(|| {}, |why| panic!("{why}"), |_| {}).unwrap();
        grants.give(prefix("203.0.113.7").unwrap(), (0, MINUTE), "why", (7, 8)).unwrap();
        assert!(grants.standing().is_none() && !grants.persist());
        drop(grants);
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("/proc/self/mem"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "and nothing is beside it");
    }
}
