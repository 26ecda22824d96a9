//! Whole configurations: what is taken, what is refused, and in which words.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use sekisho_dataplane::policy::{
    Action, DivertFallback, Kind, RejectWith, ReversePath, Role, SourceValidation,
};
use sekisho_dataplane::port::xdp::{XdpMode, ZeroCopy};
use sekisho_dataplane::worker::Poll;

use super::*;

/// A pair of ports, and nothing else: the least that is a configuration.
const PORTS: &str = r#"
[[port]]
name = "access"
role = "subscriber"
peer = "core"
driver = "memory"

[[port]]
name = "core"
role = "internet"
peer = "access"
driver = "memory"
"#;

/// A configuration with every key there is.
const EVERY_KEY: &str = r##"
[dataplane]
mode = "bridge"
cores = [1, 2]
batch = 32
poll = "adaptive"

[[port]]
name = "access"
role = "subscriber"
peer = "core"
driver = "pcap"
read = "in.pcap"
write = "/tmp/out.pcap"
rate = "capture"

[[port]]
name = "core"
role = "internet"
peer = "access"
driver = "packet"
device = "eth1"
receive-ring = "slots"

[[port]]
name = "mail"
role = "servers"
peer = "mail-up"
driver = "xdp"
device = "eth2"
mode = "native"
zero-copy = "off"

[[port]]
name = "mail-up"
role = "internet"
peer = "mail"
driver = "dpdk"
device = "0000:01:00.0"

[[port]]
name = "filter"
role = "filter"
driver = "memory"

[sets]
own-msa = ["192.0.2.25/32", "2001:db8:a::25/128", "192.0.2.25/32"]
carriers = ["198.51.100.16/28"]

[[policy]]
name = "dynamic"
kind = "restrict"
allow = ["own-msa", "own-msa"]
action = "reject"
reject-with = "icmp"
divert-fallback = "drop"
mirror = false
phases = [
  { name = "carriers", from = "2005-10-18T00:00:00+09:00", block = ["carriers"] },
  { name = "all", from = 2006-06-01T00:00:00+09:00, block = "all", action = "divert" },
]

[[policy]]
name = "static"
kind = "exempt"

[[pool]]
name = "my-b-flets"
title = "My-BフレッツF/M-B"
policy = "dynamic"
prefixes = ["203.0.113.0/25", "2001:db8:d000::/36"]

[checks]
source-validation = "monitor"
nat64-prefixes = ["2001:db8:64::/96"]

[control]
socket = "/run/sekisho/test.sock"
group = "sekisho"
state = "remembered"

[metrics]
listen = "[::1]:9925"

[affected]
customers = 100
privacy = "hash"

[limits]
l2-headers = 3
extension-headers = 7
fragments = 100
fragments-per-source = 10
fragment-lifetime = "1m30s"
reject-burst = 4
reject-interval = "500ms"
reject-per-second = 0
icmp-burst = 20
icmp-interval = "50ms"
icmp-per-second = 100
"##;

fn load(text: &str) -> Result<Config, ConfigError> {
    Config::from_toml(text, Path::new("conf/sekisho.toml"))
}

/// What is said about a text: "line:column: message; help" for each problem.
fn told(text: &str) -> Vec<String> {
    match load(text) {
        Ok(_) => Vec::new(),
        Err(error) => error
            .problems()
            .iter()
            .map(|problem| {
                format!("{}:{}: {}; {}", problem.line, problem.column, problem.message, problem.help)
            })
            .collect(),
    }
}

/// The only problem of a pair of ports with something more below (line 13 is the first line of it).
#[track_caller]
fn only(more: &str) -> String {
    let told = told(&format!("{PORTS}{more}"));
    assert_eq!(told.len(), 1, "{told:#?}");
    told.into_iter().next().unwrap_or_default()
}

#[track_caller]
fn accepted(more: &str) -> Config {
    load(&format!("{PORTS}{more}")).unwrap_or_else(|error| panic!("{error}"))
}

mod taken {
    use super::*;

    #[test]
    fn every_key_arrives_where_it_belongs() {
        let config = load(EVERY_KEY).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.path, Path::new("conf/sekisho.toml"));
        assert_eq!(
            config.dataplane,
            Dataplane { mode: Mode::Bridge, cores: Some(vec![1, 2]), batch: 32, poll: Poll::Adaptive }
        );
        let port = |name: &str, role, peer, driver| {
            let router = RouterPort::default();
            Port { name: name.into(), role, peer, driver, health: None, router }
        };
        let capture = Driver::Pcap {
            read: Some("conf/in.pcap".into()),
            write: Some("/tmp/out.pcap".into()),
            rate: Rate::Capture,
        };
        let slots = Driver::Packet { device: "eth1".into(), receive: ReceiveRing::Slots };
        assert_eq!(
            config.ports,
            [
                port("access", Role::Subscriber, Some(1), capture),
                port("core", Role::Internet, Some(0), slots),
                port(
                    "mail",
                    Role::Servers,
                    Some(3),
                    Driver::Xdp { device: "eth2".into(), mode: XdpMode::Native, zero_copy: ZeroCopy::Off }
                ),
                port("mail-up", Role::Internet, Some(2), Driver::Dpdk { device: "0000:01:00.0".into() }),
                port("filter", Role::Filter, None, Driver::Memory),
            ]
        );
        assert_eq!(config.sets[0].name, "own-msa");
        assert_eq!(config.sets[0].prefixes.len(), 2, "a prefix twice in a set counts once");
        let policy = &config.policies[0];
        assert_eq!((policy.kind, policy.action, policy.mirror), (Kind::Restrict, Action::Reject, false));
        assert_eq!((policy.reject_with, policy.divert_fallback), (RejectWith::Icmp, DivertFallback::Drop));
        assert_eq!(policy.allow, [0], "a set twice in `allow` counts once");
        assert_eq!(
            policy.phases,
            [
                Phase {
                    name: "carriers".into(),
                    from_micros: 1_129_561_200_000_000,
                    from_text: "2005-10-18T00:00:00+09:00".into(),
                    block: Block::Sets(vec![1]),
                    action: None,
                },
                Phase {
                    name: "all".into(),
                    from_micros: 1_149_087_600_000_000,
                    from_text: "2006-06-01T00:00:00+09:00".into(),
                    block: Block::All,
                    action: Some(Action::Divert),
                },
            ]
        );
        assert_eq!(
            config.pools,
            [Pool {
                name: "my-b-flets".into(),
                title: Some("My-BフレッツF/M-B".into()),
                policy: 0,
                prefixes: vec!["203.0.113.0/25".parse().unwrap(), "2001:db8:d000::/36".parse().unwrap()],
                from_kernel: None,
            }]
        );
        assert_eq!(config.checks.source_validation, SourceValidation::Monitor);
        assert_eq!(config.checks.nat64_prefixes, ["2001:db8:64::/96".parse().unwrap()]);
        assert_eq!(config.socket(), Some(Path::new("/run/sekisho/test.sock")));
        assert_eq!(config.state(), Some(Path::new("conf/remembered")));
        assert_eq!(config.metrics.listen, "[::1]:9925".parse().ok());
        assert_eq!(config.affected, Affected { customers: 100, privacy: Privacy::Hash });
        assert_eq!(
            config.limits,
            Limits {
                l2_headers: 3,
                extension_headers: 7,
                fragments: 100,
                fragments_per_source: 10,
                fragment_lifetime_micros: 90_000_000,
                reject_burst: 4,
                reject_interval_micros: 500_000,
                reject_per_second: 0,
                icmp_burst: 20,
                icmp_interval_micros: 50_000,
                icmp_per_second: 100,
                grants: 65_536,
            }
        );
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let config = accepted("[[policy]]\nname = \"p\"");
        assert_eq!(
            config.dataplane,
            Dataplane { mode: Mode::Bridge, cores: None, batch: 64, poll: Poll::Busy }
        );
        assert_eq!(
            config.checks,
            Checks {
                source_validation: SourceValidation::Enforce,
                nat64_prefixes: vec![],
                urpf: ReversePath::Off,
            }
        );
        assert_eq!(config.limits, Limits::default());
        assert_eq!(config.control, Control::default());
        assert_eq!(config.metrics.listen, None);
        assert_eq!(config.affected, Affected { customers: 32_768, privacy: Privacy::Off });
        let policy = Policy {
            name: "p".into(),
            kind: Kind::Restrict,
            allow: vec![],
            action: Action::Drop,
            reject_with: RejectWith::Rst,
            divert_fallback: DivertFallback::Reject,
            mirror: true,
            phases: vec![],
        };
        assert_eq!(config.policies, [policy]);
    }

    #[test]
    fn sets_stand_in_the_order_of_the_file() {
        let config = accepted("[sets]\nz = [\"192.0.2.1/32\"]\na = []\n\"m.x\" = []");
        assert_eq!(config.sets.iter().map(|set| set.name.as_str()).collect::<Vec<_>>(), ["z", "a", "m.x"]);
    }

    #[test]
    fn a_byte_order_mark_and_carriage_returns_change_nothing() {
        let windows = format!("\u{feff}{}", EVERY_KEY.replace('\n', "\r\n"));
        assert_eq!(load(&windows), load(EVERY_KEY));
    }

    #[test]
    fn an_empty_set_may_be_blocked_and_may_stand_unused() {
        let config = accepted(
            "[sets]\nnone = []\n[[policy]]\nname = \"p\"\n\
             phases = [{ name = \"one\", from = \"2006-06-01T00:00:00Z\", block = [\"none\"] }]",
        );
        assert_eq!(config.policies[0].phases[0].block, Block::Sets(vec![0]));
    }

    #[test]
    fn empty_pools_and_allowed_sets_pass_where_they_are_accepted() {
        let more = "[sets]\nnone = []\n[[policy]]\nname = \"p\"\nallow = [\"none\"]\n\
                    [[pool]]\nname = \"x\"\npolicy = \"p\"\nprefixes = []";
        let text = format!("{PORTS}{more}");
        assert_eq!(told(&text).len(), 2);
        let config = Config::from_toml_with(
            &text,
            Path::new("a.toml"),
            LoadOptions { allow_empty: true, ..LoadOptions::default() },
        )
        .unwrap();
        assert!(config.pools[0].prefixes.is_empty() && config.policies[0].allow == [0]);
    }
}

