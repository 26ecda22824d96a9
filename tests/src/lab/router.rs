//! The lab in route mode: customers, a router, and the world behind two upstream cables.
//!
//! ```text
//!   customer                    router                        world
//!     cust0 ──── access │ sk-access      sk-core │ core ──── up0    192.0.2.2
//!   203.0.113.10        │  203.0.113.1  192.0.2.1│
//!                       │            sk-transit  │ transit ─ up1    192.0.2.6
//!                       │             192.0.2.5  │                  198.51.100.80, 3fff:b::80 on lo
//! ```
//!
//! The same network can be without Sekisho: then the devices have the addresses themselves and the kernel forwards.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::namespace::{self, Namespace};
use super::{PREFIX, await_some, await_that, daemon::argument, keep, sweep};
use crate::binary::{self, Finished};

/// Cables of the router: its device, where the other end is, its device there, and the router's addresses.
const CABLES: [(&str, &str, [&str; 2]); 3] = [
    ("access", "cust0", ["203.0.113.1/26", "2001:db8:d000::1/64"]),
    ("core", "up0", ["192.0.2.1/30", "2001:db8:a::1/64"]),
    ("transit", "up1", ["192.0.2.5/30", "2001:db8:a:1::1/64"]),
];

/// Who forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarder {
    /// Sekisho in route mode.
    Sekisho,
    /// The kernel.
    Kernel,
}

/// See the module's documentation.
pub struct RouterLab {
    /// The customer.
    pub customer: Namespace,
    /// The router.
    pub router: Namespace,
    /// The world.
    pub world: Namespace,
    /// Its files.
    pub folder: PathBuf,
    sekisho: Option<Child>,
}

