//! `sekisho doctor`: what stands in the way on this host, and the remedy; applied, and taken back, where it is asked for.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Failure;
use crate::config::{Config, Control};
use crate::doctor::{self, Done, Finding, Host, Journal, Level, Setting};

/// What `doctor` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration whose ports and cores are looked at; without it only the host
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set what can be set back, remember what was before, and look again; not while traffic flows
    #[arg(long)]
    fix: bool,
    /// Restore what was before `--fix`
    #[arg(long, conflicts_with = "fix")]
    undo: bool,
    /// Only this subject, such as "port access", "port" for all ports, "cores" or "memory"; repeatable
    #[arg(long, value_name = "SUBJECT", conflicts_with = "undo")]
    only: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// Leaves the findings that were asked for. A subject that there is none of is refused: nothing found would look like
    /// nothing wrong.
    fn choose(&self, findings: &mut Vec<Finding>) -> Result<(), Failure> {
        if self.only.is_empty() {
            return Ok(());
        }
        let is = |only: &String, subject: &str| {
            only == subject || subject.split(' ').next().is_some_and(|first| only == first)
        };
        if let Some(only) =
            self.only.iter().find(|only| !findings.iter().any(|found| is(only, &found.subject)))
        {
            let mut subjects: Vec<String> =
                findings.iter().map(|found| format!("\"{}\"", found.subject)).collect();
            subjects.sort();
            subjects.dedup();
            let without = if self.config.is_none() { "; ports are looked at with `-c FILE`" } else { "" };
            let subjects = subjects.join(", ");
            return Err(Failure::refused(format!(
                "there is nothing called \"{only}\" to look at, only {subjects}{without}"
            )));
        }
        findings.retain(|found| self.only.iter().any(|only| is(only, &found.subject)));
        Ok(())
    }
}

#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    /// What `--fix` or `--undo` has set.
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<Vec<Line>>,
    findings: &'a [Finding],
}

/// What became of a setting.
#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    setting: Setting,
    #[serde(flatten)]
    done: Done,
}

