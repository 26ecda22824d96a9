//! `sekisho confirm` and `rollback`: keep what a reload put in force, or go back.

use std::io::{self, Write};

use super::remote::Remote;
use super::{Failure, reload, shorten};
use crate::clock::whole_second;
use crate::daemon::{Confirmed, RolledBack};
use crate::rpc::methods::Nothing;
use crate::rpc::methods::confirm::Which;
use crate::rpc::methods::generations::Generations;

/// What `confirm` is asked to do.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The generation that is meant; refused if another awaits confirmation
    #[arg(value_name = "GENERATION")]
    generation: Option<u64>,
    #[command(flatten)]
    remote: Remote,
}

/// What `rollback` is asked to do.
#[derive(Debug, clap::Args)]
pub(super) struct RollbackArguments {
    /// The generation to go back to; the one before if not given, and given again, the one before that
    #[arg(value_name = "GENERATION", conflicts_with = "list")]
    generation: Option<u64>,
    /// Show the last ten generations, and change nothing
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    let which = Which { generation: arguments.generation };
    let print = |confirmed: &Confirmed, out: &mut dyn Write| {
        let Confirmed { generation, seconds_left } = confirmed;
        writeln!(out, "confirmed: generation {generation} stays in force ({seconds_left:.0} s were left)")
    };
    arguments.remote.show("confirm", &which, out, print)
}

pub(super) fn rollback(arguments: &RollbackArguments, out: &mut impl Write) -> Result<(), Failure> {
    if arguments.list {
        return arguments.remote.show("generations", &Nothing {}, out, print_list);
    }
    let which = Which { generation: arguments.generation };
    arguments.remote.show_slow("rolling back", "rollback", &which, out, print)
}

fn print(done: &RolledBack, out: &mut dyn Write) -> io::Result<()> {
    reload::difference(&done.difference, out)?;
    let RolledBack { generation, left, restores, config, seconds, still_held, .. } = done;
    writeln!(
        out,
        "rolled back from generation {left}: generation {generation} is in force, as {restores} was; {:.3} ms",
        seconds * 1e3
    )?;
    writeln!(out, "what {config} says now was not read: correct it before the next reload or restart")?;
    reload::held(*still_held, out)
}

fn print_list(list: &Generations, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{:>10}  {:<20}  {:<16}  {:<24}  from", "generation", "at", "state", "by")?;
    for entry in &list.generations {
        let at = whole_second(&entry.at);
        let from = match entry.restores {
            Some(restores) => format!("generation {restores}"),
            None => entry.config.clone(),
        };
        let (state, by) = (entry.state.to_string(), entry.author.to_string());
        let line = format!("{:>10}  {at:<20}  {state:<16}  {by:<24}  {from}", entry.generation);
        writeln!(out, "{}", shorten(&line, 100))?;
        for line in &entry.difference {
            writeln!(out, "{}", shorten(&format!("            {line}"), 100))?;
        }
        if !entry.can_restore {
            writeln!(out, "            its configuration is not kept any more")?;
        }
    }
    match &list.confirmation {
        None => Ok(()),
        Some(awaited) => writeln!(
            out,
            "generation {} awaits confirmation: without it, {} comes back in {:.0} s",
            awaited.generation, awaited.previous, awaited.seconds_left
        ),
    }
}
