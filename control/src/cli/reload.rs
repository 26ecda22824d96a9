//! `sekisho reload`: has the running daemon read a configuration, and prints what that changes.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use unicode_width::UnicodeWidthStr;

use super::remote::Remote;
use super::{Failure, shorten};
use crate::config::{UNREADABLE, wrapped};
use crate::daemon::{Changed, Counted, Difference, Moved, NAMED, Part, PhaseName, Reloaded};
use crate::rpc::methods::reload::Request;
use crate::rpc::{self, CallError};
use crate::words::plural;

/// What `reload` is asked to do.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration; the file that the daemon was started with if not given
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Go back by itself if `sekisho confirm` does not follow within this time, such as 60s
    #[arg(long, value_name = "TIME", conflicts_with = "dry_run")]
    confirm: Option<String>,
    /// Accept that a pool or an `allow` set is empty which was not so before
    #[arg(long)]
    allow_empty: bool,
    /// Accept that a pool or a set loses more than half of the prefixes that it has in force
    #[arg(long)]
    allow_shrink: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    // The daemon may stand in another folder.
    let path = arguments.file.as_ref().map(std::path::absolute).transpose()?;
    let request = Request {
        path,
        toml: None,
        dry_run: arguments.dry_run,
        confirm: arguments.confirm.clone(),
        allow_empty: arguments.allow_empty,
        allow_shrink: arguments.allow_shrink,
    };
    let result = arguments.remote.show_slow("reloading", "reload", &request, out, print);
    match (result, &request.path) {
        (Err(Failure::Call(CallError::Refused(error))), Some(path)) if is_unseen(&error, path) => {
            Err(Failure::Call(CallError::Refused(with_advice(error, path))))
        }
        (result, _) => result,
    }
}

/// Whether the daemon can't read a file that this command can.
fn is_unseen(error: &rpc::Error, path: &Path) -> bool {
    let problem = error.data.as_ref().map(|data| &data["problems"][0]);
    let is_of_the_file = problem.is_some_and(|problem| {
        let message = problem["message"].as_str().unwrap_or_default();
        message.starts_with(UNREADABLE)
            && problem["file"].as_str().is_some_and(|file| Path::new(file) == path)
    });
    is_of_the_file && File::open(path).is_ok()
}

/// The daemon reads files itself, by the names in the configuration and with its own rights. What is sent to it by value
/// would mean other files there than here.
fn with_advice(error: rpc::Error, path: &Path) -> rpc::Error {
    let advice = format!(
        "this command can read {}, and the daemon can't: it runs as a user of its own, and its systemd unit gives it a \
         /tmp of its own and no home folders (PrivateTmp=, ProtectHome=). Put the file, and the lists that it names, where \
         the daemon may read, such as beside its own configuration: install -m 640 -g sekisho FILE /etc/sekisho/",
        path.display()
    );
    let mut data = error.data.unwrap_or_default();
    if let Some(rendered) = data["rendered"].as_str() {
        data["rendered"] = format!("{rendered}\n\nnote: {}", wrapped(&advice, 6)).into();
    }
    rpc::Error { message: format!("{}; {advice}", error.message), data: Some(data), ..error }
}

/// Of each kind, so many are listed.
const LISTED: usize = 20;
/// Columns of a line, behind its sign.
const WIDEST: usize = 96;

fn print(reloaded: &Reloaded, out: &mut dyn Write) -> io::Result<()> {
    difference(&reloaded.difference, out)?;
    let memory = reloaded.memory_bytes as f64 / 1_048_576.0;
    match reloaded.dry_run {
        true => write!(out, "dry run: generation {} stays in force", reloaded.generation)?,
        false => write!(out, "generation {} is in force", reloaded.generation)?,
    }
    writeln!(out, ", {} from {}", plural(reloaded.prefixes, "prefix"), reloaded.config)?;
    if reloaded.dry_run {
        writeln!(out, "its tables would take {memory:.1} MiB")?;
    }
    let seconds = &reloaded.seconds;
    let steps = [
        ("validate", Some(seconds.validate)),
        ("compile", Some(seconds.compile)),
        ("publish", seconds.publish),
        ("wait for workers", seconds.quiesce),
        ("free", seconds.free),
    ];
    let steps: Vec<String> = steps
        .into_iter()
        .filter_map(|(step, seconds)| Some(format!("{step} {:.3} ms", seconds? * 1e3)))
        .collect();
    writeln!(out, "{}", steps.join(", "))?;
    if let Some(awaited) = &reloaded.confirmation {
        writeln!(
            out,
            "without `sekisho confirm`, generation {} comes back in {:.0} s",
            awaited.previous, awaited.seconds_left
        )?;
    }
    held(reloaded.still_held, out)
}

