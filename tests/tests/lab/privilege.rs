//! What each thread of a daemon that was started as root may do, and who may speak to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use sekisho_tests::lab::address::{DYNAMIC, WORLD};
use sekisho_tests::lab::configuration::{Configuration, driver};
use sekisho_tests::lab::daemon::{Daemon, argument};
use sekisho_tests::lab::frame::Side;
use sekisho_tests::lab::traffic::Flow;
use sekisho_tests::lab::{Lab, await_that};

/// `CAP_NET_ADMIN` and `CAP_NET_RAW`, `CAP_BPF` and `CAP_IPC_LOCK`; `CAP_DAC_READ_SEARCH` (linux/capability.h).
const PORTS: u64 = 1 << 12 | 1 << 13;
const PROGRAMS: u64 = 1 << 39;
const LOCK_MEMORY: u64 = 1 << 14;
const READ_FILES: u64 = 1 << 2;

/// Of each thread by its name: the lines of its `status`.
fn threads(daemon: &Daemon<'_>) -> Vec<(String, BTreeMap<String, String>)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).expect("it lives");
    let of = |folder: std::path::PathBuf| -> Option<_> {
        let status = fs::read_to_string(folder.join("status")).ok()?;
        let lines = status.lines().filter_map(|line| line.split_once(":\t"));
        let name = fs::read_to_string(folder.join("comm")).ok()?.trim().to_owned();
        Some((name, lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()))
    };
    tasks.flatten().filter_map(|entry| of(entry.path())).collect()
}

fn set(status: &BTreeMap<String, String>, name: &str) -> u64 {
    u64::from_str_radix(&status[name], 16).unwrap_or_else(|_| panic!("{name}: {status:?}"))
}

#[test]
fn started_as_root_workers_keep_what_opens_a_port_again_and_no_other_thread_any_of_it() {
    let lab = Lab::new();
    let sekisho = lab.start(&Configuration::phase_2());
    let all = threads(&sekisho);
    let mut names: Vec<&str> = all.iter().map(|(name, _)| &**name).collect();
    names.sort_unstable();
    for name in ["sekisho", "sekisho-tables", "sekisho-w0"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    for (name, status) in &all {
        let kept = match &**name {
            "sekisho-w0" if driver() == "xdp" => PORTS | PROGRAMS | LOCK_MEMORY,
            "sekisho-w0" => PORTS,
            "sekisho-tables" | "sekisho-readers" => READ_FILES,
            _ => 0,
        };
        assert_eq!((set(status, "CapPrm"), set(status, "CapEff")), (kept, kept), "{name}: {status:?}");
        for empty in ["CapInh", "CapBnd", "CapAmb"] {
            assert_eq!(set(status, empty), 0, "{name}: {empty}");
        }
        assert_eq!(status["NoNewPrivs"], "1", "{name}");
    }

    // It is enough: a port comes back, a reload reads its files, what began is written down.
    let flow = Flow::udp(Side::Customer, (DYNAMIC[0], 5_000), (WORLD[0], 53));
    lab.cut("access");
    sekisho.await_status("the port is down", |status| status["ports"][0]["up"] == false);
    lab.cable("access");
    lab.address_subscriber();
    sekisho.await_status("the port is up again", |status| status["ports"][0]["up"] == true);
    let traffic = lab.traffic(std::slice::from_ref(&flow));
    traffic.await_next(&flow);
    traffic.end();
    assert_eq!(sekisho.reload(&Configuration::phase_1()), Ok(2));
    assert!(lab.file("state/phases.json").exists());
    sekisho.end();
    assert!(!lab.file("control.sock").exists(), "the socket is removed at the end");
}

#[test]
fn metrics_are_served_by_a_thread_that_may_do_nothing() {
    let lab = Lab::new();
    lab.checkpoint.ip("link set lo up");
    let config = lab.file("sekisho.toml");
    let sekisho = lab.start(&Configuration { metrics: Some("127.0.0.1:9925"), ..Configuration::phase_2() });
    let (_, status) = threads(&sekisho)
        .into_iter()
        .find(|(name, _)| name == "sekisho-metrics")
        .unwrap_or_else(|| panic!("such a thread: {}", argument(&config)));
    assert_eq!((set(&status, "CapPrm"), &*status["NoNewPrivs"]), (0, "1"));
    let scraped = lab.checkpoint.run("curl", ["-s", "http://127.0.0.1:9925/metrics"]);
    assert!(scraped.contains("sekisho_generation 1"), "{scraped}");
    sekisho.end();
}

#[test]
fn the_sockets_group_may_change_what_is_in_force_and_others_may_not_connect() {
    /// A group that every Debian has.
    const GROUP: (&str, u32) = ("mail", 8);
    let lab = Lab::new();
    let sekisho = lab.start(&Configuration { group: Some(GROUP.0), ..Configuration::phase_2() });
    let socket = lab.file("control.sock");
    let metadata = fs::metadata(&socket).unwrap();
    assert_eq!((metadata.gid(), metadata.mode() & 0o777), (GROUP.1, 0o660));
    let copy = lab.file("sekisho");
    fs::copy(sekisho_tests::binary::sekisho(), &copy).unwrap();
    let group = GROUP.1.to_string();
    let command = |group: &str, command: &str| {
        let person = ["--reuid", "65534", "--regid", group, "--clear-groups", argument(&copy), command];
        let socket = ["--socket", argument(&socket)];
        lab.checkpoint.output("setpriv", person.iter().chain(&socket).copied()).status.code()
    };
    assert_eq!((command(&group, "status"), command(&group, "reload")), (Some(0), Some(0)));
    assert_eq!((command("65534", "status"), command("65534", "reload")), (Some(1), Some(1)));
    await_that("the reload is in force", || {
        sekisho.ask("status").is_ok_and(|status| status["generation"] == 2)
    });
    sekisho.end();
    let unknown = lab.refused(&Configuration { group: Some("nobodys-group"), ..Configuration::phase_2() });
    assert!(unknown.stderr.contains("addgroup --system nobodys-group"), "{unknown:?}");
}

const UNIT: &str = include_str!("../../../configs/systemd/sekisho.service");

/// The system calls of a set of systemd's, those within it included.
fn expanded(set: &str, calls: &mut BTreeSet<String>) {
    if !set.starts_with('@') {
        calls.insert(set.to_owned());
        return;
    }
    let told =
        Command::new("systemd-analyze").args(["syscall-filter", set]).output().expect("it is installed");
    let told = String::from_utf8(told.stdout).expect("names");
    let names = told.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    names.for_each(|name| expanded(name, calls));
}

/// What the unit lets through: its lines, one after the other.
fn let_through() -> BTreeSet<String> {
    let mut allowed = BTreeSet::new();
    for line in UNIT.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let mut named = BTreeSet::new();
        let (taken, names) = line.strip_prefix('~').map_or((false, line), |names| (true, names));
        names.split_whitespace().for_each(|set| expanded(set, &mut named));
        match taken {
            true => allowed.retain(|call| !named.contains(call)),
            false => allowed.extend(named),
        }
    }
    allowed
}

