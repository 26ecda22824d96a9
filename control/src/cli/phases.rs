//! `sekisho phases`: the running daemon's phases, past, in force and to come.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use super::remote::Remote;
use super::{Failure, shorten};
use crate::rpc::methods::phases::Phases;

/// What `phases` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    arguments.remote.show_list("phases", out, print)
}

/// Columns that are left for the sets of a phase beside the rest.
const ROOM: usize = 14;

/// Names with commas between them, in lines of at most `width` columns; a longer name has a line of its own.
fn lines(names: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let comma = if at + 1 < names.len() { "," } else { "" };
        match lines.last_mut() {
            Some(line) if line.width() + 1 + name.width() + comma.len() <= width => {
                line.push_str(&format!(" {name}{comma}"));
            }
            _ => lines.push(format!("{name}{comma}")),
        }
    }
    lines
}

fn print(phases: &Phases, out: &mut dyn Write) -> io::Result<()> {
    let [state, policy, phase, from, action] = ["state", "policy", "phase", "from", "action"];
    writeln!(out, "{state:<10}{policy:<18}{phase:<22}{from:<27}{action:<9}of")?;
    for phase in &phases.phases {
        let (policy, name) = (shorten(&phase.policy, 17), shorten(&phase.name, 21));
        let mut blocks = lines(&phase.block, ROOM).into_iter();
        // What has no room at the end of the line stands in lines of its own: no set's name is cut.
        let first = blocks.next().unwrap_or_default();
        let (last, below) = match first.width() <= ROOM && blocks.len() == 0 {
            true => (first, Vec::new()),
            false => (String::new(), lines(&phase.block, 98)),
        };
        let line = format!(
            "{:<10}{policy:<18}{name:<22}{:<27}{:<9}{last}",
            phase.state,
            shorten(&phase.from, 26),
            phase.action
        );
        writeln!(out, "{}", line.trim_end())?;
        below.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
    }
    if phases.phases.is_empty() {
        writeln!(out, "no policy has any")?;
    }
    writeln!(out, "\nthe daemon's clock: {}", phases.now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::methods::phases::PhaseStatus;

    #[test]
    fn no_name_of_a_set_is_cut_and_no_line_is_longer_than_100_columns() {
        let sets = ["mobile-carriers", "partners-of-the-northern-exchange", "関所の向こう", "own", "others"];
        let phase = |block: &[&str]| PhaseStatus {
            policy: "dynamic".into(),
            name: "all-operators".into(),
            from: "2006-06-01T00:00:00+09:00".into(),
            state: "in force".into(),
            begun: true,
            block: block.iter().map(|set| (*set).to_owned()).collect(),
            action: "reject".into(),
        };
        let phases = Phases {
            generation: 1,
            phases: vec![phase(&["all"]), phase(&sets)],
            now: "now".into(),
            found: 2,
            next: None,
        };
        let mut out = Vec::new();
        print(&phases, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().nth(1).unwrap().ends_with("reject   all"), "{text}");
        let told = text.lines().nth(3).unwrap();
        assert!(sets.iter().all(|set| told.contains(set)), "{text}");
        assert!(text.lines().all(|line| line.width() <= 100), "{text}");
    }
}
