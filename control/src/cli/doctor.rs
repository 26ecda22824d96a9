//! `sekisho doctor`: what stands in the way on this host, and the remedy.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::Failure;
use crate::doctor::{self, Finding, Host, Level};

/// What `doctor` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration whose ports and cores are looked at; without it only the host
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    findings: &'a [Finding],
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    let config = arguments.config.as_deref().map(super::load).transpose()?;
    let findings = doctor::examine(&Host::this(), config.as_ref());
    let failed = findings.iter().filter(|finding| finding.level == Level::Fail).count();
    match arguments.json {
        true => {
            let report = Report { ok: failed == 0, findings: &findings };
            serde_json::to_writer(&mut *out, &report).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        false => print(&findings, out)?,
    }
    match failed {
        0 => Ok(()),
        failed => Err(Failure::refused(format!(
            "{} to mend before Sekisho can run here as configured",
            crate::words::plural(failed, "fault")
        ))),
    }
}

fn print(findings: &[Finding], out: &mut impl Write) -> io::Result<()> {
    for Finding { level, subject, found, why, fix } in findings {
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
