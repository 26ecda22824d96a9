//! `sekisho grant`, `revoke` and `grants`: exemptions for a time.

use std::io::{self, Write};

use jiff::Timestamp;

use super::remote::Remote;
use super::{Failure, shorten};
use crate::clock::whole_second;
use crate::grants::{Held, left};
use crate::rpc::methods::grant::{Granted, Request, Whom};
use crate::rpc::methods::grants::Grants;

/// What `grant` is asked to do.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The customer's address, or a prefix
    #[arg(value_name = "ADDR|PREFIX")]
    address: String,
    /// For how long, such as 30m; a grant that is there already is extended, never shortened
    #[arg(long = "for", value_name = "TIME")]
    time: String,
    /// Why, for the log and the list
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    remote: Remote,
}

/// What `revoke` is asked to do.
#[derive(Debug, clap::Args)]
pub(super) struct RevokeArguments {
    /// The address or prefix that was granted
    #[arg(value_name = "ADDR|PREFIX")]
    address: String,
    #[command(flatten)]
    remote: Remote,
}

/// What `grants` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    let Arguments { address, time, reason, remote } = arguments;
    let request = Request { address: address.clone(), r#for: time.clone(), reason: reason.clone() };
    remote.show("grant", &request, out, print)
}

pub(super) fn revoke(arguments: &RevokeArguments, out: &mut impl Write) -> Result<(), Failure> {
    let whom = Whom { address: arguments.address.clone() };
    let print = |held: &Held, out: &mut dyn Write| writeln!(out, "revoked: {}", held.address);
    arguments.remote.show("revoke", &whom, out, print)
}

pub(super) fn list(arguments: &ListArguments, out: &mut impl Write) -> Result<(), Failure> {
    arguments.remote.show_list("grants", out, print_list)
}

fn print(granted: &Granted, out: &mut dyn Write) -> io::Result<()> {
    let Granted { grant, extended, survives_restart, pool, note, .. } = granted;
    let done = if *extended { "extended" } else { "granted" };
    writeln!(out, "{done}: {} until {}", grant.address, whole_second(&grant.until))?;
    match (pool, note) {
        (Some(pool), _) => writeln!(out, "  pool: {pool}")?,
        // Of several the note tells.
        (None, Some(_)) => {}
        (None, None) => writeln!(out, "  pool: none")?,
    }
    if !survives_restart {
        writeln!(out, "  it survives a reload, not a restart: grants are not saved")?;
    }
    note.iter().try_for_each(|note| writeln!(out, "  note: {note}"))
}

fn print_list(grants: &Grants, out: &mut dyn Write) -> io::Result<()> {
    let now = grants.now.parse::<Timestamp>().unwrap_or_else(|_| Timestamp::now());
    if !grants.grants.is_empty() {
        writeln!(out, "{:<30} {:<12} {:<20} {:>6}  reason", "address", "left", "until", "uid")?;
    }
    for Held { address, until, reason, uid, .. } in &grants.grants {
        let left = left(until, now);
        // The longest prefix of IPv6 is 43 columns wide: it pushes the rest, and the reason is cut.
        let line = format!("{address:<30} {left:<12} {:<20} {uid:>6}  {reason}", whole_second(until));
        writeln!(out, "{}", shorten(&line, 100))?;
    }
    writeln!(out, "{} of {}", grants.grants.len(), grants.limit)
}