mod drawn {
    use super::*;

    #[test]
    fn a_misspelt_set_is_underlined_and_the_right_one_named() {
        let text = format!(
            "{PORTS}[sets]\nown-mx = [\"192.0.2.26/32\"]\n[[policy]]\nname = \"p\"\nallow = [\"own-mxx\"]\n"
        );
        assert_eq!(
            load(&text).unwrap_err().to_string(),
            "\
error: there is no set `own-mxx`
  --> conf/sekisho.toml:17:10
   |
17 | allow = [\"own-mxx\"]
   |          ^^^^^^^^^
   |
   = help: did you mean `own-mx`?"
        );
    }

    #[test]
    fn columns_and_carets_are_right_behind_japanese_text() {
        let text = format!(
            "{PORTS}pool = [{{ name = \"flets\", title = \"My-BフレッツF/M-B\", polcy = \"p\", prefixes = [] }}]\n"
        );
        let error = load(
            &text
                .replacen('\n', "\npool = [{ title = \"フレッツ\", nam = 1 }]\n", 1)
                .replace("]\npool", "]\n#pool"),
        );
        let error = error.unwrap_err();
        assert_eq!((error.problems()[0].line, error.problems()[0].column), (2, 9));
        let unknown = error.problems().iter().find(|problem| problem.message.contains("`nam`")).unwrap();
        assert_eq!((unknown.line, unknown.column), (2, 27));
        assert!(
            error.to_string().contains(
                "\
2 | pool = [{ title = \"フレッツ\", nam = 1 }]
  |                               ^^^"
            ),
            "{error}"
        );
    }

    #[test]
    fn the_same_prefix_in_two_pools_shows_both() {
        let text = format!(
            "{PORTS}[[policy]]\nname = \"p\"\n\
             [[pool]]\nname = \"a\"\npolicy = \"p\"\nprefixes = [\"2001:db8:5000::/36\"]\n\
             [[pool]]\nname = \"b\"\npolicy = \"p\"\nprefixes = [\"192.0.2.0/24\", \"2001:0DB8:5000:0:0::/36\"]\n"
        );
        assert_eq!(
            load(&text).unwrap_err().to_string(),
            "\
error: `2001:db8:5000::/36` is in pool `a` and in pool `b`
  --> conf/sekisho.toml:22:29
   |
22 | prefixes = [\"192.0.2.0/24\", \"2001:0DB8:5000:0:0::/36\"]
   |                             ^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: a prefix is in one pool: remove it from the other, or give one of them a longer prefix
note: pool `a` has it here
  --> conf/sekisho.toml:18:13
   |
18 | prefixes = [\"2001:db8:5000::/36\"]
   |             ^^^^^^^^^^^^^^^^^^^^"
        );
    }

    #[test]
    fn every_problem_of_a_file_is_told_in_one_run() {
        let text = format!(
            "{}[limits]\nfragments = 0\n[[policy]]\nname = \"p\"\nacton = \"drop\"\n[[pool]]\nname = \"x\"\npolicy = \"q\"\nprefixes = [\"192.0.2.1/24\"]\n",
            PORTS.replace("subscriber", "customers")
        );
        assert_eq!(
            told(&text),
            [
                "4:8: `customers` is no value of `role`; `role` is one of `subscriber`, `internet`, `servers`, `filter`",
                "14:13: `fragments` must lie between 1 and 16777216; write a number from 1 to 16777216; the default is 65536",
                "17:1: unknown key `acton` in policy `p`; did you mean `action`?",
                "20:10: there is no policy `q`; the policies are `p`",
                "21:13: `192.0.2.1/24` is a prefix with host bits set; write `192.0.2.0/24`, or `192.0.2.1/32` for the one address",
            ]
        );
        let error = load(&text).unwrap_err();
        assert!(error.to_string().ends_with("\n\nerror: the configuration has 5 problems"));
        assert_eq!(error.found(), 5);
    }

    #[test]
    fn nothing_is_wider_than_a_hundred_columns() {
        let prefixes = (0..200).map(|n| format!("\"192.0.2.{n}/24\"")).collect::<Vec<_>>().join(", ");
        let text = format!("{PORTS}[sets]\nlong = [{prefixes}]\n{} = []\n", "y".repeat(300));
        let error = load(&text).unwrap_err();
        assert_eq!(error.found(), 200);
        for line in error.to_string().lines() {
            assert!(unicode_width::UnicodeWidthStr::width(line) <= 100, "{line}");
        }
    }
}

mod syntax {
    use super::*;

    #[test]
    fn text_without_quotes_is_refused_where_it_stands() {
        let told = only("[[policy]]\nname = \"p\"\naction = drop\n");
        assert!(told.starts_with("15:10: not TOML: string values must be quoted"), "{told}");
        assert!(told.ends_with("; put the value in double quotes"), "{told}");
    }

    #[test]
    fn each_broken_line_is_told_once_and_nothing_is_made_of_the_pieces() {
        let told = told("port = [\n[[pool]\nname = x y z\n= 3\n");
        assert!(told.iter().all(|told| told.contains("not TOML")), "{told:#?}");
        let mut lines: Vec<_> = told.iter().map(|told| told.split(':').next()).collect();
        lines.dedup();
        assert_eq!(lines.len(), told.len(), "{told:#?}");
    }

    #[test]
    fn a_key_given_twice_is_told_together_with_the_rest() {
        let told =
            told(&format!("{PORTS}[limits]\nfragments = 1\nfragments = 2\nreject-burst = 0\n[limits]\n"));
        assert_eq!(
            told,
            [
                "15:1: `fragments` is given twice; keep one of the two",
                "16:16: `reject-burst` must lie between 1 and 1000; write a number from 1 to 1000; the default is 5",
                "17:2: `limits` is given twice; keep one of the two",
            ]
        );
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_refused_with_their_offset() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        fs::write(&path, b"# x\r\na = \"\xff\"\r\n").unwrap();
        let error = Config::load(&path).unwrap_err();
        let problem = &error.problems()[0];
        assert_eq!((problem.line, problem.column), (2, 6));
        assert_eq!(problem.message, "not UTF-8: the byte at offset 10 begins no character");
        assert!(error.to_string().contains("2 | a = \"\u{fffd}\"\n"), "{error}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_refused_with_the_system_s_reason() {
        let error = Config::load(Path::new("/nonexistent/a.toml")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "\
error: cannot read the configuration: No such file or directory (os error 2)
 --> /nonexistent/a.toml
  = help: name a file that exists and may be read"
        );
        assert!(Config::load(Path::new("/")).is_err());
    }

    #[test]
    fn a_file_without_end_is_not_read_to_its_end() {
        let error = Config::load(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.problems()[0].message, "the configuration is larger than 64 MiB");
    }

    #[test]
    fn deep_nesting_and_endless_dots_are_refused() {
        for text in [
            "[".repeat(100_000),
            format!("a = {}", "[".repeat(100_000)),
            format!("a{} = 1", ".a".repeat(100_000)),
            format!("a = {}", "{a=".repeat(100_000)),
        ] {
            assert!(!told(&text).is_empty());
        }
    }
}

mod keys {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_at_every_level() {
        assert_eq!(only("[pools]\n"), "13:2: unknown key `pools` in the configuration; did you mean `pool`?");
        assert_eq!(
            only("[dataplane]\ncore = [1]\n"),
            "14:1: unknown key `core` in [dataplane]; did you mean `cores`?"
        );
        assert_eq!(
            only("[checks]\nsource-validate = \"off\"\n"),
            "14:1: unknown key `source-validate` in [checks]; did you mean `source-validation`?"
        );
        assert_eq!(
            only("[limits]\nfragment-per-source = 256\n"),
            "14:1: unknown key `fragment-per-source` in [limits]; did you mean `fragments-per-source`?"
        );
        assert_eq!(
            only("[control]\nmode = \"0600\"\n"),
            "14:1: unknown key `mode` in [control]; the keys of [control] are `socket`, `group`, `state`"
        );
        assert_eq!(
            only("[metrics]\nlisten = \"127.0.0.1:1\"\nlistens = 1\n"),
            "15:1: unknown key `listens` in [metrics]; did you mean `listen`?"
        );
        assert_eq!(
            only("[[policy]]\nname = \"p\"\nmirrored = true\n"),
            "15:1: unknown key `mirrored` in policy `p`; did you mean `mirror`?"
        );
        assert_eq!(
            told(&format!("{PORTS}[sets]\ns = {{ kernel-tables = 2525 }}\n")),
            [
                "14:5: the list of prefixes of set `s` has no `file`; add `file = \"…\"`",
                "14:7: unknown key `kernel-tables` in the list of prefixes of set `s`; did you mean `kernel-table`?",
            ]
        );
    }

    #[test]
    fn a_policy_about_submission_cannot_be_written() {
        let remark = "remove it: a policy is about port 25 only; 587 and 465 (submission) are never denied by a policy";
        assert_eq!(
            only("[[policy]]\nname = \"p\"\nports = [25, 587]\n"),
            format!("15:1: unknown key `ports` in policy `p`; {remark}")
        );
        assert_eq!(
            only(
                "[[policy]]\nname = \"p\"\nphases = [{ name = \"x\", from = \"2006-06-01T00:00:00Z\", block = \"all\", port = 587 }]\n"
            ),
            format!("15:71: unknown key `port` in phase `x` of policy `p`; {remark}")
        );
    }

    #[test]
    fn a_missing_key_is_named_at_the_head_of_its_table() {
        assert_eq!(
            only("[[policy]]\nkind = \"exempt\"\n"),
            "13:1: a policy has no `name`; add `name = \"…\"`"
        );
        assert_eq!(
            only("[[policy]]\nname = \"p\"\n[[pool]]\nname = \"x\"\nprefixes = [\"192.0.2.0/24\"]\n"),
            "15:1: pool `x` has no `policy`; add `policy = \"…\"`"
        );
        assert_eq!(
            only("[[policy]]\nname = \"p\"\nphases = [{ name = \"x\", block = \"all\" }]\n"),
            "15:11: phase `x` of policy `p` has no `from`; add `from = \"2006-06-01T00:00:00+09:00\"`"
        );
    }

    #[test]
    fn a_value_of_another_type_is_refused_with_an_example() {
        assert_eq!(
            only("[dataplane]\nbatch = \"64\"\n"),
            "14:9: `batch` must be a whole number, not a string; write `batch = 64`"
        );
        assert_eq!(
            only("[limits]\nfragment-lifetime = 120\n"),
            "14:21: `fragment-lifetime` must be a duration in quotes, not a whole number; write `fragment-lifetime = \"2m\"`"
        );
        assert_eq!(
            only("[[policy]]\nname = \"p\"\nmirror = \"yes\"\n"),
            "15:10: `mirror` must be `true` or `false`, not a string; write `mirror = true`"
        );
        assert_eq!(
            only("[[policy]]\nname = \"p\"\nallow = \"own\"\n"),
            "15:9: `allow` must be a list, not a string; write `allow = [\"…\", \"…\"]`"
        );
        assert_eq!(
            only("[[policy]]\nname = 7\n"),
            "14:8: `name` must be a string, not a whole number; write `name = \"…\"`"
        );
        assert_eq!(
            only("[policy]\nname = \"p\"\n"),
            "13:2: `policy` must be a list of tables, not a table; write `[[policy]]` with two brackets"
        );
        assert_eq!(
            only("[[limits]]\n"),
            "13:1: [limits] must be a table, not a list; the keys of [limits] are `l2-headers`, `extension-headers`, \
             `fragments`, `fragments-per-source`, `fragment-lifetime`, `reject-burst`, `reject-interval`, `reject-per-second`, `icmp-burst`, `icmp-interval`, `icmp-per-second`, `grants`"
        );
        assert!(only("[[sets]]\n").starts_with("13:1: `sets` must be a table, not a list"));
        assert!(
            told(&format!("policy = [1]\n{PORTS}"))[0]
                .starts_with("1:11: a policy must be a table, not a whole number")
        );
    }
}

mod names {
    use super::*;

    #[test]
    fn two_of_a_name_are_refused() {
        assert_eq!(
            only("[[policy]]\nname = \"p\"\n[[policy]]\nname = \"p\"\n"),
            "16:8: there are two policies `p`; give one of them another name"
        );
        assert_eq!(
            told(
                &PORTS
                    .replace("peer = \"access\"", "peer = \"core\"")
                    .replace("name = \"core\"", "name = \"access\"")
            )
            .first()
            .map(String::as_str),
            Some("5:8: there is no port `core`; the ports are `access`")
        );
        let phase = "{ name = \"x\", from = \"2006-06-01T00:00:00Z\", block = \"all\" }";
        assert_eq!(
            only(&format!(
                "[[policy]]\nname = \"p\"\nphases = [{phase},\n{phase}]\n[[policy]]\nname = \"q\"\nphases = [{phase}]\n"
            )),
            "16:10: there are two phases `x` in policy `p`; give one of them another name"
        );
        let pool = "[[pool]]\nname = \"x\"\npolicy = \"p\"\nprefixes";
        assert_eq!(
            only(&format!(
                "[[policy]]\nname = \"p\"\n{pool} = [\"192.0.2.0/25\"]\n{pool} = [\"192.0.2.128/25\"]\n"
            )),
            "20:8: there are two pools `x`; give one of them another name"
        );
        assert_eq!(only("[sets]\ns = []\ns = []\n"), "15:1: `s` is given twice; keep one of the two");
    }

    #[test]
    fn a_name_that_is_no_label_is_refused() {
        let help = "a name has 1 to 64 of the characters `A-Z a-z 0-9 . _ -`; it labels metrics";
        assert_eq!(only("[[policy]]\nname = \"\"\n"), format!("14:8: a name must not be empty; {help}"));
        assert_eq!(
            only("[[policy]]\nname = \"a b\"\n"),
            format!("14:8: the name `a b` has the character ` ` in it; {help}")
        );
        assert_eq!(
            only("[sets]\n\"関\" = []\n"),
            format!("14:1: the name `関` has the character `関` in it; {help}")
        );
        let long = "x".repeat(65);
        assert_eq!(
            only(&format!("[[policy]]\nname = \"{long}\"\n")),
            format!("14:8: the name `{}…` is 65 characters long; {help}", "x".repeat(60))
        );
        accepted(&format!("[[policy]]\nname = \"{}\"\n", "A-z.0_".repeat(10)));
    }

    #[test]
    fn an_unknown_name_is_refused_with_those_there_are() {
        assert_eq!(
            only("[[policy]]\nname = \"p\"\nallow = [\"own\"]\n"),
            "15:10: there is no set `own`; there is no set at all; add it"
        );
        let sets: String = (0..14).map(|n| format!("set{n} = []\n")).collect();
        assert_eq!(
            only(&format!("[sets]\n{sets}[[policy]]\nname = \"p\"\nallow = [\"own\"]\n")),
            "30:10: there is no set `own`; the sets are `set0`, `set1`, `set2`, `set3`, `set4`, `set5`, `set6`, `set7`, \
             `set8`, `set9`, `set10`, `set11` and 2 more"
        );
    }

    #[test]
    fn a_title_is_one_line_of_free_text() {
        let pool = |title: &str| {
            format!(
                "[[policy]]\nname = \"p\"\n[[pool]]\nname = \"x\"\npolicy = \"p\"\nprefixes = [\"192.0.2.0/24\"]\ntitle = {title}\n"
            )
        };
        accepted(&pool(&format!("\"{}\"", "関".repeat(200))));
        assert!(only(&pool(&format!("\"{}\"", "関".repeat(201)))).ends_with("this one has 201"));
        assert!(
            only(&pool(r#""a\nb""#))
                .starts_with("19:9: the title `a\\nb` is too long or has control characters")
        );
    }
}

mod ports {
    use super::*;

    fn port(name: &str, rest: &str) -> String {
        format!("[[port]]\nname = \"{name}\"\n{rest}\n")
    }

    #[test]
    fn a_configuration_without_a_port_is_refused() {
        assert_eq!(told(""), ["1:1: there is no port; add a `[[port]]` for each interface"]);
        assert_eq!(told("port = []"), ["1:8: there is no port; add a `[[port]]` for each interface"]);
    }

    #[test]
    fn more_ports_than_a_daemon_takes_are_refused() {
        let ports: String = (0..257)
            .map(|n| {
                port(
                    &format!("p{n}"),
                    &format!("role = \"internet\"\npeer = \"p{}\"\ndriver = \"memory\"", n ^ 1),
                )
            })
            .collect();
        assert!(
            told(&ports)[0].starts_with("1281:1: there are 257 ports, more than 256"),
            "{:?}",
            told(&ports)
        );
    }

    #[test]
    fn more_ways_on_than_there_are_numbers_for_are_refused() {
        let port = "[dataplane]\nmode = \"route\"\n[[port]]\nname = \"a\"\nrole = \"internet\"\ndriver = \"memory\"\n\
            mac = \"02:00:00:00:00:01\"\naddresses = [\"10.0.0.1/8\"]\n";
        let neighbours = |count: u32| {
            let all = (2..2 + count).map(|n| {
                let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n * 2);
                format!("[[neighbour]]\naddress = \"{address}\"\nmac = \"02:00:00:00:00:02\"\n")
            });
            let route = "[[route]]\nto = \"192.0.2.0/24\"\nvia = [\"10.0.0.4\"]\n";
            told(&format!("{port}{route}{}", all.collect::<String>()))
        };
        assert_eq!(neighbours(32_703), Vec::<String>::new());
        let [one] = &neighbours(32_704)[..] else { panic!("one is too many") };
        assert!(one.starts_with("10:6: ") && one.contains("lead 32704 different ways"), "{one}");
    }

    #[test]
    fn no_two_interfaces_of_twins_and_their_vlans_would_have_one_name() {
        let port = |name: &str, twin: &str, more: &str| {
            format!(
                "[[port]]\nname = \"{name}\"\nrole = \"internet\"\ndriver = \"memory\"\n\
                 mac = \"02:00:00:00:00:0{}\"\ntwin = \"{twin}\"\n{more}\n",
                name.len()
            )
        };
        let both = |twin: &str| {
            let ports =
                [port("a", "sk-a", "vlans = [{ id = 100 }]"), port("bb", twin, "vlans = [{ id = 100 }]")];
            told(&format!("[dataplane]\nmode = \"route\"\n{}", ports.concat()))
        };
        assert_eq!(both("sk-b"), Vec::<String>::new());
        let said = both("sk-a.100").join("\n");
        assert!(said.contains("two interfaces would have the name `sk-a.100`"), "{said}");
        // Too long for a name with the VLAN's number, they are told apart all the same.
        let ports = [
            port("a", "sk-customers-a", "vlans = [{ id = 100 }]"),
            port("bb", "sk-customers-b", "vlans = [{ id = 100 }]"),
        ];
        assert_eq!(told(&format!("[dataplane]\nmode = \"route\"\n{}", ports.concat())), Vec::<String>::new());
    }

    #[test]
    fn route_mode_has_a_name_of_its_own() {
        assert!(only("[dataplane]\nmode = \"router\"\n").contains("did you mean `route`?"));
    }

    #[test]
    fn a_peer_must_be_there() {
        assert_eq!(
            told(&PORTS.replace("peer = \"core\"", "peer = \"cor\"")),
            ["5:8: there is no port `cor`; did you mean `core`?"]
        );
        assert_eq!(
            told(&PORTS.replace("peer = \"core\"\n", "")),
            ["2:1: port `access` has no `peer`: in bridge mode, what it receives leaves by its peer; \
              write `peer = \"core\"`, which names this port as its peer"]
        );
        assert_eq!(
            told(&PORTS.replace("peer = \"core\"", "peer = \"access\"")),
            [
                "5:8: port `access` is its own peer; write `peer = \"core\"`, which names this port as its peer"
            ]
        );
    }

    #[test]
    fn peers_must_name_each_other() {
        let third = port("third", "role = \"internet\"\npeer = \"access\"\ndriver = \"memory\"");
        assert_eq!(
            only(&third),
            "16:8: port `third` has the peer `access`, but that one has the peer `core`; \
             peers name each other: each port has one other end"
        );
    }

    #[test]
    fn a_filter_port_stands_alone() {
        let alone = port("filter", "role = \"filter\"\ndriver = \"memory\"");
        accepted(&alone);
        let paired = port("filter", "role = \"filter\"\npeer = \"core\"\ndriver = \"memory\"");
        assert!(
            only(&paired)
                .starts_with("16:8: port `filter` is a `filter` port and has no peer; remove `peer`")
        );
        let told = told(&format!("{}{alone}", PORTS.replace("peer = \"core\"", "peer = \"filter\"")));
        assert_eq!(
            told,
            [
                "5:8: port `access` has the `filter` port as its peer; name the port on the other side of the network"
            ]
        );
        let second = port("filter2", "role = \"filter\"\ndriver = \"memory\"");
        assert!(only(&format!("{alone}{second}")).starts_with("17:1: there is more than one `filter` port"));
    }

    #[test]
    fn to_divert_takes_a_filter_port() {
        let help = "add a `[[port]]` with `role = \"filter\"`, or choose `drop`, `reject` or `monitor`";
        assert_eq!(
            only("[[policy]]\nname = \"p\"\naction = \"divert\"\n"),
            format!("15:10: policy `p` diverts, but there is no `filter` port to divert to; {help}")
        );
        assert_eq!(
            only(
                "[[policy]]\nname = \"p\"\nphases = [{ name = \"x\", from = \"2006-06-01T00:00:00Z\", block = \"all\", action = \"divert\" }]\n"
            ),
            format!(
                "15:80: phase `x` of policy `p` diverts, but there is no `filter` port to divert to; {help}"
            )
        );
        // The role that cannot be read may be the filter's.
        let told = told(&format!(
            "{}[[policy]]\nname = \"p\"\naction = \"divert\"\n",
            PORTS.replace("subscriber", "fliter")
        ));
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(told[0].contains("did you mean `filter`?"));
    }

    #[test]
    fn a_driver_takes_its_own_keys_only() {
        let with = |driver: &str| told(&PORTS.replacen("driver = \"memory\"", driver, 1));
        assert_eq!(
            with("driver = \"pcap\"\ndevice = \"eth1\""),
            [
                "7:1: `device` is no key of the driver `pcap`; the driver `pcap` takes `read`, `write`, `rate`; \
              `device` belongs to `packet`, `xdp`, `dpdk`"
            ]
        );
        assert_eq!(
            with("driver = \"memory\"\nrate = \"capture\""),
            [
                "7:1: `rate` is no key of the driver `memory`; remove it: the driver `memory` has no keys of its own"
            ]
        );
        assert_eq!(
            with("driver = \"packet\"\nread = \"x\"\ndevice = \"eth1\""),
            [
                "7:1: `read` is no key of the driver `packet`; the driver `packet` takes `device`, `receive-ring`; `read` belongs to `pcap`"
            ]
        );
        assert_eq!(with("driver = \"xdp\""), ["2:1: port `access` has no `device`; add `device = \"eth1\"`"]);
        assert_eq!(with("driver = \"xdp\"\ndevice = \"eth1\""), Vec::<String>::new());
        assert_eq!(with("driver = \"xdp\"\ndevice = \"eth1\"\nmode = \"skb\"").len(), 1);
        assert_eq!(
            with("driver = \"packet\"\ndevice = \"eth1\"\nzero-copy = \"on\""),
            ["8:1: `zero-copy` is no key of the driver `packet`; the driver `packet` takes `device`, \
              `receive-ring`; `zero-copy` belongs to `xdp`"]
        );
        assert_eq!(with("driver = \"afpacket\"").len(), 1);
        assert_eq!(with("driver = \"pcap\"\nrate = \"slow\"").len(), 1);
        assert_eq!(
            with("driver = \"pcap\"\nread = \"\""),
            ["7:8: `` is no path; name a file, or leave `read` out"]
        );
    }

    #[test]
    fn a_device_has_a_name_that_the_kernel_takes() {
        let with = |driver: &str, device: &str| {
            told(&PORTS.replacen(
                "driver = \"memory\"",
                &format!("driver = \"{driver}\"\ndevice = \"{device}\""),
                1,
            ))
            .len()
        };
        assert_eq!(with("packet", "eth1.100"), 0);
        assert_eq!(with("dpdk", "net_af_packet0,iface=eth1,framesz=2048"), 0);
        for device in ["", ".", "..", "a/b", "a b", "sixteencharacter"] {
            assert_eq!(with("packet", device), 1, "{device}");
        }
        let twice = PORTS.replace("driver = \"memory\"", "driver = \"xdp\"\ndevice = \"eth1\"");
        assert_eq!(
            told(&twice),
            ["14:10: two ports have the device `eth1`; give each port a device of its own"]
        );
    }

    #[test]
    fn a_capture_that_is_written_is_nobody_else_s() {
        let with = |first: &str, second: &str| {
            let text = PORTS.replacen("driver = \"memory\"", &format!("driver = \"pcap\"\n{first}"), 1);
            told(&text.replacen("driver = \"memory\"", &format!("driver = \"pcap\"\n{second}"), 1))
        };
        assert!(with("read = \"in.pcap\"", "read = \"in.pcap\"").is_empty());
        assert!(with("write = \"/dev/null\"", "write = \"/dev/null\"").is_empty());
        assert_eq!(
            with("write = \"o.pcap\"", "write = \"./x/../o.pcap\""),
            ["14:9: two ports write this capture; write to a file of its own"]
        );
        assert_eq!(
            with("read = \"o.pcap\"", "write = \"o.pcap\""),
            ["14:9: this capture is both read and written; write to a file of its own"]
        );
        assert_eq!(
            with("read = \"o.pcap\"\nwrite = \"o.pcap\"", ""),
            ["8:9: this capture is both read and written; write to a file of its own"]
        );
    }

    #[test]
    fn one_file_by_two_names_is_one_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.pcap"), "").unwrap();
        std::os::unix::fs::symlink("a.pcap", folder.path().join("b.pcap")).unwrap();
        let text = PORTS.replacen(
            "driver = \"memory\"",
            "driver = \"pcap\"\nread = \"a.pcap\"\nwrite = \"b.pcap\"",
            1,
        );
        let error = Config::from_toml(&text, &folder.path().join("c.toml")).unwrap_err();
        assert_eq!(error.problems()[0].message, "this capture is both read and written");
    }
}

mod prefixes {
    use super::*;

    fn pools(first: &str, second: &str) -> String {
        format!(
            "[[policy]]\nname = \"p\"\n\
             [[pool]]\nname = \"a\"\npolicy = \"p\"\nprefixes = {first}\n\
             [[pool]]\nname = \"b\"\npolicy = \"p\"\nprefixes = {second}\n"
        )
    }

    #[test]
    fn a_prefix_stands_in_one_pool_and_once() {
        assert_eq!(
            only(&pools("[\"192.0.2.0/25\", \"192.0.2.0/25\"]", "[\"192.0.2.0/24\"]")),
            "18:29: `192.0.2.0/25` stands twice in pool `a`; remove one of the two"
        );
        accepted(&pools("[\"192.0.2.0/25\"]", "[\"192.0.2.0/24\"]"));
    }

    #[test]
    fn an_empty_pool_is_refused() {
        assert_eq!(
            only(&pools("[\"192.0.2.0/25\"]", "[]")),
            "22:12: pool `b` has no prefixes; give it at least one prefix; `--allow-empty` accepts it as it is"
        );
    }

    #[test]
    fn a_pool_whose_only_prefix_is_bad_is_not_called_empty() {
        assert_eq!(
            only(&pools("[\"192.0.2.0/25\"]", "[\"192.0.2.25\"]")),
            "22:13: `192.0.2.25` is an address, not a prefix; for this one address, write `192.0.2.25/32`"
        );
        assert!(
            only(&pools("[\"192.0.2.0/25\"]", "[25]"))
                .starts_with("22:13: a prefix must be a string, not a whole number")
        );
        assert!(
            only(&pools("[\"192.0.2.0/25\"]", "\"192.0.2.0/24\""))
                .starts_with("22:12: the prefixes of pool `b` must be a list, not a string")
        );
    }

    #[test]
    fn an_empty_set_that_is_allowed_is_refused_once() {
        assert_eq!(
            only(
                "[sets]\nnone = []\n[[policy]]\nname = \"p\"\nallow = [\"none\"]\n[[policy]]\nname = \"q\"\nallow = [\"none\"]\n"
            ),
            "17:10: policy `p` allows the set `none`, which has no prefixes; \
             give the set a prefix, or take it out of `allow`; `--allow-empty` accepts it"
        );
    }

    #[test]
    fn nat64_prefixes_are_those_of_rfc_6052() {
        let with = |prefix: &str| only(&format!("[checks]\nnat64-prefixes = [\"{prefix}\"]\n"));
        let help = "a NAT64 prefix is IPv6, of length 32, 40, 48, 56, 64 or 96 (RFC 6052 section 2.2)";
        assert_eq!(
            with("192.0.2.0/24"),
            format!(
                "14:19: `192.0.2.0/24` is an IPv4 prefix; NAT64 embeds IPv4 addresses in IPv6 ones; {help}"
            )
        );
        assert_eq!(
            with("2001:db8::/33"),
            format!(
                "14:19: `2001:db8::/33` is /33, a length that RFC 6052 has no place for an IPv4 address in; {help}"
            )
        );
        assert_eq!(
            with("2001:db8:64::1:0:0/64"),
            "14:19: `2001:db8:64::1:0:0/64` is a prefix with host bits set; write `2001:db8:64::/64`"
        );
        assert!(with("2001:db8:0:0:ff00::/96").contains("bits 64 to 71 are not zero"));
        assert_eq!(
            accepted("[checks]\nnat64-prefixes = [\"2001:db8::/32\", \"2001:db8::/32\"]\n")
                .checks
                .nat64_prefixes
                .len(),
            1
        );
    }

    /// A folder with a configuration and a file of prefixes beside it.
    fn with_file(name: &str, content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), content).unwrap();
        let path = folder.path().join("sekisho.toml");
        fs::write(
            &path,
            format!("{PORTS}{}", pools("[\"192.0.2.0/25\"]", &format!("{{ file = \"{name}\" }}"))),
        )
        .unwrap();
        (folder, path)
    }

    #[test]
    fn a_file_of_prefixes_has_comments_and_blank_lines() {
        let content =
            b"\xef\xbb\xbf# customers\r\n\r\n 198.51.100.0/24 # north\r\n2001:db8::/32\r\n\t203.0.113.0/24";
        let (_folder, path) = with_file("b.txt", content);
        let config = Config::load(&path).unwrap_or_else(|error| panic!("{error}"));
        let prefixes: Vec<_> = config.pools[1].prefixes.iter().map(ToString::to_string).collect();
        assert_eq!(prefixes, ["198.51.100.0/24", "2001:db8::/32", "203.0.113.0/24"]);
    }

    #[test]
    fn what_is_wrong_in_a_file_of_prefixes_is_shown_there() {
        let (folder, path) =
            with_file("b.txt", "# 関所\n  198.51.100.7/24 # 北\nnonsense\n192.0.2.0/25\n".as_bytes());
        let error = Config::load(&path).unwrap_err();
        let text = error.to_string().replace(folder.path().to_str().unwrap(), "DIR");
        assert_eq!(
            text,
            "\
error: `198.51.100.7/24` is a prefix with host bits set
 --> DIR/b.txt:2:3
  |
2 |   198.51.100.7/24 # 北
  |   ^^^^^^^^^^^^^^^
  |
  = help: write `198.51.100.0/24`, or `198.51.100.7/32` for the one address

error: `nonsense` is not a prefix
 --> DIR/b.txt:3:1
  |
3 | nonsense
  | ^^^^^^^^
  |
  = help: write an address and a length, such as `192.0.2.0/24` or `2001:db8::/32`

error: `192.0.2.0/25` is in pool `a` and in pool `b`
  --> DIR/b.txt:4:1
   |
 4 | 192.0.2.0/25
   | ^^^^^^^^^^^^
   |
   = help: a prefix is in one pool: remove it from the other, or give one of them a longer prefix
note: pool `a` has it here
  --> DIR/sekisho.toml:18:13
   |
18 | prefixes = [\"192.0.2.0/25\"]
   |             ^^^^^^^^^^^^^^

error: the configuration has 3 problems"
        );
    }

    #[test]
    fn a_file_without_prefixes_is_an_empty_pool() {
        let (_folder, path) = with_file("b.txt", b"# nobody yet\n\n");
        let error = Config::load(&path).unwrap_err();
        assert_eq!(error.problems()[0].message, "pool `b` has no prefixes");
        assert_eq!((error.problems()[0].line, error.problems()[0].column), (22, 12));
        assert!(
            Config::load_with(&path, LoadOptions { allow_empty: true, ..LoadOptions::default() }).is_ok()
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_is_refused_where_it_is_named() {
        let told = only(&pools("[\"192.0.2.0/25\"]", "{ file = \"none.txt\" }"));
        assert_eq!(
            told,
            "22:21: cannot read conf/none.txt: No such file or directory (os error 2); \
             the file is looked for relative to this configuration's folder"
        );
        assert!(
            only(&pools("[\"192.0.2.0/25\"]", "{ file = \"/dev/zero\" }")).contains("not a regular file")
        );
        assert!(only(&pools("[\"192.0.2.0/25\"]", "{ file = \"/\" }")).contains("is a directory"));
        assert!(only(&pools("[\"192.0.2.0/25\"]", r#"{ file = "a\u0000b" }"#)).contains("cannot read"));
    }

    #[test]
    fn a_file_that_is_not_utf_8_is_refused_with_the_offset() {
        let (_folder, path) = with_file("b.txt", b"192.0.2.128/25\n\xe9\n");
        let error = Config::load(&path).unwrap_err();
        assert_eq!(error.problems()[0].message, "not UTF-8: the byte at offset 15 begins no character");
        assert_eq!(error.found(), 1);
    }

    #[test]
    fn a_file_named_twice_is_read_and_judged_once() {
        let (folder, path) = with_file("b.txt", b"198.51.100.0/24\nnonsense\n");
        let text = format!("{PORTS}[sets]\none = {{ file = \"b.txt\" }}\ntwo = {{ file = \"b.txt\" }}\n");
        assert_eq!(Config::from_toml(&text, &path).unwrap_err().found(), 1);
        fs::write(folder.path().join("b.txt"), "198.51.100.0/24\n").unwrap();
        assert!(Config::from_toml(&text, &path).is_ok());
        let both = format!("{PORTS}{}", pools("{ file = \"b.txt\" }", "{ file = \"b.txt\" }"));
        assert_eq!(
            Config::from_toml(&both, &path).unwrap_err().problems()[0].message,
            "`198.51.100.0/24` is in pool `a` and in pool `b`: both take this file"
        );
    }

    #[test]
    fn a_hundred_thousand_prefixes_take_no_quadratic_time() {
        let prefixes = |from: u32| {
            let list: Vec<_> =
                (0..100_000).map(|n| format!("\"{}/32\"", std::net::Ipv4Addr::from(from + n))).collect();
            format!("[{}]", list.join(", "))
        };
        let started = Instant::now();
        let config = accepted(&pools(&prefixes(0x0a00_0000), &prefixes(0x1400_0000)));
        assert_eq!(config.pools[1].prefixes.len(), 100_000);
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    }

    #[test]
    fn a_hundred_thousand_problems_on_one_line_take_no_quadratic_time() {
        let list = vec!["\"192.0.2.1/24\""; 100_000].join(", ");
        let started = Instant::now();
        let error = load(&format!("{PORTS}[sets]\ns = [{list}]\n")).unwrap_err();
        assert_eq!((error.found(), error.problems().len()), (100_000, ConfigError::KEPT));
        assert_eq!(error.problems()[999].column, 6 + 999 * 16);
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    }

    #[test]
    fn a_hundred_thousand_unknown_names_take_no_quadratic_time() {
        let sets: String = (0..16_000).map(|n| format!("set-number-{n} = []\n")).collect();
        let names: Vec<_> = (0..100_000).map(|n| format!("\"sat-nember-{n}\"")).collect();
        let started = Instant::now();
        let text = format!("{PORTS}[sets]\n{sets}[[policy]]\nname = \"p\"\nallow = [{}]\n", names.join(", "));
        assert_eq!(load(&text).unwrap_err().found(), 100_000);
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    }
}

mod policies {
    use super::*;

    fn phase(rest: &str) -> String {
        format!("[sets]\ncarriers = []\n[[policy]]\nname = \"p\"\nphases = [{{ name = \"x\", {rest} }}]\n")
    }

    #[test]
    fn an_instant_names_its_offset_and_exists() {
        let told = only(&phase("from = \"2006-06-01T00:00:00\", block = \"all\""));
        assert_eq!(
            told,
            "17:32: `2006-06-01T00:00:00` is no instant: no UTC offset; \
             add the offset from UTC: `+09:00` behind the time for Japan, `Z` for UTC itself"
        );
        let told = only(&phase("from = \"2006-02-30T00:00:00+09:00\", block = \"all\""));
        assert_eq!(
            told,
            "17:32: `2006-02-30T00:00:00+09:00` is no instant: there is no 2006-02-30; the last day of 2006-02 is 28"
        );
        for native in ["2006-06-01T00:00:00", "2006-06-01", "00:00:00"] {
            assert!(
                only(&phase(&format!("from = {native}, block = \"all\""))).contains("no UTC offset"),
                "{native}"
            );
        }
        assert!(
            only(&phase("from = 1149087600, block = \"all\""))
                .contains("must be a date and time, not a whole number")
        );
    }

    #[test]
    fn a_native_date_is_kept_as_written() {
        let config = accepted(&phase("from = 2006-06-01 00:00:00.25+09:00, block = \"all\""));
        let phase = &config.policies[0].phases[0];
        assert_eq!(
            (phase.from_micros, phase.from_text.as_str()),
            (1_149_087_600_250_000, "2006-06-01 00:00:00.25+09:00")
        );
    }

    #[test]
    fn block_is_all_or_a_list_of_sets() {
        let with = |block: &str| only(&phase(&format!("from = \"2006-06-01T00:00:00Z\", block = {block}")));
        let help = "write `block = \"all\"`, or `block = [\"…\"]` with names of sets";
        assert_eq!(with("[]"), format!("17:64: `block` names no set: the phase would deny nothing; {help}"));
        assert_eq!(with("\"everything\""), format!("17:64: `everything` is no value of `block`; {help}"));
        assert_eq!(
            with("\"carriers\""),
            "17:64: `carriers` is no value of `block`; write it as a list: `block = [\"carriers\"]`"
        );
        assert_eq!(
            with("[\"all\"]"),
            "17:65: there is no set `all`; for every destination, write `block = \"all\"`"
        );
        assert_eq!(with("[\"carrier\"]"), "17:65: there is no set `carrier`; did you mean `carriers`?");
        assert_eq!(
            with("true"),
            format!("17:64: `block` must be `\"all\"` or a list of sets, not a truth value; {help}")
        );
        assert_eq!(with("[25]"), "17:65: `block` lists names, not a whole number; write names in quotes");
    }

    #[test]
    fn every_word_is_one_of_its_kind() {
        let with = |line: &str| only(&format!("[[policy]]\nname = \"p\"\n{line}\n"));
        assert_eq!(
            with("kind = \"exmpt\""),
            "15:8: `exmpt` is no value of `kind`; did you mean `exempt`? `kind` is one of `restrict`, `exempt`, `quarantine`"
        );
        assert_eq!(
            with("action = \"deny\""),
            "15:10: `deny` is no value of `action`; `action` is one of `drop`, `reject`, `divert`, `monitor`"
        );
        assert_eq!(
            with("reject-with = \"tcp\""),
            "15:15: `tcp` is no value of `reject-with`; `reject-with` is one of `rst`, `icmp`"
        );
        assert_eq!(
            with("divert-fallback = \"monitor\""),
            "15:19: `monitor` is no value of `divert-fallback`; `divert-fallback` is one of `reject`, `drop`"
        );
        assert!(
            only("[checks]\nsource-validation = \"loose\"\n")
                .contains("is one of `enforce`, `monitor`, `off`")
        );
    }
}

mod settings {
    use super::*;

    #[test]
    fn numbers_stay_within_sense() {
        for (key, low, high) in [
            ("l2-headers", 0, 16),
            ("extension-headers", 0, 64),
            ("fragments", 1, 16_777_216),
            ("fragments-per-source", 1, 16_777_216),
            ("reject-burst", 1, 1_000),
            ("reject-per-second", 0, 10_000_000),
        ] {
            for good in [low, high] {
                accepted(&format!("[limits]\n{key} = {good}\n"));
            }
            for bad in [low - 1, high + 1, i64::MAX] {
                let told = only(&format!("[limits]\n{key} = {bad}\n"));
                assert!(told.contains(&format!("`{key}` must lie between {low} and {high}")), "{told}");
            }
        }
        assert!(only("[limits]\nfragments = 99999999999999999999999999\n").contains("must lie between"));
        assert_eq!(accepted("[limits]\nfragments = 0x1_00\n").limits.fragments, 256);
        assert!(only("[dataplane]\nbatch = 257\n").contains("`batch` must lie between 1 and 256"));
        assert!(only("[dataplane]\nbatch = 0\n").contains("`batch` must lie between 1 and 256"));
    }

    #[test]
    fn durations_stay_within_sense() {
        assert_eq!(
            only("[limits]\nfragment-lifetime = \"soon\"\n"),
            "14:21: `soon` is not a duration; write whole numbers with units, such as `120s`, `1m30s`, `500ms` or `2h`"
        );
        assert_eq!(
            only("[limits]\nfragment-lifetime = \"500ms\"\n"),
            "14:21: `fragment-lifetime` must lie between 1s and 1h, not `500ms`; the default is `\"2m\"`"
        );
        assert!(only("[limits]\nfragment-lifetime = \"2h\"\n").contains("between 1s and 1h"));
        assert!(only("[limits]\nreject-interval = \"0s\"\n").contains("between 1ms and 1h"));
        assert_eq!(accepted("[limits]\nreject-interval = \"1ms\"\n").limits.reject_interval_micros, 1_000);
    }

    #[test]
    fn cores_are_numbers_each_once() {
        assert_eq!(accepted("[dataplane]\ncores = [3, 0]\n").dataplane.cores, Some(vec![3, 0]));
        assert_eq!(
            only("[dataplane]\ncores = []\n"),
            "14:9: `cores` names no core; name one core per worker, or leave `cores` out"
        );
        assert_eq!(
            only("[dataplane]\ncores = [1, 1]\n"),
            "14:13: core 1 is named twice; one core has one worker: name it once"
        );
        assert!(only("[dataplane]\ncores = [-1]\n").starts_with("14:10: not the number of a core"));
        assert!(only("[dataplane]\ncores = [\"0-3\"]\n").starts_with("14:10: not the number of a core"));
    }

    #[test]
    fn metrics_listen_on_an_address_with_a_port() {
        let help = "write an address and a port, such as `127.0.0.1:9925` or `[::1]:9925`";
        for text in ["127.0.0.1", "localhost:9925", ":9925", "127.0.0.1:99999"] {
            assert_eq!(
                only(&format!("[metrics]\nlisten = \"{text}\"\n")),
                format!("14:10: `{text}` is no address to listen on; {help}")
            );
        }
    }

    #[test]
    fn a_socket_has_a_path_that_the_kernel_takes() {
        assert_eq!(accepted("[control]\nsocket = \"c.sock\"\n").socket(), Some(Path::new("conf/c.sock")));
        assert!(
            only(&format!("[control]\nsocket = \"/{}\"\n", "x".repeat(107)))
                .contains("has at most 107 bytes, this one 108")
        );
        assert!(only("[control]\nsocket = \"\"\n").contains("is no path"));
        assert!(only("[control]\nstate = \"\"\n").contains("is no path"));
    }

    #[test]
    fn a_daemon_on_live_ports_has_a_socket_and_a_state_folder_unasked_one_on_captures_has_not() {
        let offline = accepted("");
        assert_eq!((offline.socket(), offline.state()), (None, None));
        let live = load(&PORTS.replace("\"memory\"", "\"packet\"\ndevice = \"DEV\"").replacen("DEV", "a", 1));
        let live = live.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(live.socket(), Some(Path::new("/run/sekisho/control.sock")));
        assert_eq!(live.state(), Some(Path::new("/var/lib/sekisho")));
    }

    #[test]
    fn a_worker_with_nothing_to_do_is_busy_adaptive_or_interrupted() {
        for (word, poll) in
            [("busy", Poll::Busy), ("adaptive", Poll::Adaptive), ("interrupt", Poll::Interrupt)]
        {
            let text = format!("[dataplane]\npoll = \"{word}\"\n");
            assert_eq!(accepted(&text).dataplane.poll, poll);
        }
        assert!(only("[dataplane]\npoll = \"adaptiv\"\n").contains("did you mean `adaptive`?"));
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_loader_panic(text in ".*") {
        let _ = load(&text).map_err(|error| (error.render(Colour::On), error.to_string()));
    }

    #[test]
    fn no_bytes_make_the_loader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        fs::write(&path, bytes).unwrap();
        let _ = Config::load(&path).map_err(|error| error.to_string());
    }

    #[test]
    fn no_file_of_prefixes_makes_the_loader_panic(text in "([0-9a-f:./# \t\r\n関]|.)*") {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("p.txt"), text).unwrap();
        let config = format!("{PORTS}[sets]\ns = {{ file = \"p.txt\" }}\n");
        let _ = Config::from_toml(&config, &folder.path().join("a.toml")).map_err(|error| error.to_string());
    }

    #[test]
    fn no_change_of_a_good_configuration_makes_the_loader_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..12, "[\\[\\]{}=\"'#,.\\-_a-z0-9関 \n\t\r\\\\]{0,6}"), 1..6)
    ) {
        let mut text = EVERY_KEY.to_owned();
        for (at, length, replacement) in changes {
            let mut start = at.index(text.len());
            let mut end = (start + length).min(text.len());
            while !text.is_char_boundary(start) { start -= 1; }
            while !text.is_char_boundary(end) { end += 1; }
            text.replace_range(start..end, &replacement);
        }
        match load(&text) {
            Ok(_) => {}
            Err(error) => {
                prop_assert!(error.found() > 0 && !error.problems().is_empty());
                prop_assert!(error.problems().iter().all(|problem| problem.line >= 1 && problem.column >= 1));
                for line in error.to_string().lines() {
                    prop_assert!(unicode_width::UnicodeWidthStr::width(line) <= 100, "{}", line);
                }
            }
        }
    }
}

/// `health` of a filter port, in a configuration that is otherwise good.
fn with_health(health: &str) -> Result<Config, ConfigError> {
    let filter = "[[port]]\nname = \"f\"\nrole = \"filter\"\ndriver = \"memory\"\n";
    Config::from_toml(&format!("{PORTS}{filter}health = {health}\n"), Path::new("s.toml"))
}

#[test]
fn a_filters_check_has_defaults() {
    let health = |text: &str| with_health(text).unwrap_or_else(|e| panic!("{e}")).ports[2].health.clone();
    let arp = Health {
        check: HealthCheck::Arp,
        address: "192.0.2.99".parse().unwrap(),
        tcp_port: 25,
        source: None,
        vlan: None,
        interval_micros: 1_000_000,
        fail_after: 3,
    };
    assert_eq!(health("{ check = \"arp\", address = \"192.0.2.99\" }"), Some(arp.clone()));
    let tcp = Health {
        check: HealthCheck::Tcp,
        tcp_port: 2525,
        source: Some("192.0.2.98".parse().unwrap()),
        vlan: Some(4094),
        interval_micros: 500_000,
        fail_after: 1,
        ..arp
    };
    let text = "{ check = \"tcp\", address = \"192.0.2.99\", tcp-port = 2525, source = \"192.0.2.98\", \
                vlan = 4094, interval = \"500ms\", fail-after = 1 }";
    assert_eq!(health(text), Some(tcp));
    assert!(health("{ check = \"nd\", address = \"2001:db8::99\" }").is_some());
}

#[test]
fn a_check_that_could_not_work_is_refused_at_its_place() {
    for (health, place, message) in [
        ("{ address = \"192.0.2.99\" }", "17:10", "has no `check`"),
        ("{ check = \"ping\", address = \"192.0.2.99\" }", "17:20", "no value of `check`"),
        ("{ check = \"arp\" }", "17:10", "has no `address`"),
        ("{ check = \"arp\", address = \"filter\" }", "17:37", "no address of a host"),
        ("{ check = \"arp\", address = \"224.0.0.1\" }", "17:37", "no address of a host"),
        ("{ check = \"arp\", address = \"2001:db8::9\" }", "17:37", "ARP finds no IPv6 address"),
        ("{ check = \"nd\", address = \"192.0.2.99\" }", "17:36", "ND finds no IPv4 address"),
        ("{ check = \"tcp\", address = \"192.0.2.99\" }", "17:10", "has no `source`"),
        ("{ check = \"arp\", address = \"192.0.2.9\", tcp-port = 25 }", "17:50", "belongs to `check"),
        ("{ check = \"arp\", address = \"192.0.2.9\", source = \"192.0.2.9\" }", "17:59", "own address"),
        ("{ check = \"arp\", address = \"192.0.2.9\", source = \"::9\" }", "17:59", "another version"),
        ("{ check = \"arp\", address = \"192.0.2.9\", interval = \"1ms\" }", "17:61", "must lie between"),
        ("{ check = \"arp\", address = \"192.0.2.9\", fail-after = 0 }", "17:63", "must lie between"),
        ("{ check = \"arp\", address = \"192.0.2.9\", vlan = 4095 }", "17:57", "must lie between"),
        ("{ check = \"arp\", address = \"192.0.2.9\", every = \"1s\" }", "17:50", "unknown key `every`"),
        ("\"arp\"", "17:10", "must be a table"),
    ] {
        let told = with_health(health).expect_err(health).to_string();
        assert!(told.contains(message) && told.contains(&format!("s.toml:{place}")), "{health}: {told}");
    }
    let text = PORTS.replacen("peer", "health = { check = \"arp\", address = \"192.0.2.9\" }\npeer", 1);
    let told = Config::from_toml(&text, Path::new("s.toml")).unwrap_err().to_string();
    assert!(told.contains("belongs to a `filter` port") && told.contains("s.toml:5:1"), "{told}");
}