impl RouterLab {
    /// Makes it. Nothing but connected networks is routed yet.
    ///
    /// # Panics
    /// Without root, or when something does not start.
    pub fn new(name: &str, forwarder: Forwarder) -> RouterLab {
        assert!(rustix::process::geteuid().is_root(), "the lab needs root");
        sweep();
        let name = format!("{PREFIX}{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let namespace = |role: &str| Namespace::new(&format!("{name}-{role}"));
        let (customer, router, world) = (namespace("customer"), namespace("router"), namespace("world"));
        for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            router.set(setting, "1");
            world.set(setting, "1");
        }
        for (device, far, addresses) in CABLES {
            let other = if device == "access" { &customer } else { &world };
            namespace::ip(&format!(
                "link add {far} netns {} type veth peer name {device} netns {}",
                other.name(),
                router.name()
            ));
            for (namespace, device) in [(other, far), (&router, device)] {
                namespace.without_offloads(device);
                namespace.ip(&format!("link set {device} up"));
            }
            if forwarder == Forwarder::Kernel {
                addresses
                    .iter()
                    .for_each(|address| router.ip(&format!("address add {address} dev {device}")));
            }
        }
        world.ip("address add 192.0.2.2/30 dev up0
             address add 192.0.2.6/30 dev up1
             address add 2001:db8:a::2/64 dev up0
             address add 2001:db8:a:1::2/64 dev up1
             address add 198.51.100.80/32 dev lo
             address add 3fff:b::80/128 dev lo
             address add 3fff:c::80/128 dev lo");
        let mut lab = RouterLab { customer, router, world, folder, sekisho: None };
        lab.address_customer();
        if forwarder == Forwarder::Sekisho {
            lab.start_sekisho();
        }
        lab
    }

    fn start_sekisho(&mut self) {
        let roles = ["subscriber", "internet", "internet"];
        let ports = CABLES.iter().zip(roles).map(|((device, _, addresses), role)| {
            format!(
                "[[port]]\nname = \"{device}\"\nrole = \"{role}\"\ndriver = \"packet\"\ndevice = \"{device}\"\n\
                 addresses = {addresses:?}\n"
            )
        });
        let text = format!(
            "[dataplane]\nmode = \"route\"\ncores = [0]\npoll = \"adaptive\"\n{}[[policy]]\nname = \"dynamic\"\n\
             action = \"reject\"\nphases = [{{ name = \"all\", from = \"2006-06-01T00:00:00+09:00\", block = \"all\" }}]\n\
             [[pool]]\nname = \"customers\"\npolicy = \"dynamic\"\nprefixes = [\"203.0.113.0/24\", \
             \"2001:db8:d000::/36\"]\n[control]\nsocket = \"control.sock\"\nstate = \"state\"\n",
            ports.collect::<String>()
        );
        let config = self.file("sekisho.toml");
        fs::write(&config, text).expect("the lab's folder is writable");
        let log = fs::File::create(self.file("sekisho.log")).expect("the lab's folder is writable");
        let child = self
            .router
            .command(argument(binary::sekisho()))
            .args(["run", "-c", argument(&config)])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be cloned"))
            .stderr(log)
            .spawn()
            .expect("sekisho starts");
        self.sekisho = Some(child);
        await_that("sekisho serves, and its links are up", || {
            let links = self.routes(&[]).and_then(|routes| routes["kernel"]["mirror"]["links"].as_u64());
            links == Some(CABLES.len() as u64)
        });
    }

    /// Gives the customer its addresses; once more after its cable was laid again.
    pub fn address_customer(&self) {
        self.customer.ip("address add 203.0.113.10/26 dev cust0
             address add 2001:db8:d000::10/64 dev cust0
             route replace default via 203.0.113.1
             route replace default via 2001:db8:d000::1");
    }

    /// Whether a port works.
    pub fn port_is_up(&self, name: &str) -> bool {
        let told: Option<serde_json::Value> =
            serde_json::from_str(&self.ask(&["status", "--json"]).stdout).ok();
        let ports = told.as_ref().and_then(|status| status["ports"].as_array()).into_iter().flatten();
        ports.into_iter().any(|port| port["name"] == name && port["up"] == true)
    }

    /// Has Sekisho end in order.
    ///
    /// # Panics
    /// When it does not.
    pub fn end(&mut self) {
        let Some(mut child) = self.sekisho.take() else { return };
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a child's number");
        kill_process(pid, Signal::TERM).expect("a child can be sent a signal");
        let ended = await_some("sekisho ends", || child.try_wait().expect("a child can be waited for"));
        assert!(ended.success(), "sekisho: {ended}");
    }

    /// Sekisho's process.
    ///
    /// # Panics
    /// Where it does not run.
    pub fn pid(&self) -> u32 {
        self.sekisho.as_ref().expect("sekisho runs").id()
    }

    /// What Sekisho has said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(self.file("sekisho.log")).unwrap_or_default()
    }

    /// A file of the lab.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// One of Sekisho's commands.
    pub fn ask(&self, words: &[&str]) -> Finished {
        let socket = self.file("control.sock");
        let arguments = words.iter().copied().chain(["--socket", argument(&socket)]);
        let output = self.router.output(argument(binary::sekisho()), arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Finished { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    fn routes(&self, words: &[&str]) -> Option<serde_json::Value> {
        let words: Vec<&str> = ["routes", "--json"].into_iter().chain(words.iter().copied()).collect();
        serde_json::from_str(&self.ask(&words).stdout).ok()
    }

    /// Waits until the mirror is what the kernel has, entry by entry.
    pub fn await_mirrored(&self) {
        await_that("the mirror is the kernel's table", || {
            self.routes(&["--compare"]).is_some_and(|routes| routes["compared"]["differing"] == 0)
        });
    }

    /// Waits until the customer reaches an address.
    pub fn await_reached(&self, address: &str) {
        await_that(&format!("the customer reaches {address}"), || self.reaches(address));
    }

    /// Whether the customer reaches an address.
    pub fn reaches(&self, address: &str) -> bool {
        self.customer.output("ping", ["-n", "-c", "1", "-W", "1", address]).status.success()
    }

    /// The way that a packet of the customer takes, as `traceroute` sees it.
    pub fn way(&self, address: &str) -> Vec<String> {
        let output = self.customer.output("traceroute", ["-n", "-q", "1", "-w", "1", "-m", "4", address]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let hops = text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1));
        hops.map(str::to_owned).collect()
    }
}

impl Drop for RouterLab {
    fn drop(&mut self) {
        for namespace in [&self.customer, &self.router, &self.world] {
            namespace.clear();
        }
        if let Some(mut child) = self.sekisho.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let kept =
                binary::scratch(self.folder.file_name().and_then(|name| name.to_str()).unwrap_or("router"));
            keep(&self.folder, &kept);
            eprintln!("logs and configurations are in {}", kept.display());
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}
