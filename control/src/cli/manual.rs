//! The manual: what `sekisho help COMMAND` says below the options, and the same as man pages. Options come from the
//! commands themselves, so that help, man pages and completions have one source.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::configuration_page;

/// A command's part of the manual.
struct Section {
    command: &'static str,
    /// Purpose, units, and what is worth knowing.
    text: &'static str,
    /// Lines that work as they stand.
    examples: &'static [&'static str],
}

const EXIT: &str = "0: done. 1: refused or failed, the reason is on standard error. 2: bad usage.";

const SECTIONS: &[Section] = &[
    Section {
        command: "run",
        text: "Forwards between the ports of the configuration, one busy worker on each core, and serves the control \
               socket. Ports that are interfaces need CAP_NET_RAW and CAP_NET_ADMIN, of driver xdp CAP_BPF too. Started as \
               root, each thread lets go of all else once the ports are open: workers keep these, to open a port again \
               whose interface was gone, the others none; root's thread for reloads may still read files. What is read \
               again, and the state folder, should be root's then. SIGTERM and SIGINT end it, SIGHUP reloads. With \
               captures alone it ends by itself and prints packets and bytes by port, reason and pool.",
        examples: &[
            "sekisho run -c /etc/sekisho/sekisho.toml",
            "sekisho run -c configs/quickstart.toml --json",
        ],
    },
    Section {
        command: "check",
        text: "Reads, validates and compiles a configuration without touching anything: prints ports, pools, sets, \
               phases and the bytes that tables take, or every fault with its line and remedy. Needs no privilege, and \
               may run on another host: what only this host lacks is a warning.",
        examples: &["sekisho check -c /etc/sekisho/sekisho.toml"],
    },
    Section {
        command: "replay",
        text: "Judges captures through the same code as live traffic. Times are RFC 3339 with an offset. Neither the \
               daemon nor its memory of phases is touched.",
        examples: &[
            "sekisho replay -c isp.toml --in access=in.pcap --at 2030-06-01T00:00:00+09:00",
            "sekisho replay -c isp.toml --in access=in.pcap --out core=out.pcap --clock capture --json",
        ],
    },
    Section {
        command: "explain",
        text: "Says which pool, sets, phases and rule decide about one packet, of a configuration or of the running \
               daemon. Rules are numbered as in the policy and shown in the order in which they are asked.",
        examples: &[
            "sekisho explain 203.0.113.10 192.0.2.200 25",
            "sekisho explain -c isp.toml --at 2030-06-01T00:00:00+09:00 203.0.113.10 192.0.2.200 25",
        ],
    },
    Section {
        command: "bench",
        text: "Runs made-up or captured frames through the configuration's tables in memory. Sizes are bytes on the \
               wire with the check sequence; costs are nanoseconds and clock cycles of one core per packet. A network \
               card's own cost comes on top.",
        examples: &["sekisho bench -c isp.toml --size imix --cores 2 --seconds 10"],
    },
    Section {
        command: "status",
        text: "The daemon at a glance: generation, phases, ports, workers. Counts are packets since the start.",
        examples: &["sekisho status", "sekisho status --stages", "sekisho status --json"],
    },
    Section {
        command: "top",
        text: "The live view: rates by port, denies by reason, busy workers, phases and their countdown, pools, and the \
               last generations with who made each, what it changed and how long it can be confirmed. Keys: q quits, \
               p holds the picture, s sorts pools, g shows the generations where they have no room below, h helps. It \
               needs a terminal of 80 by 24; --once prints a frame.",
        examples: &["sekisho top", "sekisho top --once --interval 5"],
    },
    Section {
        command: "routes",
        text: "In route mode: how many routes, neighbours and links the daemon mirrors of the kernel's, and how its batches \
               went. With --compare the kernel is asked for everything anew, and each entry compared with what is in the \
               dataplane; what differs is told, with exit code 1.",
        examples: &["sekisho routes", "sekisho routes --compare"],
    },
    Section {
        command: "pools",
        text: "Each pool with its policy, prefixes, and packets since the start: all, denied, and those that a \
               monitored deny was meant for.",
        examples: &["sekisho pools"],
    },
    Section {
        command: "phases",
        text: "Each phase of each policy: past (a later one denies all that it denies), in force, or to come.",
        examples: &["sekisho phases"],
    },
    Section {
        command: "counters",
        text: "Packets and bytes since the start, by port, reason and action. Received = forwarded + denied + errors.",
        examples: &["sekisho counters --workers", "sekisho counters --json"],
    },
    Section {
        command: "affected",
        text: "Customers whose port 25 is denied, or would be under `monitor`: pool, first and last seen, attempts, kinds \
               of destination, an estimate of distinct destinations, and whether it looks like a mail client or an \
               infected computer. Counts are exact while the table has room; beyond, it says how far they may be off. \
               CSV is UTF-8 for a spreadsheet.",
        examples: &["sekisho affected", "sekisho affected --pool my-b-flets --format csv"],
    },
    Section {
        command: "doctor",
        text: "Looks at the ports' interfaces, cores, memory, capabilities, kernel, clock, folders and socket. Each \
               finding is ok, warn (it works, but slower or less safely) or FAIL (it does not run, or frames are lost), \
               with why it matters and what to do, and changes nothing. With --fix it sets, as root, what it can also set \
               back: features, rings, queues and MTU of interfaces, interrupts, governors, variables of the kernel; it \
               says what each was and is, and looks again. What was before is kept in the state folder \
               (doctor.json), from where --undo restores it; what somebody else has set since stays so. All of it ends \
               when the host is started anew: what shall last belongs into its own configuration. Interfaces may lose \
               their link for a moment: fix before traffic flows. Exit code 1 if something fails.",
        examples: &[
            "sekisho doctor",
            "sekisho doctor -c /etc/sekisho/sekisho.toml",
            "sekisho doctor -c /etc/sekisho/sekisho.toml --fix --only port",
            "sekisho doctor -c /etc/sekisho/sekisho.toml --undo",
        ],
    },
    Section {
        command: "grant",
        text: "Exempts one customer address or prefix from blocking for a time (1s to 31d). It holds from the workers' \
               next bursts on and survives reloads; with a state folder, restarts too. A grant that is there already \
               is extended, never shortened. Who granted what to whom and why is a line in the log. Root and the \
               daemon's group may.",
        examples: &["sekisho grant 203.0.113.10 --for 30m --reason ticket-1234"],
    },
    Section {
        command: "revoke",
        text: "Takes a grant back before it ends.",
        examples: &["sekisho revoke 203.0.113.10"],
    },
    Section {
        command: "grants",
        text: "The grants that are not over: address, end, time left, who gave them and why.",
        examples: &["sekisho grants", "sekisho grants --json"],
    },
    Section {
        command: "capture",
        text: "Writes a pcapng of what the daemon judges, from now on: the frames as they were received, the port as the \
               interface, and in each comment verdict, reason, action, pool, policy, phase and generation. All \
               conditions have to hold; times are microseconds, lengths bytes. --filter is a subset of \
               pcap-filter(7), with equal precedence of `and` and `or`, from the left. Workers never wait: what there \
               is no room for is lost, and counted before the filter has seen it. Frames that the daemon makes are \
               not in it. Needs the right to change, since it shows traffic. SIGINT ends it with a whole file.",
        examples: &[
            "sekisho capture --drops -w denies.pcapng",
            "sekisho capture --filter 'host 203.0.113.10 and tcp dst port 25' --count 10 -w one.pcapng",
            "sekisho capture --drops -w - | tcpdump -nn -r -",
        ],
    },
    Section {
        command: "reload",
        text: "The daemon validates, compiles and swaps under traffic; a fault changes nothing. Prints what differs, \
               and milliseconds by step. With --confirm the daemon goes back by itself unless `sekisho confirm` \
               follows in time (1s to 1d), also if this command is killed or its network is cut; until then other \
               reloads are refused, SIGHUP's too. A set or a pool that would lose more than half of its prefixes is \
               refused without --allow-shrink, and one that would become empty without --allow-empty.",
        examples: &["sekisho reload --dry-run", "sekisho reload", "sekisho reload --confirm 60s"],
    },
    Section {
        command: "confirm",
        text: "Keeps what `sekisho reload --confirm` put in force. Refused if nothing awaits confirmation, or another \
               generation than the one named.",
        examples: &["sekisho confirm", "sekisho confirm 4"],
    },
    Section {
        command: "rollback",
        text: "Puts an earlier configuration in force again, under a new generation number: the one before the one in \
               force, or one of the last ten; given again, it goes further back. What a reload awaiting confirmation has replaced comes back without \
               compiling. No file is read or written: correct yours, since a restart reads it. Phases that have begun \
               stay begun, and grants are kept. The history lives as long as the daemon.",
        examples: &["sekisho rollback", "sekisho rollback --list", "sekisho rollback 4"],
    },
];

