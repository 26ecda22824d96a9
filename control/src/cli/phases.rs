//! `sekisho phases`: the running daemon's phases, past, in force and to come.

use std::io::{self, Write};

use super::remote::Remote;
use super::{Failure, shorten};
use crate::rpc::methods::Nothing;
use crate::rpc::methods::phases::Phases;

/// What `phases` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    arguments.remote.show("phases", &Nothing {}, out, print)
}

fn print(phases: &Phases, out: &mut dyn Write) -> io::Result<()> {
    let [state, policy, phase, from, action] = ["state", "policy", "phase", "from", "action"];
    writeln!(out, "{state:<10}{policy:<18}{phase:<22}{from:<27}{action:<9}of")?;
    for phase in &phases.phases {
        let (policy, name) = (shorten(&phase.policy, 17), shorten(&phase.name, 21));
        let block = shorten(&phase.block.join(", "), 14);
        writeln!(
            out,
            "{:<10}{policy:<18}{name:<22}{:<27}{:<9}{block}",
            phase.state,
            shorten(&phase.from, 26),
            phase.action
        )?;
    }
    if phases.phases.is_empty() {
        writeln!(out, "no policy has any")?;
    }
    writeln!(out, "\nthe daemon's clock: {}", phases.now)
}