/// Old generations that could not be freed yet.
pub(super) fn held(still_held: usize, out: &mut dyn Write) -> io::Result<()> {
    match still_held {
        0 => Ok(()),
        count => writeln!(
            out,
            "{} still held by a worker that does not move on; see `sekisho status`",
            plural(count, "old generation")
        ),
    }
}

pub(super) fn difference(difference: &Difference, out: &mut dyn Write) -> io::Result<()> {
    if difference.is_empty() {
        return writeln!(out, "nothing differs\n");
    }
    part(out, "pools", &difference.pools, counted, moved)?;
    part(out, "sets", &difference.sets, counted, moved)?;
    part(out, "policies", &difference.policies, String::clone, changed)?;
    part(out, "phases", &difference.phases, phase, changed)?;
    if !difference.settings.is_empty() {
        writeln!(out, "settings")?;
        difference.settings.iter().try_for_each(|setting| line(out, '~', setting))?;
    }
    writeln!(out)
}

fn part<N, C>(
    out: &mut dyn Write,
    what: &str,
    part: &Part<N, C>,
    name: impl Fn(&N) -> String,
    change: impl Fn(&C) -> String,
) -> io::Result<()> {
    let Part { added, removed, changed } = part;
    if added.len() + removed.len() + changed.len() == 0 {
        return Ok(());
    }
    writeln!(out, "{what}: {} added, {} removed, {} changed", added.len(), removed.len(), changed.len())?;
    list(out, '+', added, &name)?;
    list(out, '-', removed, &name)?;
    list(out, '~', changed, &change)
}

fn list<T>(out: &mut dyn Write, sign: char, items: &[T], text: impl Fn(&T) -> String) -> io::Result<()> {
    for item in items.iter().take(LISTED) {
        line(out, sign, text(item))?;
    }
    match items.len().saturating_sub(LISTED) {
        0 => Ok(()),
        more => line(out, sign, format!("and {more} more")),
    }
}

fn line(out: &mut dyn Write, sign: char, text: impl Display) -> io::Result<()> {
    writeln!(out, "  {sign} {}", shorten(&text.to_string(), WIDEST))
}

fn counted(item: &Counted) -> String {
    format!("{} ({})", item.name, plural(item.prefixes, "prefix"))
}

fn moved(item: &Moved) -> String {
    // As many prefixes as the line has room for.
    let told = |most: usize| format!("{}: {}", item.name, item.told(most));
    (1..=NAMED).rev().map(told).find(|text| text.width() <= WIDEST).unwrap_or_else(|| told(0))
}

fn changed(item: &Changed) -> String {
    format!("{}: {}", item.name, item.what.join("; "))
}

fn phase(item: &PhaseName) -> String {
    format!("{}/{} from {}", item.policy, item.phase, item.from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_difference_stays_within_100_columns_and_says_how_much_more_there_is() {
        let names = (0..25).map(|n| Counted { name: format!("{n}{}", "x".repeat(120)), prefixes: n });
        let mut change = Difference::default();
        change.pools.added = names.collect();
        change.settings = vec!["[checks] source-validation: enforce → off".into()];
        let mut out = Vec::new();
        difference(&change, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("pools: 25 added, 0 removed, 0 changed\n  + 0xxx"), "{text}");
        assert!(text.contains("  + and 5 more\nsettings\n  ~ [checks] source-validation: enforce → off\n"));
        assert!(text.lines().all(|line| line.chars().count() <= 100));
    }
}