const FILES: [(&str, &str); 4] = [
    ("/etc/sekisho/sekisho.toml", "the configuration that the unit starts with"),
    ("/run/sekisho/control.sock", "the daemon's socket, for root and its group"),
    ("/var/lib/sekisho", "what outlives the daemon, such as which phases have begun"),
    ("/usr/share/doc/sekisho", "the guide to switching on, and examples"),
];

/// Adds the manual's texts to the commands that there are.
pub(super) fn with_manual(mut command: Command) -> Command {
    for Section { command: name, text, examples } in SECTIONS {
        let examples: String = examples.iter().map(|example| format!("\n  {example}")).collect();
        let after = format!("{text}\n\nExamples:{examples}\n\nExit codes:\n  {EXIT}");
        if command.find_subcommand(name).is_some() {
            command = command.mut_subcommand(name, |sub| sub.after_long_help(after));
        }
    }
    command
}

/// Writes a page for the command, one for each of its commands, and one for the configuration.
pub(super) fn man_pages(command: Command, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let commands: Vec<Command> =
        command.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned().collect();
    page(command.version(env!("CARGO_PKG_VERSION")), None, &commands, &folder.join("sekisho.1"))?;
    for sub in &commands {
        let name = format!("sekisho-{}", sub.get_name());
        let section = SECTIONS.iter().find(|section| section.command == sub.get_name());
        let words = format!("sekisho {}", sub.get_name());
        // What `help` says at the end has sections of its own here.
        let sub = sub.clone().name(name.clone()).bin_name(words).after_long_help("");
        page(sub.version(env!("CARGO_PKG_VERSION")), section, &commands, &folder.join(format!("{name}.1")))?;
    }
    configuration_page::write(folder, &pages(&commands, configuration_page::NAME))
}

