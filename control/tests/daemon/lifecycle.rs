//! How the daemon starts, ends, and is told to by the system.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::host::{CUSTOMER, Host, OUTSIDE, PATIENCE, TABLES, tcp};

#[test]
fn sigterm_and_sigint_end_it_with_the_summary_and_the_socket_removed() {
    for signal in [Signal::TERM, Signal::INT] {
        let host = Host::new();
        let daemon = host.start();
        host.client().wait_for_traffic();
        daemon.signal(signal);
        let ended = daemon.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stdout.contains("generation 1, 1 worker on core"), "{}", ended.stdout);
        assert!(ended.stdout.contains("submission") && ended.stdout.contains("received"), "{}", ended.stdout);
        assert!(ended.stderr.contains("control socket"), "{}", ended.stderr);
        assert!(!host.socket().exists());
    }
}

#[test]
fn subscribers_hear_that_it_ends() {
    let host = Host::new();
    let daemon = host.start();
    let mut client = host.client();
    client.call("subscribe", json!({ "counters": false })).unwrap();
    daemon.signal(Signal::TERM);
    assert_eq!(client.line().unwrap()["params"]["event"], "stopping");
    assert!(client.line().is_none());
    assert_eq!(daemon.wait().code, Some(0));
}

#[test]
fn with_captures_that_end_it_ends_by_itself() {
    let host = Host::new();
    let frames = [tcp(CUSTOMER, OUTSIDE, 587), tcp(CUSTOMER, OUTSIDE, 25)];
    host.capture("traffic.pcap", frames.iter(), Duration::from_millis(500));
    let daemon = host.start();
    let ended = daemon.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("of 2 received"), "{}", ended.stdout);
}

#[test]
fn captures_without_a_control_section_need_no_socket_and_leave_nothing_behind() {
    let host = Host::new();
    host.capture("traffic.pcap", [tcp(CUSTOMER, OUTSIDE, 587)].iter(), Duration::ZERO);
    let whole = host.whole(TABLES);
    let control = whole.find("[control]").unwrap();
    let ports = whole.find("[[port]]").unwrap();
    host.write("sekisho.toml", &format!("{}{}", &whole[..control], &whole[ports..]));
    let output = host.run(&["run", "-c", "sekisho.toml"]);
    assert!(output.status.success());
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!host.path("run").exists() && !host.path("state").exists());
}

#[test]
fn a_second_daemon_on_the_same_socket_is_refused_and_the_first_goes_on() {
    let host = Host::new();
    let _daemon = host.start();
    let told = host.refused(&["run", "-c", "sekisho.toml"]);
    assert!(told.contains("another daemon answers there"), "{told}");
    host.client().wait_for_traffic();
}

#[test]
fn a_stale_socket_is_replaced_and_what_is_no_socket_is_left_alone() {
    let host = Host::new();
    fs::create_dir_all(host.path("run")).unwrap();
    drop(UnixListener::bind(host.socket()).unwrap());
    let daemon = host.start();
    host.client().ask("status");
    daemon.kill();
    let daemon = host.start();
    host.client().ask("status");
    daemon.stop();
    host.write("run/control.sock", "precious");
    assert!(host.refused(&["run", "-c", "sekisho.toml"]).contains("not a socket"));
    assert_eq!(fs::read_to_string(host.socket()).unwrap(), "precious");
}

#[test]
fn the_socket_is_for_its_group_and_whoever_else_gets_in_only_reads() {
    let host = Host::new();
    let _daemon = host.start();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&host.socket()), 0o660);
    if !rustix::process::geteuid().is_root() {
        // Nobody else can be played.
        return;
    }
    let folder = host.socket().parent().unwrap().parent().unwrap().to_owned();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let as_nobody = |arguments: &[&str]| {
        // It may not be able to reach the binary where cargo put it.
        let mut command = host.command(arguments);
        command.uid(65_534).gid(65_534).current_dir("/").output()
    };
    let Ok(output) = as_nobody(&["status"]) else { return };
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("permission denied"), "{told}");

    fs::set_permissions(host.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    assert!(as_nobody(&["status"]).unwrap().status.success(), "others may read");
    assert!(as_nobody(&["reload", "--dry-run"]).unwrap().status.success());
    for change in [&["reload"][..], &["reload", "--dry-run", "/etc/passwd"], &["capture", "-w", "/dev/null"]]
    {
        let output = as_nobody(change).unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("not permitted"), "{told}");
    }
    let mut client = host.client();
    assert_eq!(client.ask("status")["generation"], 1);
}

/// What a service manager is told until something is told.
fn told_until(manager: &UnixDatagram, wanted: &str) -> Vec<String> {
    let mut all = Vec::new();
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "no {wanted} in {all:?}");
        let mut message = [0; 4096];
        let Ok(length) = manager.recv(&mut message) else { continue };
        let message = String::from_utf8(message[..length].to_vec()).unwrap();
        let found = message.lines().any(|line| line == wanted);
        all.push(message);
        if found {
            return all;
        }
    }
}

#[test]
fn the_service_manager_is_told_of_start_reload_progress_and_end() {
    let host = Host::new();
    let manager = UnixDatagram::bind(host.path("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let daemon = host.start_with(|command| {
        command.env("NOTIFY_SOCKET", host.path("notify")).env("WATCHDOG_USEC", "1000000");
    });
    let ready = told_until(&manager, "READY=1");
    assert!(ready.last().unwrap().contains("STATUS=generation 1, 1 worker"), "{ready:?}");
    told_until(&manager, "WATCHDOG=1");

    daemon.signal(Signal::HUP);
    let reloading = told_until(&manager, "RELOADING=1").pop().unwrap();
    let clock = fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = clock.split_whitespace().next().unwrap().parse().unwrap();
    let micros = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
    let seconds = micros.parse::<u64>().unwrap() as f64 / 1e6;
    assert!((uptime - seconds).abs() < 30.0, "{seconds} and {uptime}");
    let ready = told_until(&manager, "READY=1");
    assert!(ready.last().unwrap().contains("STATUS=generation 2"), "{ready:?}");

    host.configure("nonsense");
    daemon.signal(Signal::HUP);
    told_until(&manager, "RELOADING=1");
    told_until(&manager, "READY=1");
    // The workers make progress, twice a second.
    let begun = Instant::now();
    told_until(&manager, "WATCHDOG=1");
    told_until(&manager, "WATCHDOG=1");
    assert!(begun.elapsed() < Duration::from_secs(5));
    daemon.signal(Signal::TERM);
    told_until(&manager, "STOPPING=1");
    assert_eq!(daemon.wait().code, Some(0));
}

#[test]
fn a_core_that_is_not_there_is_refused() {
    let host = Host::new();
    let text = host.whole(TABLES);
    let start = text.find("cores = [").unwrap() + "cores = [".len();
    let end = start + text[start..].find(']').unwrap();
    host.write("sekisho.toml", &format!("{}1023{}", &text[..start], &text[end..]));
    let told = host.refused(&["run", "-c", "sekisho.toml"]);
    assert!(told.contains("core 1023 of `cores` is not available"), "{told}");
    assert!(!host.socket().exists());
}
