//! The `sekisho` command: one sub-command a file.

mod affected;
mod bench;
mod capture;
mod check;
mod configuration_page;
mod confirm;
mod counters;
mod doctor;
mod explain;
mod generate;
mod grant;
mod manual;
mod phases;
mod pools;
mod reload;
mod remote;
mod replay;
mod routes;
mod run;
mod status;
mod top;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::config::{Colour, Config, ConfigError, wrapped};
use crate::rpc::{self, CallError};

/// 関所, the checkpoint: enforces Outbound Port 25 Blocking between customers and the Internet.
#[derive(Debug, Parser)]
#[command(name = "sekisho", version, max_term_width = 100, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Forward, in the foreground; with captures for ports, until they are read through
    Run(run::Arguments),
    /// Validate and compile a configuration, and print what it says
    Check(check::Arguments),
    /// Judge captures offline, one line per packet with --json
    Replay(replay::Arguments),
    /// Say what would become of one packet, and why
    Explain(explain::Arguments),
    /// Measure this configuration's tables and policy on this host, in memory
    Bench(bench::Arguments),
    /// Show the running daemon at a glance
    Status(status::Arguments),
    /// Watch the running daemon, live
    Top(top::Arguments),
    /// Show what the running daemon has of the kernel's routes
    Routes(routes::Arguments),
    /// Show the running daemon's pools, and what was counted for them
    Pools(pools::Arguments),
    /// Show the running daemon's phases: past, in force and to come
    Phases(phases::Arguments),
    /// Show everything that the running daemon counts
    Counters(counters::Arguments),
    /// Look for what stands in the way on this host, with the remedy; needs no privilege
    Doctor(doctor::Arguments),
    /// Exempt a customer for a time
    Grant(grant::Arguments),
    /// Take a grant back
    Revoke(grant::RevokeArguments),
    /// Show the grants that are not over
    Grants(grant::ListArguments),
    /// Capture what the running daemon judges, or only what it denies, as a pcapng
    Capture(capture::Arguments),
    /// Show who is denied on port 25 by the running daemon, or would be
    Affected(affected::Arguments),
    /// Have the running daemon read a configuration, and put it in force
    Reload(reload::Arguments),
    /// Keep what `reload --confirm` put in force
    Confirm(confirm::Arguments),
    /// Go back to an earlier generation, or list the last ones
    Rollback(confirm::RollbackArguments),
    /// Write man pages or completions, for packages
    #[command(hide = true)]
    Generate(generate::Arguments),
}

