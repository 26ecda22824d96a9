//! `sekisho routes`: what the running daemon has of the kernel's routes.

use std::io::{self, Write};

use super::Failure;
use super::remote::Remote;
use crate::daemon::{Compared, MirrorRead};
use crate::rpc::methods::routes::{Ask, Routes};

/// What `routes` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Ask the kernel for everything anew and compare entry by entry; exit code 1 if something differs
    #[arg(long)]
    compare: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    let mut differing = 0;
    arguments.remote.show_slow(
        "comparing",
        "routes",
        &Ask { compare: arguments.compare },
        out,
        |routes: &Routes, out: &mut dyn Write| {
            differing = routes.compared.as_ref().map_or(0, |compared| compared.differing);
            print(routes, out)
        },
    )?;
    match differing {
        0 => Ok(()),
        _ => Err(Failure::Refused(format!("{differing} entries differ from the kernel's"))),
    }
}

fn print(routes: &Routes, out: &mut dyn Write) -> io::Result<()> {
    let kernel = &routes.kernel;
    match &kernel.mirror {
        None => writeln!(out, "no routes of the kernel are mirrored")?,
        Some(mirror) => {
            let MirrorRead { routes_v4, routes_v6, neighbours, links, batches, changes, refused, .. } =
                mirror;
            writeln!(
                out,
                "{routes_v4} IPv4 and {routes_v6} IPv6 routes, {neighbours} neighbours, {links} links"
            )?;
            writeln!(out, "{changes} changes in {batches} batches, {refused} refused")?;
            writeln!(
                out,
                "the last batch took {:.1} ms, the longest {:.1} ms",
                mirror.last_seconds * 1e3,
                mirror.longest_seconds * 1e3
            )?;
        }
    }
    writeln!(
        out,
        "{} heard, {} resynchronisations, {} times notifications were lost",
        kernel.events, kernel.resyncs, kernel.overruns
    )?;
    let Some(compared) = &routes.compared else { return Ok(()) };
    let Compared {
        kernel_routes, mirrored_routes, kernel_neighbours, mirrored_neighbours, differing, ..
    } = compared;
    writeln!(
        out,
        "compared in {:.2} s: {kernel_routes} routes of the kernel, {mirrored_routes} mirrored; \
         {kernel_neighbours} neighbours, {mirrored_neighbours} mirrored; {differing} differ",
        compared.seconds
    )?;
    compared.named.iter().try_for_each(|line| writeln!(out, "  {line}"))
}