/// Ends with the test, however that ends.
struct Traced {
    strace: Child,
    daemon: Option<Pid>,
}

impl Drop for Traced {
    fn drop(&mut self) {
        // Its parent only looks on: what it traces has to be ended itself.
        if let Some(daemon) = self.daemon {
            let _ = kill_process(daemon, Signal::KILL);
        }
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

#[test]
fn the_units_filter_lets_through_every_system_call_of_a_daemons_life() {
    let lab = Lab::new();
    let (config, calls, log) = (lab.file("sekisho.toml"), lab.file("calls"), lab.file("traced.log"));
    let configuration =
        |group| Configuration { group, metrics: Some("127.0.0.1:9925"), ..Configuration::phase_2() };
    fs::write(&config, configuration(Some("mail")).to_toml()).unwrap();
    lab.checkpoint.ip("link set lo up");
    let open = || fs::File::options().create(true).append(true).open(&log).unwrap();
    let sekisho = sekisho_tests::binary::sekisho();
    let strace = lab
        .checkpoint
        .command("strace")
        .args(["-f", "-qq", "-o", argument(&calls), argument(sekisho), "run", "-c", argument(&config)])
        .stdin(Stdio::null())
        .stdout(open())
        .stderr(open())
        .spawn()
        .expect("strace is installed");
    let mut traced = Traced { strace, daemon: None };
    let socket = lab.file("control.sock");
    let ask = |words: &[&str]| {
        let told = lab.sekisho(words.iter().copied().chain(["--socket", argument(&socket), "--json"]));
        serde_json::from_str::<serde_json::Value>(&told.stdout).unwrap_or_default()
    };
    let up = |status: &serde_json::Value, up: bool| {
        status["ports"].as_array().is_some_and(|ports| ports.iter().all(|port| port["up"] == true) == up)
    };
    await_that("its ports are up", || up(&ask(&["status"]), true));
    let pid = ask(&["status"])["pid"].as_i64().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    traced.daemon = pid;
    assert_eq!(ask(&["reload"])["generation"], 2);
    ask(&["grant", "203.0.113.10", "--for", "1m", "--reason", "a-test"]);
    lab.checkpoint.run("curl", ["-s", "http://127.0.0.1:9925/metrics"]);
    lab.cut("access");
    await_that("a port is down", || up(&ask(&["status"]), false));
    lab.cable("access");
    await_that("it is up again", || up(&ask(&["status"]), true));
    kill_process(pid.expect("a process"), Signal::TERM).unwrap();
    await_that("it has ended", || traced.strace.try_wait().expect("a child").is_some());
    traced.daemon = None;

    let text = fs::read_to_string(&calls).unwrap();
    let name = |line: &str| -> Option<String> {
        let call = line.split_once(' ')?.1.trim_start();
        let call =
            call.strip_prefix("<... ").map_or_else(|| call.split_once('('), |rest| rest.split_once(' '));
        Some(call?.0.to_owned()).filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
    };
    // Who starts it is not filtered yet.
    let made: BTreeSet<String> = text.lines().filter_map(name).filter(|name| name != "execve").collect();
    for known in ["capset", "prctl", "setsockopt", "sched_setaffinity", "rename", "listen"] {
        assert!(made.contains(known), "{known} is among {made:?}");
    }
    // Which families of sockets it takes.
    let families = text.lines().filter_map(|line| line.split_once(" socket(")?.1.split_once(','));
    let taken =
        UNIT.lines().find_map(|line| line.strip_prefix("RestrictAddressFamilies=")).expect("they are named");
    for (family, _) in families {
        assert!(taken.split_whitespace().any(|name| name == family), "{family} is not among {taken}");
    }
    let refused: Vec<_> = made.difference(&let_through()).cloned().collect();
    assert!(refused.is_empty(), "the unit's filter refuses {refused:?}");
}
