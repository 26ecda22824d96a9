//! The Debian package, from its installation to its removal.

use std::fs;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use sekisho_tests::binary;
use sekisho_tests::lab::address::{DYNAMIC, WORLD};
use sekisho_tests::lab::configuration::Configuration;
use sekisho_tests::lab::installation::Installation;
use sekisho_tests::lab::mail::{Handed, Letter};
use sekisho_tests::lab::{Lab, await_that};
use serde_json::Value;

/// Ends with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `PrivateTmp=` does, and then the rest.
const PRIVATE_TMP: &str = "mount -t tmpfs tmpfs /tmp && exec \"$@\"";
const UNIT: &str = "/usr/lib/systemd/system/sekisho.service";

/// How it is enabled.
const WANTED: &str = "/etc/systemd/system/multi-user.target.wants/sekisho.service";
/// What is not in the package and shall go with it.
const TRACES: [&str; 5] =
    ["/var/lib/sekisho", "/run/sekisho", "/etc/sekisho", WANTED, "/etc/systemd/system/sekisho.service"];

/// The values of a key of the unit.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn lintian_finds_nothing_in_the_package_that_is_not_overridden_with_a_reason() {
    let package = binary::package();
    let found = Command::new("lintian")
        .args(["--no-cfg", "--allow-root", "--fail-on", "error,warning"])
        .arg(package)
        .output();
    let found = found.expect("lintian is installed");
    let told = [found.stdout, found.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(found.status.success() && told.concat().trim().is_empty(), "{}", told.concat());
}

