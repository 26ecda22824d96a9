//! The lab: a provider's network in network namespaces, with `sekisho run` in the cables, as root.
//!
//! ```text
//!              ┌──────────── checkpoint ───────────┐
//!  subscriber  │                                   │  internet
//!     sub0 ────┤ access        sekisho        core ├──── inet0   router, the world's servers
//!              │                                   │       │
//!   servers    │                                   │       │
//!     srv0 ────┤ mail          sekisho     mail-up ├──── inet1
//!              └───────────────────────────────────┘
//! ```
//!
//! In `subscriber` there is one host with the addresses of two customers, a dynamic and a static one; in `servers` the
//! provider's own mail server; `internet` forwards between all of them, and has the addresses of the world's servers
//! itself. Each line is a veth pair. Every host is there for both versions of IP, see [`address`].
//!
//! Whatever a test starts in a namespace ends with the namespace, and the namespaces end with the [`Lab`], also when the
//! test panics; then captures, logs and configurations are kept in `target/tmp`. Names have the process in them, so labs
//! don't meet. What a test process that was killed has left is removed by the next one.

pub mod address;
pub mod bird;
pub mod bulk;
pub mod configuration;
pub mod daemon;
pub mod filter;
pub mod frame;
pub mod installation;
pub mod line;
pub mod mail;
pub mod namespace;
pub mod router;
pub mod sniffer;
pub mod station;
pub mod tcp;
pub mod traffic;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use namespace::Namespace;

use crate::binary;

/// For what has to happen, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What all names begin with; the process follows.
const PREFIX: &str = "sekisho-lab-";

/// The network, without anything that runs in it.
pub struct Lab {
    /// Customers.
    pub subscriber: Namespace,
    /// Where Sekisho runs.
    pub checkpoint: Namespace,
    /// The router and the world.
    pub internet: Namespace,
    /// The provider's own.
    pub servers: Namespace,
    /// Its files. In `/tmp`, as mail programs that are not root have to reach theirs.
    pub folder: PathBuf,
    /// Which of this process's labs it is.
    number: usize,
}

impl Lab {
    /// Makes it.
    pub fn new() -> Lab {
        static SWEPT: Once = Once::new();
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        assert!(
            rustix::process::geteuid().is_root(),
            "the lab makes network namespaces and mail servers, which needs root: run `sudo ./test --test lab`"
        );
        SWEPT.call_once(sweep);

        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))
            .expect("permissions of our own folder");
        let namespace = |role: &str| Namespace::new(&format!("{name}-{role}"));
        let lab = Lab {
            subscriber: namespace("subscriber"),
            checkpoint: namespace("checkpoint"),
            internet: namespace("internet"),
            servers: namespace("servers"),
            folder,
            number,
        };
        // A bridge has nothing to say: else the host's own IPv6 talks on its ports.
        lab.checkpoint.set("ipv6/conf/default/disable_ipv6", "1");
        lab.cable("access");
        lab.cable("core");
        lab.cable("mail");
        lab.cable("mail-up");
        lab.give_addresses();
        lab
    }

    /// The far end of a port's cable: where, and the interface there.
    pub fn far_end(&self, port: &str) -> (&Namespace, &'static str) {
        match port {
            "access" => (&self.subscriber, "sub0"),
            "core" => (&self.internet, "inet0"),
            "mail" => (&self.servers, "srv0"),
            "mail-up" => (&self.internet, "inet1"),
            other => panic!("there is no port {other}"),
        }
    }

    /// Lays the cable of a port: a veth pair, both ends on and without offloads.
    pub fn cable(&self, port: &str) {
        let (far, device) = self.far_end(port);
        let checkpoint = self.checkpoint.name();
        namespace::ip(&format!(
            "link add {device} netns {} type veth peer name {port} netns {checkpoint}",
            far.name()
        ));
        for (namespace, device) in [(far, device), (&self.checkpoint, port)] {
            namespace.without_offloads(device);
            namespace.ip(&format!("link set {device} up"));
        }
    }

    /// Takes a port's cable away, both ends of it.
    pub fn cut(&self, port: &str) {
        self.checkpoint.ip(&format!("link del {port}"));
    }

    fn give_addresses(&self) {
        self.address_subscriber();
        for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            self.internet.set(setting, "1");
        }
        self.internet.ip("address add 203.0.113.1/26 dev inet0
             address add 198.51.100.1/25 dev inet0
             address add 2001:db8:d000::1/64 dev inet0
             address add 2001:db8:1000::1/64 dev inet0
             address add 192.0.2.1/26 dev inet1
             address add 2001:db8:a::1/64 dev inet1
             address add 192.0.2.200/32 dev lo
             address add 2001:db8:b::200/128 dev lo
             address add 198.51.100.140/32 dev lo
             address add 3fff:a00::140/128 dev lo");
        self.servers.ip("address add 192.0.2.25/26 dev srv0
             address add 2001:db8:a::25/64 dev srv0
             route add default via 192.0.2.1
             route add default via 2001:db8:a::1");
    }

    /// Gives the customers their addresses; once more after their cable was cut and laid again.
    pub fn address_subscriber(&self) {
        self.subscriber.ip("address add 203.0.113.10/26 dev sub0
             address add 198.51.100.10/25 dev sub0
             address add 2001:db8:d000::10/64 dev sub0
             address add 2001:db8:1000::10/64 dev sub0
             route add default via 203.0.113.1
             route add default via 2001:db8:d000::1");
    }

    /// A file of the lab.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Default for Lab {
    fn default() -> Lab {
        Lab::new()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // What runs there ends first, so that nobody writes any more.
        for namespace in [&self.subscriber, &self.checkpoint, &self.internet, &self.servers] {
            namespace.clear();
        }
        if thread::panicking() {
            let kept = binary::scratch(&format!("lab-{}", self.number));
            keep(&self.folder, &kept);
            eprintln!("captures, logs and configurations are in {}", kept.display());
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Copies what tells how something went wrong.
fn keep(from: &Path, to: &Path) {
    let Ok(entries) = fs::read_dir(from) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let tells = path
            .extension()
            .is_some_and(|kind| ["log", "pcap", "toml", "cf", "conf"].iter().any(|k| kind == *k));
        if path.is_dir() {
            keep(&path, &to.join(entry.file_name()));
        } else if tells {
            let _ = fs::create_dir_all(to);
            let _ = fs::copy(&path, to.join(entry.file_name()));
        }
    }
}

/// Removes what test processes have left that are no more.
fn sweep() {
    let is_left = |name: &str| {
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        process.is_some_and(|process| !Path::new("/proc").join(process).exists())
    };
    for name in namespace::all().into_iter().filter(|name| is_left(name)) {
        Namespace::of(name).clear();
    }
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_left) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Looks again and again until there is something.
///
/// # Panics
/// When there is nothing for too long.
pub fn await_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "after {} s there is still not: {what}", PATIENCE.as_secs());
        thread::sleep(Duration::from_millis(10));
    }
}

/// Looks again and again until something is so.
///
/// # Panics
/// When it is not so for too long.
pub fn await_that(what: &str, mut is_so: impl FnMut() -> bool) {
    await_some(what, || is_so().then_some(()));
}