/// Why a command did not do what it was asked to. The exit code is 1.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The configuration has faults. Shown with its lines.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The configuration can't become tables.
    #[error(transparent)]
    Compile(#[from] crate::compile::Error),
    /// A capture can't be read or written.
    #[error(transparent)]
    Capture(#[from] sekisho_dataplane::port::pcap::CaptureError),
    /// The daemon did not start, or did not end well.
    #[error(transparent)]
    Daemon(#[from] crate::daemon::Error),
    /// A running daemon can't be asked, or refuses.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The live view failed.
    #[error(transparent)]
    Top(#[from] crate::top::Error),
    /// Standard output can't be written.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
    /// Anything else that one sentence says.
    #[error("{0}")]
    Refused(String),
}

impl Failure {
    fn refused(message: impl Into<String>) -> Failure {
        Failure::Refused(message.into())
    }

    /// The reader of our output went away, as `head` does: nothing to complain of.
    fn is_broken_pipe(&self) -> bool {
        matches!(self, Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let matches = manual::with_manual(Arguments::command()).get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let mut out = io::BufWriter::new(io::stdout().lock());
    let result = match &arguments.command {
        Command::Run(arguments) => run::run(arguments, &mut out),
        Command::Check(arguments) => check::run(arguments, &mut out),
        Command::Replay(arguments) => replay::run(arguments, &mut out),
        Command::Explain(arguments) => explain::run(arguments, &mut out),
        Command::Bench(arguments) => bench::run(arguments, &mut out),
        Command::Status(arguments) => status::run(arguments, &mut out),
        Command::Top(arguments) => top::run(arguments, &mut out),
        Command::Pools(arguments) => pools::run(arguments, &mut out),
        Command::Routes(arguments) => routes::run(arguments, &mut out),
        Command::Phases(arguments) => phases::run(arguments, &mut out),
        Command::Counters(arguments) => counters::run(arguments, &mut out),
        Command::Generate(arguments) => generate::run(arguments),
        Command::Doctor(arguments) => doctor::run(arguments, &mut out),
        Command::Grant(arguments) => grant::run(arguments, &mut out),
        Command::Revoke(arguments) => grant::revoke(arguments, &mut out),
        Command::Grants(arguments) => grant::list(arguments, &mut out),
        Command::Capture(arguments) => capture::run(arguments, &mut out),
        Command::Affected(arguments) => affected::run(arguments, &mut out),
        Command::Reload(arguments) => reload::run(arguments, &mut out),
        Command::Confirm(arguments) => confirm::run(arguments, &mut out),
        Command::Rollback(arguments) => confirm::rollback(arguments, &mut out),
    };
    conclude(result, &mut out)
}

/// Reports a failure; gives what the process ends with.
fn conclude(result: Result<(), Failure>, out: &mut impl Write) -> ExitCode {
    let result = result.and_then(|()| Ok(out.flush()?));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            // What was written before belongs in front of the message.
            let _ = out.flush();
            report(&failure);
            ExitCode::FAILURE
        }
    }
}

fn report(failure: &Failure) {
    let text = match failure {
        Failure::Config(error) => error.render(colour(&io::stderr())),
        Failure::Call(CallError::Refused(error)) => refusal(error),
        other => format!("sekisho: {other}"),
    };
    // Nobody is left to tell if standard error is gone.
    let _ = writeln!(io::stderr(), "{}", text.trim_end());
}

/// A daemon's refusal: every problem of a configuration, or each change that needs a restart on a line of its own.
fn refusal(error: &rpc::Error) -> String {
    let data = error.data.as_ref();
    if let Some(rendered) = data.and_then(|data| data["rendered"].as_str()) {
        return rendered.to_owned();
    }
    if let Some(changes) = data.and_then(|data| data["changes"].as_array()) {
        let changes =
            changes.iter().filter_map(|change| Some(format!("\n  {}", wrapped(change.as_str()?, 4))));
        let changes: String = changes.collect();
        return format!("sekisho: this can't change while the daemon runs; restart it for:{changes}");
    }
    format!("sekisho: {}", wrapped(&error.to_string(), 9))
}

/// At most `width` columns of a terminal.
fn shorten(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let fits = |letter: &char| {
        let room = left.checked_sub(letter.width().unwrap_or(0));
        left = room.unwrap_or(0);
        room.is_some()
    };
    let kept: String = text.chars().take_while(fits).collect();
    format!("{}…", kept.trim_end())
}

fn colour(stream: &impl IsTerminal) -> Colour {
    match stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) {
        true => Colour::On,
        false => Colour::Off,
    }
}

fn load(path: &Path) -> Result<Config, Failure> {
    Ok(Config::load(path)?)
}

/// An RFC 3339 instant with its offset, in UTC microseconds.
fn instant(text: &str) -> Result<i64, String> {
    crate::config::parse_instant(text).map_err(|error| error.to_string())
}

/// `PORT=FILE`.
fn port_and_file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((port, file)) if !port.is_empty() && !file.is_empty() => Ok((port.to_owned(), file.into())),
        _ => Err("write PORT=FILE, such as access=in.pcap".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_to_columns_not_characters() {
        assert_eq!(shorten("checkpoint", 10), "checkpoint");
        assert_eq!(shorten("checkpoint", 9), "checkpoi…");
        assert_eq!(shorten("関所の検問", 7), "関所の…");
        assert_eq!(shorten("関所の検問", 8), "関所の…");
        assert_eq!(shorten("a b c", 3), "a…");
    }
}
