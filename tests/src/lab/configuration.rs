//! Sekisho's configuration in the lab: `configs/nmtnet.toml`, made for two cables.

use std::fmt::Write;
use std::time::Duration;

use jiff::Timestamp;

/// The day of the notice: long past.
pub const PAST: &str = "2006-06-01T00:00:00+09:00";

/// An instant to come, for a phase.
pub fn in_future(after: Duration) -> String {
    let instant = Timestamp::now() + after;
    instant.to_string()
}

/// The driver that this run of the lab is about: the test program says it by its name, `lab` or `lab_xdp`.
pub fn driver() -> &'static str {
    let program = std::env::current_exe().ok().and_then(|path| Some(path.file_stem()?.to_owned()));
    match program.is_some_and(|name| name.to_string_lossy().starts_with("lab_xdp")) {
        true => "xdp",
        false => "packet",
    }
}

/// A phase of the policy for customers with dynamic addresses.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// Its instant.
    pub from: String,
    /// What it denies, as TOML.
    pub block: &'static str,
    /// It is only watched.
    pub watched: bool,
}

impl Phase {
    /// The notice's first: mobile carriers.
    pub fn carriers(from: impl Into<String>) -> Phase {
        Phase {
            name: "mobile-carriers".to_owned(),
            from: from.into(),
            block: r#"["mobile-carriers"]"#,
            watched: false,
        }
    }

    /// The notice's second: everyone.
    pub fn everyone(from: impl Into<String>) -> Phase {
        Phase { name: "all-operators".to_owned(), from: from.into(), block: r#""all""#, watched: false }
    }
}

/// What differs from scenario to scenario.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The phases.
    pub phases: Vec<Phase>,
    /// The sets that stay reachable.
    pub allow: &'static str,
    /// What a deny does.
    pub action: &'static str,
    /// What a worker does while there is nothing to do.
    pub poll: &'static str,
    /// The workers' cores.
    pub cores: Vec<usize>,
    /// How a reject answers.
    pub reject_with: &'static str,
    /// Answers that a customer gets at once.
    pub reject_burst: u32,
    /// After how long it gets one more.
    pub reject_interval: &'static str,
    /// The ports' driver, and keys of its own, as TOML.
    pub driver: String,
    /// Whether there is a filter port, and what TOML it has beside the keys that it needs.
    pub filter: Option<String>,
    /// The dynamic customers' prefixes, as TOML.
    pub dynamic: &'static str,
    /// Pools besides, as TOML.
    pub pools: &'static str,
    /// The group of the control socket, if it is to have one of its own.
    pub group: Option<&'static str>,
    /// Where metrics are served, if they are.
    pub metrics: Option<&'static str>,
}

impl Phase {
    /// It denies nobody, and counts whom it would have denied.
    pub fn watched(self) -> Phase {
        Phase { watched: true, ..self }
    }
}

impl Configuration {
    /// With these phases, and denied connections refused with a RST.
    pub fn new(phases: impl IntoIterator<Item = Phase>) -> Configuration {
        Configuration {
            phases: phases.into_iter().collect(),
            allow: r#"["own-msa"]"#,
            action: "reject",
            // Other labs, and whatever the machine is for, need its cores as well.
            poll: "adaptive",
            cores: vec![0],
            reject_with: "rst",
            // Tests ask more often than people.
            reject_burst: 1000,
            reject_interval: "10s",
            driver: format!("driver = \"{}\"", driver()),
            filter: None,
            dynamic: r#"["203.0.113.0/25", "2001:db8:d000::/36"]"#,
            pools: "",
            group: None,
            metrics: None,
        }
    }

    /// Phase 1 is in force.
    pub fn phase_1() -> Configuration {
        Configuration::new([Phase::carriers(PAST), Phase::everyone("2100-01-01T00:00:00Z")])
    }

    /// Phase 2 is in force as well.
    pub fn phase_2() -> Configuration {
        Configuration::new([Phase::carriers(PAST), Phase::everyone(PAST)])
    }

    /// With another action.
    pub fn action(self, action: &'static str) -> Configuration {
        Configuration { action, ..self }
    }

    /// With another kind of answer.
    pub fn reject_with(self, reject_with: &'static str) -> Configuration {
        Configuration { reject_with, ..self }
    }

    /// Diverting to a filter; its port has these keys besides.
    pub fn divert(self, keys: &str) -> Configuration {
        Configuration { action: "divert", filter: Some(keys.to_owned()), ..self }
    }

    /// With driver `xdp` in this mode.
    pub fn xdp(self, mode: &str) -> Configuration {
        Configuration { driver: format!("driver = \"xdp\"\nmode = \"{mode}\""), ..self }
    }

    /// How many ports there are.
    pub fn ports(&self) -> usize {
        4 + usize::from(self.filter.is_some())
    }

    /// As a file.
    pub fn to_toml(&self) -> String {
        let Configuration { phases, action, poll, cores, reject_with, reject_burst, .. } = self;
        let Configuration { reject_interval, filter, allow, driver, dynamic, pools, .. } = self;
        let filter = filter.as_ref().map_or(String::new(), |keys| {
            format!(
                "\n[[port]]\nname = \"filter\"\nrole = \"filter\"\n{driver}\ndevice = \"filter\"\n{keys}\n"
            )
        });
        // One port of driver `packet` receives the other way.
        let ring = if driver.contains("packet") { "receive-ring = \"slots\"" } else { "" };
        let group = self.group.map_or(String::new(), |group| format!("group = \"{group}\""));
        let metrics = self.metrics.map_or(String::new(), |at| format!("\n[metrics]\nlisten = \"{at}\"\n"));
        let mut listed = String::new();
        for Phase { name, from, block, watched } in phases {
            let action = if *watched { ", action = \"monitor\"" } else { "" };
            let _ =
                write!(listed, "\n  {{ name = \"{name}\", from = \"{from}\", block = {block}{action} }},");
        }
        format!(
            r#"
[dataplane]
mode = "bridge"
cores = {cores:?}
poll = "{poll}"

[[port]]
name = "access"
role = "subscriber"
peer = "core"
{driver}
device = "access"

[[port]]
name = "core"
role = "internet"
peer = "access"
{driver}
device = "core"

[[port]]
name = "mail"
role = "servers"
peer = "mail-up"
{driver}
device = "mail"
{ring}

[[port]]
name = "mail-up"
role = "internet"
peer = "mail"
{driver}
device = "mail-up"
{filter}
[sets]
own-msa = ["192.0.2.25/32", "2001:db8:a::25/128"]
mobile-carriers = ["198.51.100.128/27", "3fff:a00::/48"]

[[policy]]
name = "dynamic"
allow = {allow}
action = "{action}"
reject-with = "{reject_with}"
phases = [{listed}
]

[[policy]]
name = "static"
kind = "exempt"

[[pool]]
name = "my-b-flets"
title = "My-BフレッツF/M-B"
policy = "dynamic"
prefixes = {dynamic}

[[pool]]
name = "static"
policy = "static"
prefixes = ["198.51.100.0/25", "2001:db8:1000::/36"]
{pools}
[checks]
source-validation = "enforce"

[limits]
reject-burst = {reject_burst}
reject-interval = "{reject_interval}"

[control]
socket = "control.sock"
state = "state"
{group}{metrics}
"#
        )
    }
}