impl Line {
    fn is_refused(&self) -> bool {
        matches!(self.done, Done::Refused { .. })
    }
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    let config = arguments.config.as_deref().map(super::load).transpose()?;
    let host = Host::this();
    let look = || {
        let mut findings = doctor::examine(&host, config.as_ref());
        arguments.choose(&mut findings)?;
        Ok::<_, Failure>(findings)
    };
    let folder = config.as_ref().and_then(Config::state).unwrap_or(Path::new(Control::STATE));
    let done = match (arguments.fix, arguments.undo) {
        (true, _) => Some(fix(&mut journal(folder, &host)?, &look()?)),
        (_, true) => Some(undo(&mut journal(folder, &host)?)?),
        _ => None,
    };
    let findings = if arguments.undo { Vec::new() } else { look()? };
    let failed = findings.iter().filter(|finding| finding.level == Level::Fail).count();
    let refused = done.iter().flatten().filter(|line| line.is_refused()).count();
    if arguments.json {
        let report = Report { ok: failed + refused == 0, done, findings: &findings };
        serde_json::to_writer(&mut *out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        if let Some(done) = &done {
            print_done(done, arguments, folder, out)?;
        }
        if !arguments.undo {
            print(&findings, out)?;
        }
    }
    if refused > 0 {
        let root = rustix::process::geteuid().is_root();
        let remedy = if root { "" } else { "; setting needs root: sudo sekisho doctor …" };
        let settings = crate::words::plural(refused, "setting");
        return Err(Failure::refused(format!("{settings} could not be set{remedy}")));
    }
    match failed {
        0 => Ok(()),
        failed => Err(Failure::refused(format!(
            "{} to mend before Sekisho can run here as configured",
            crate::words::plural(failed, "fault")
        ))),
    }
}

fn journal(folder: &Path, host: &Host) -> Result<Journal, Failure> {
    Journal::open(folder, host).map_err(|error| {
        Failure::refused(format!("what was set before can't be read, and nothing is changed: {error}"))
    })
}

fn fix(journal: &mut Journal, findings: &[Finding]) -> Vec<Line> {
    let changes = findings.iter().filter(|finding| finding.level > Level::Ok).flat_map(|f| &f.changes);
    changes.map(|change| Line { setting: change.setting.clone(), done: journal.apply(change) }).collect()
}

fn undo(journal: &mut Journal) -> Result<Vec<Line>, Failure> {
    let undone = journal.undo();
    let undone = undone.map_err(|error| {
        Failure::refused(format!("all is as it was before, but that can't be written down: {error}"))
    })?;
    Ok(undone.into_iter().map(|(setting, done)| Line { setting, done }).collect())
}

fn print_done(done: &[Line], arguments: &Arguments, folder: &Path, out: &mut impl Write) -> io::Result<()> {
    for Line { setting, done } in done {
        match done {
            Done::Set { before, now } => wrapped(out, "set   ", &format!("{setting}: {before} → {now}"))?,
            Done::Already { now } => wrapped(out, "is    ", &format!("{setting}: {now}"))?,
            Done::Foreign { now, set } => {
                wrapped(out, "left  ", &format!("{setting}: {now}, not {set} as doctor had set it"))?;
            }
            Done::Refused { why } => wrapped(out, "FAIL  ", &format!("{setting}: {why}"))?,
        }
    }
    let any = done.iter().any(|line| matches!(line.done, Done::Set { .. }));
    match (arguments.undo, done.is_empty(), any) {
        (true, true, _) => {
            writeln!(out, "nothing to undo: {} has no settings of this start", folder.display())
        }
        (false, true, _) => writeln!(out, "nothing that doctor could set\n"),
        (false, false, true) => {
            // What was before is remembered in the configuration's own folder.
            let config = arguments.config.as_deref();
            let config = config.map_or(String::new(), |config| format!(" -c {}", config.display()));
            writeln!(
                out,
                "\n`sekisho doctor{config} --undo` restores what was before, until the host is started anew\n"
            )
        }
        (false, false, false) => writeln!(out),
        (true, false, _) => Ok(()),
    }
}

fn print(findings: &[Finding], out: &mut impl Write) -> io::Result<()> {
    for Finding { level, subject, found, why, fix, .. } in findings {
        let level = match level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        wrapped(out, &format!("{level:<6}{subject}: "), found)?;
        if let Some(why) = why {
            wrapped(out, "      why: ", why)?;
        }
        // A command stays on one line, whatever its length: it is there to be copied.
        if let Some(fix) = fix {
            writeln!(out, "      fix: {fix}")?;
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    writeln!(out, "\n{} ok, {} warn, {} fail", count(Level::Ok), count(Level::Warn), count(Level::Fail))
}

/// Words in lines of at most 100 columns; lines after the first stand below what was found.
fn wrapped(out: &mut impl Write, head: &str, text: &str) -> io::Result<()> {
    use unicode_width::UnicodeWidthStr;
    let mut line = head.to_owned();
    let mut begun = true;
    for word in text.split(' ') {
        if !begun && line.width() + 1 + word.width() > 100 {
            writeln!(out, "{line}")?;
            line = " ".repeat(11);
            begun = true;
        }
        if !begun {
            line.push(' ');
        }
        line.push_str(word);
        begun = false;
    }
    writeln!(out, "{line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_stays_within_100_columns_and_a_command_on_one_line() {
        let finding = Finding {
            level: Level::Warn,
            subject: "port access".into(),
            found: "word ".repeat(40).trim().into(),
            why: Some("because ".repeat(30).trim().into()),
            fix: Some("ethtool -K eth1 gro off".into()),
            changes: Vec::new(),
        };
        let mut out = Vec::new();
        print(&[finding], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert!(
            text.starts_with("warn  port access: word")
                && text.contains("\n      fix: ethtool -K eth1 gro off\n")
        );
        assert!(text.ends_with("\n0 ok, 1 warn, 0 fail\n"), "{text}");
    }
}
