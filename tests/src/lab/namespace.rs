//! A network namespace, and what runs in it.

use std::env;
use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// What the lab runs, and the Debian package that it is in.
const PROGRAMS: [(&str, &str); 22] = [
    ("bird", "bird2"),
    ("birdc", "bird2"),
    ("chroot", "coreutils"),
    ("curl", "curl"),
    ("dovecot", "dovecot-core and dovecot-pop3d"),
    ("ethtool", "ethtool"),
    ("id", "coreutils"),
    ("ip", "iproute2"),
    ("iperf3", "iperf3"),
    ("mtr", "mtr-tiny"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("ping", "iputils-ping"),
    ("postfix", "postfix"),
    ("postmap", "postfix"),
    ("postqueue", "postfix"),
    ("sha256sum", "coreutils"),
    ("radvd", "radvd"),
    ("swaks", "swaks"),
    ("tcpdump", "tcpdump"),
    ("traceroute", "traceroute"),
    ("unshare", "util-linux"),
];

/// Where programs of the system are, whether or not the caller's `PATH` says so.
fn search_path() -> Vec<PathBuf> {
    let own = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&own).chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from)).collect()
}

/// Where a program is.
///
/// # Panics
/// When it is not installed.
pub fn program(name: &str) -> PathBuf {
    if name.contains('/') {
        return PathBuf::from(name);
    }
    let found = search_path().into_iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        let package =
            PROGRAMS.iter().find(|(program, _)| *program == name).map_or(name, |(_, package)| package);
        panic!("the lab needs the program `{name}` (Debian: {package}), which `./test` installs")
    })
}

/// A program of the system, which finds others.
pub(super) fn command(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program(name.as_ref().to_str().expect("a program's name is plain")));
    command.env("PATH", env::join_paths(search_path()).expect("what was split can be joined"));
    command.stdin(Stdio::null());
    command
}

/// What a program said.
///
/// # Panics
/// When it failed.
fn said(what: impl Display, output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{what}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Gives `ip` one command a line.
fn ip_batch(namespace: Option<&str>, lines: &str) {
    let mut ip = command("ip");
    if let Some(namespace) = namespace {
        ip.args(["-n", namespace]);
    }
    ip.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = ip.spawn().expect("ip starts");
    let mut stdin = child.stdin.take().expect("ip's input is a pipe");
    // Where `ip` ended early, its message says why.
    let _ = lines.lines().try_for_each(|line| writeln!(stdin, "{}", line.trim()));
    drop(stdin);
    said(format_args!("ip {lines}"), &child.wait_with_output().expect("ip ends"));
}

/// `ip` with commands that concern no namespace, or several; one a line.
pub fn ip(lines: &str) {
    ip_batch(None, lines);
}

/// The names of all namespaces.
pub(super) fn all() -> Vec<String> {
    let listed = said("ip netns", &command("ip").arg("netns").output().expect("ip starts"));
    listed.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// A network namespace, removed with all that runs in it when this is dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes it. Addresses are there at once, without being looked for elsewhere first.
    pub(super) fn new(name: &str) -> Namespace {
        ip(&format!("netns add {name}"));
        let namespace = Namespace::of(name.to_owned());
        for which in ["all", "default"] {
            namespace.set(&format!("ipv6/conf/{which}/accept_dad"), "0");
            // Nobody looks for routers that there are not, and no frames come by themselves for that.
            namespace.set(&format!("ipv6/conf/{which}/router_solicitations"), "0");
            namespace.set(&format!("ipv4/conf/{which}/rp_filter"), "0");
        }
        namespace.ip("link set lo up");
        namespace
    }

    /// One that there is already.
    pub(super) fn of(name: String) -> Namespace {
        Namespace { name }
    }

    /// Its name for `ip netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `ip` here, one command a line.
    pub fn ip(&self, lines: &str) {
        ip_batch(Some(&self.name), lines);
    }

    /// Sets a variable of `/proc/sys/net`.
    pub fn set(&self, variable: &str, value: &str) {
        let path = Path::new("/proc/sys/net").join(variable);
        self.enter(|| fs::write(&path, value)).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// Has frames sent and received by an interface as they are on the wire.
    pub fn without_offloads(&self, device: &str) {
        self.run(
            "ethtool",
            ["-K", device, "tx", "off", "rx", "off", "gso", "off", "gro", "off", "tso", "off"],
        );
    }

    /// A program, to be run here.
    pub fn command(&self, name: impl AsRef<OsStr>) -> Command {
        let mut inside = command("ip");
        inside
            .args(["netns", "exec", &self.name])
            .arg(program(name.as_ref().to_str().expect("a plain name")));
        inside
    }

    /// Runs a program to its end; gives what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn run<S: AsRef<OsStr>>(&self, name: &str, arguments: impl IntoIterator<Item = S>) -> String {
        said(name, &self.output(name, arguments))
    }

    /// Starts a program that goes on in the background once it is ready. What it prints goes into a file.
    ///
    /// # Panics
    /// When it fails.
    pub fn start<S: AsRef<OsStr>>(&self, name: &str, arguments: impl IntoIterator<Item = S>, log: &Path) {
        let file = File::create(log).unwrap_or_else(|e| panic!("{}: {e}", log.display()));
        let mut program = self.command(name);
        program.args(arguments).stderr(file.try_clone().expect("a file can be cloned")).stdout(file);
        let status = program.status().unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(status.success(), "{name}: {status}\n{}", fs::read_to_string(log).unwrap_or_default());
    }

    /// Runs a program to its end, however that may be.
    pub fn output<S: AsRef<OsStr>>(&self, name: &str, arguments: impl IntoIterator<Item = S>) -> Output {
        self.command(name).args(arguments).output().unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Does something on a thread that is here. Sockets made by it stay here.
    pub fn enter<T: Send>(&self, job: impl FnOnce() -> T + Send) -> T {
        let path = Path::new("/run/netns").join(&self.name);
        let file = File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let inside = || {
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))
                .expect("root may enter a network namespace");
            job()
        };
        thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// The processes here.
    fn processes(&self) -> Vec<Pid> {
        let output = command("ip").args(["netns", "pids", &self.name]).output();
        let Ok(Output { stdout, .. }) = output else { return Vec::new() };
        let numbers = String::from_utf8_lossy(&stdout).into_owned();
        numbers.lines().filter_map(|line| Pid::from_raw(line.trim().parse().ok()?)).collect()
    }

    /// Ends what runs here, and removes the namespace. What goes wrong is for the next test process to sweep up.
    pub(super) fn clear(&self) {
        for _ in 0..200 {
            let processes = self.processes();
            if processes.is_empty() {
                break;
            }
            for process in processes {
                let _ = kill_process(process, Signal::KILL);
            }
            thread::sleep(Duration::from_millis(5));
        }
        let _ = command("ip").args(["netns", "del", &self.name]).output();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if all().contains(&self.name) {
            self.clear();
        }
    }
}