#[test]
fn the_package_is_installed_sends_mail_as_its_unit_would_be_started_and_is_removed_without_a_trace() {
    let lab = Lab::new();
    let world = lab.world_mail_server();
    let host = Installation::new(&lab);
    host.copy(binary::package(), "/root/sekisho.deb");
    host.run("dpkg", ["--install", "/root/sekisho.deb"]);

    let listed = host.run("dpkg", ["--listfiles", "sekisho"]);
    let files: Vec<&str> = listed.lines().filter(|path| path.contains("sekisho")).collect();
    for file in [
        "/usr/bin/sekisho",
        "/usr/share/man/man1/sekisho.1.gz",
        "/usr/share/man/man1/sekisho-doctor.1.gz",
        "/usr/share/man/man5/sekisho.toml.5.gz",
        "/usr/share/bash-completion/completions/sekisho",
        "/usr/share/zsh/vendor-completions/_sekisho",
        "/usr/share/fish/vendor_completions.d/sekisho.fish",
        "/usr/share/doc/sekisho/examples/nmtnet.toml",
        UNIT,
    ] {
        assert!(files.contains(&file), "{file} is in the package: {listed}");
    }
    host.run("bash", ["-n", "/usr/share/bash-completion/completions/sekisho"]);
    host.run("sekisho", ["check", "-c", "/usr/share/doc/sekisho/examples/nmtnet.toml"]);
    host.run("systemd-analyze", ["verify", "--man=no", UNIT]);
    // It is 2.3; what is added to the unit shall not open much again.
    host.run("systemd-analyze", ["security", "--offline=true", "--threshold=24", UNIT]);

    // As an administrator does; without systemd at work that makes the link and no more.
    host.run("systemctl", ["enable", "sekisho"]);
    host.run("test", ["-L", WANTED]);

    // The folders of the unit are the daemon's own: nothing is said of them.
    let configuration = Configuration::phase_2().to_toml();
    let (configuration, _) =
        configuration.split_once("[control]").expect("the lab names a socket of its own");
    let file = lab.file("sekisho.toml");
    fs::write(&file, configuration).unwrap();
    host.copy(&file, "/etc/sekisho/sekisho.toml");

    let unit = host.run("cat", [UNIT]);
    let [start] = values(&unit, "ExecStart")[..] else { panic!("one ExecStart: {unit}") };
    let [user] = values(&unit, "User")[..] else { panic!("one User: {unit}") };
    let [group] = values(&unit, "Group")[..] else { panic!("one Group: {unit}") };
    let [ambient] = values(&unit, "AmbientCapabilities")[..] else { panic!("one set: {unit}") };
    assert_eq!(values(&unit, "PrivateTmp"), ["yes"]);
    let capabilities: String = ambient
        .split_whitespace()
        .map(|name| format!(",+{}", name.trim_start_matches("CAP_").to_lowercase()))
        .collect();
    let capabilities = format!("-all{capabilities}");
    let log = fs::File::create(lab.file("sekisho.log")).unwrap();
    let mut running = Running(
        lab.checkpoint
            .command("nsenter")
            .args(host.entered())
            .args(["unshare", "--mount", "--propagation", "private", "sh", "-c", PRIVATE_TMP, "sh"])
            .args(["setpriv", "--reuid", user, "--regid", group, "--clear-groups", "--no-new-privs"])
            .args(["--inh-caps", &capabilities, "--ambient-caps", &capabilities])
            .args(["--bounding-set", &capabilities])
            .args(start.split_whitespace())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap(),
    );
    let printed = || fs::read_to_string(lab.file("sekisho.log")).unwrap_or_default();
    await_that("the installed daemon's ports are up", || {
        assert_eq!(running.0.try_wait().unwrap(), None, "{}", printed());
        let status = host.output("sekisho", ["status", "--json"]);
        let status: Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
        status["ports"].as_array().is_some_and(|ports| ports.iter().all(|port| port["up"] == true))
    });
    let privileges = fs::read_to_string(format!("/proc/{}/status", running.0.id())).unwrap();
    assert!(!privileges.contains("Uid:\t0"), "it is not root: {privileges}");

    let direct = Letter {
        from: DYNAMIC[0],
        server: WORLD[0],
        port: 25,
        with_password: false,
        domain: world.domain,
        subject: "through the package",
    };
    assert_eq!(lab.hand_over(&direct), Handed::Refused);
    let submitted = Letter { port: 587, with_password: true, ..direct };
    assert_eq!(lab.hand_over(&submitted), Handed::Over);
    world.await_mail("through the package");

    // What the unit hides from the daemon is there for whoever asks: the refusal says so, and what to do.
    host.copy(&file, "/tmp/other.toml");
    for words in [&["reload", "/tmp/other.toml"][..], &["reload", "--dry-run", "/tmp/other.toml"]] {
        let output = host.output("sekisho", words);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        for part in ["this command can read /tmp/other.toml", "PrivateTmp=", "/etc/sekisho/"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(told.lines().all(|line| line.chars().count() <= 100), "{told}");
    }
    let nowhere = host.output("sekisho", ["reload", "/tmp/nowhere.toml"]);
    assert!(!String::from_utf8_lossy(&nowhere.stderr).contains("PrivateTmp="), "nobody can read that");
    host.run("install", ["-m", "640", "-g", group, "/tmp/other.toml", "/etc/sekisho/"]);
    host.run("sekisho", ["reload", "/etc/sekisho/other.toml"]);

    // The group may reload; nobody else may even connect.
    let as_group = ["--reuid", "65534", "--regid", group, "--clear-groups", "sekisho", "reload"];
    host.run("setpriv", as_group);
    let as_nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "sekisho", "status"];
    assert_eq!(host.output("setpriv", as_nobody).status.code(), Some(1));
    let found = host.run("sekisho", ["doctor", "--json"]);
    assert!(found.contains("a daemon answers at /run/sekisho/control.sock"), "{found}");
    // What has begun is remembered in the state folder.
    host.run("test", ["-s", "/var/lib/sekisho/phases.json"]);

    kill_process(Pid::from_raw(running.0.id().cast_signed()).unwrap(), Signal::TERM).unwrap();
    assert!(running.0.wait().unwrap().success(), "{}", printed());

    host.run("rm", ["/etc/sekisho/sekisho.toml", "/etc/sekisho/other.toml"]);
    host.run("dpkg", ["--purge", "sekisho"]);
    for file in files.iter().copied().chain(TRACES) {
        let gone = ["-e", "-L"].iter().all(|kind| !host.output("test", [kind, file]).status.success());
        assert!(gone, "{file} is left");
    }
}