/// The pages that there are, but for one.
fn pages(commands: &[Command], but: &str) -> Vec<String> {
    let others = std::iter::once("sekisho(1)".to_owned())
        .chain(commands.iter().map(|sub| format!("sekisho-{}(1)", sub.get_name())))
        .chain([configuration_page::NAME.to_owned()]);
    others.filter(|other| other != but).collect()
}

fn page(command: Command, section: Option<&Section>, commands: &[Command], path: &Path) -> io::Result<()> {
    let name = command.get_name().to_owned();
    let man = Man::new(command.disable_help_subcommand(true)).manual("Sekisho");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    let mut roff = Roff::new();
    if let Some(section) = section {
        roff.control("SH", ["DESCRIPTION"]).text([roman(section.text)]);
    } else {
        man.render_description_section(&mut page)?;
    }
    roff.to_writer(&mut page)?;
    man.render_options_section(&mut page)?;
    if section.is_none() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut roff = Roff::new();
    if let Some(section) = section {
        roff.control("SH", ["EXAMPLES"]);
        roff.control("nf", []);
        section.examples.iter().for_each(|example| {
            roff.text([roman(*example)]);
        });
        roff.control("fi", []);
    }
    roff.control("SH", ["EXIT STATUS"]).text([roman(EXIT)]);
    roff.control("SH", ["FILES"]);
    for (file, what) in FILES {
        roff.control("TP", []).text([bold(file)]).text([roman(what)]);
    }
    let others = pages(commands, &format!("{name}(1)"));
    roff.control("SH", ["SEE ALSO"]).text([roman(others.join(", "))]);
    roff.to_writer(&mut page)?;
    fs::File::create(path)?.write_all(&page)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn each_command_has_its_part_of_the_manual_with_an_example() {
        let command = with_manual(crate::cli::Arguments::command());
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let help = sub.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            let name = sub.get_name();
            assert!(
                help.contains(&format!("\n  sekisho {name}")) && help.contains("Exit codes"),
                "{name}: {help}"
            );
        }
    }

    /// As a shell takes them apart: what stands in quotes is one word, and a pipe begins another command.
    fn words(example: &str) -> Vec<&str> {
        let parts = example.split('\'').enumerate();
        let words = parts.flat_map(|(at, part)| match at % 2 {
            0 => part.split_whitespace().collect::<Vec<_>>(),
            _ => vec![part],
        });
        words.take_while(|word| *word != "|").collect()
    }

    #[test]
    fn examples_are_accepted_by_the_commands_that_they_show() {
        for example in SECTIONS.iter().flat_map(|section| section.examples) {
            let parsed = crate::cli::Arguments::command().try_get_matches_from(words(example));
            assert!(parsed.is_ok(), "{example}: {}", parsed.err().map_or(String::new(), |e| e.to_string()));
        }
    }

    #[test]
    fn each_page_has_the_sections_of_a_manual() {
        let folder = tempfile::tempdir().unwrap();
        man_pages(with_manual(crate::cli::Arguments::command()), folder.path()).unwrap();
        for (page, sections) in [
            ("sekisho.1", &["NAME", "SYNOPSIS", "FILES", "SEE ALSO"][..]),
            ("sekisho.toml.5", &["NAME", "TABLES", "EXAMPLE", "DIAGNOSTICS", "FILES", "SEE ALSO"]),
            ("sekisho-doctor.1", &["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "EXIT STATUS"]),
        ] {
            let text = fs::read_to_string(folder.path().join(page)).unwrap();
            for section in sections {
                assert!(
                    text.lines().any(|line| line.trim_start_matches(".SH ").trim_matches('"') == *section),
                    "{page} {section}\n{text}"
                );
            }
        }
        let whole = fs::read_to_string(folder.path().join("sekisho.1")).unwrap();
        assert!(whole.contains("sekisho.toml(5)"), "{whole}");
        assert!(!folder.path().join("sekisho-generate.1").exists());
    }
}
