//! An SMTP filter at a port of its own, beside the checkpoint.
//!
//! ```text
//!   checkpoint ─ filter ──── flt0  filter  up0 ──── inet2  internet
//! ```
//!
//! What is diverted comes by `flt0`; what the filter's Postfix sends on leaves by `up0`.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use pnet::packet::icmpv6::{self, Icmpv6Packet};

use super::Lab;
use super::address::Host;
use super::mail::MailServer;
use super::namespace::{self, Namespace};
use super::sniffer::{Sniffer, Way};
use super::station::Sender;

/// The filter's address on the cable, which is checked, and the checkpoint's for checking it.
pub const CHECKED: &str = "169.254.25.1";
/// The same in IPv6.
pub const CHECKED_V6: &str = "2001:db8:d::1";
/// See [`CHECKED`].
pub const CHECKS_FROM: &str = "169.254.25.2";
/// The same in IPv6.
pub const CHECKS_FROM_V6: &str = "2001:db8:d::2";

/// Where its Postfix listens.
const POSTFIX: Host = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 130)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 0x130)),
];

/// A host in a VLAN on the cable that answers for the addresses which are checked, when it is told to: by hand, since not
/// every kernel has VLANs.
pub struct InVlan {
    sniffer: Sniffer,
    sender: Sender,
    vlan: u16,
    seen: usize,
}

impl InVlan {
    /// Waits until somebody in the VLAN asks for an address that is checked; answers it.
    pub fn answer_next(&mut self) {
        let vlan = self.vlan;
        let is_asked = |frame: &[u8]| answer(frame, vlan).is_some();
        let at = self.sniffer.await_frame("a check with a tag", self.seen, is_asked);
        let asked = self.sniffer.frames().swap_remove(at);
        self.seen = at + 1;
        self.sender.send(&answer(&asked, self.vlan).expect("it was looked at"));
    }
}

/// The filter's host.
pub struct Filter {
    /// Where it is.
    pub namespace: Namespace,
}

impl Lab {
    /// Makes the host and its cables. It does nothing yet with what comes.
    pub fn filter(&self) -> Filter {
        let name = self.checkpoint.name().replace("checkpoint", "filter");
        let filter = Namespace::new(&name);
        let (checkpoint, internet) = (self.checkpoint.name(), self.internet.name());
        namespace::ip(&format!(
            "link add flt0 netns {name} type veth peer name filter netns {checkpoint}
             link add up0 netns {name} type veth peer name inet2 netns {internet}"
        ));
        let ends =
            [(&filter, "flt0"), (&self.checkpoint, "filter"), (&filter, "up0"), (&self.internet, "inet2")];
        for (namespace, device) in ends {
            namespace.without_offloads(device);
            namespace.ip(&format!("link set {device} up"));
        }
        self.internet.ip("address add 192.0.2.129/30 dev inet2\naddress add 2001:db8:c::129/64 dev inet2");
        filter.ip("address add 192.0.2.130/30 dev up0
             address add 2001:db8:c::130/64 dev up0
             address add 2001:db8:d::1/64 dev flt0
             route add default via 192.0.2.129
             route add default via 2001:db8:c::129");
        Filter { namespace: filter }
    }

    /// The MAC of an interface.
    fn mac(&self, namespace: &Namespace, device: &str) -> String {
        namespace.enter(|| {
            pnet::datalink::interfaces()
                .into_iter()
                .find(|interface| interface.name == device)
                .and_then(|interface| interface.mac)
                .expect("an Ethernet interface")
                .to_string()
        })
    }
}

impl Filter {
    /// Takes what is diverted with the script of `configs/filter`, and starts Postfix for it.
    pub fn start_postfix(&self, lab: &Lab) -> MailServer {
        let server = lab.filter_mail_server(&self.namespace, POSTFIX);
        let router = lab.mac(&lab.subscriber, "sub0");
        let [v4, v6] = POSTFIX.map(|address| address.to_string());
        let check = format!("{CHECKED}/30");
        self.script(&["flt0", &check, &router, &v4, &v6]);
        server
    }

    /// Takes back what the script has set.
    pub fn undo(&self) {
        self.script(&["--undo"]);
    }

    fn script(&self, arguments: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/filter/divert-to-postfix.sh");
        let script = fs::canonicalize(script).expect("it is there");
        self.namespace.run(script.to_str().expect("a plain path"), arguments.iter().copied());
    }

    /// How this host forwards, filters and looks at where packets come from.
    pub fn settings(&self) -> String {
        let script = "cd /proc/sys/net/ipv4/conf; grep . */rp_filter; nft list ruleset; ip -4 -oneline address
            for family in -4 -6; do ip $family rule; ip $family route show table 25 2>/dev/null || true; ip $family neighbour \
                show nud permanent; done; ip link show dev flt0 | grep -o PROMISC || true";
        self.namespace.run("sh", ["-ec", script])
    }

    /// Of an interface, or of all, how strictly a packet must come from where its answer would go.
    pub fn reverse_path(&self, device: &str) -> String {
        let path = format!("/proc/sys/net/ipv4/conf/{device}/rp_filter");
        self.namespace.run("cat", [path.as_str()]).trim().to_owned()
    }

    /// Sets it.
    pub fn set_reverse_path(&self, device: &str, value: &str) {
        self.namespace
            .run("sh", ["-ec", &format!("echo {value} >/proc/sys/net/ipv4/conf/{device}/rp_filter")]);
    }

    /// Gives every IP frame back as it came: a filter that lets all pass.
    pub fn give_back(&self, lab: &Lab) {
        let rules = lab.file("give-back.nft");
        let text = "table netdev back {
  chain ingress {
    type filter hook ingress device \"flt0\" priority -500
    ether type { ip, ip6 } fwd to \"flt0\"
  }
}
";
        fs::write(&rules, text).expect("the lab's folder is writable");
        self.namespace.ip("link set flt0 promisc on");
        self.namespace.run("nft", ["-f", rules.to_str().expect("a plain path")]);
    }

    /// A host in this VLAN on the cable; the filter itself is outside of it.
    pub fn in_vlan(&self, lab: &Lab, vlan: u16) -> InVlan {
        let sniffer = lab.sniff(&self.namespace, "flt0", Way::In);
        InVlan { sniffer, sender: self.namespace.sender("flt0"), vlan, seen: 0 }
    }

    /// Its link stays up and nothing answers any more.
    pub fn die(&self) {
        let rules = "add table netdev dead; add chain netdev dead ingress { type filter hook ingress device \"flt0\" priority -600; policy drop; }";
        self.namespace.run("nft", [rules]);
    }

    /// It is alive again.
    pub fn revive(&self) {
        self.namespace.run("nft", ["delete table netdev dead"]);
    }
}

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 25];

/// The answer to a tagged ARP request or Neighbor Solicitation for an address that is checked.
fn answer(frame: &[u8], vlan: u16) -> Option<Vec<u8>> {
    let (ethernet, rest) = frame.split_at_checked(18)?;
    if ethernet[12..14] != [0x81, 0] || ethernet[14..16] != vlan.to_be_bytes() {
        return None;
    }
    let mut answer = [&ethernet[6..12], &MAC, &ethernet[12..]].concat();
    match ethernet[16..] {
        [8, 6] => {
            let asks = rest.get(..28)?;
            let own: Ipv4Addr = CHECKED.parse().ok()?;
            if asks[6..8] != [0, 1] || asks[24..28] != own.octets() {
                return None;
            }
            answer.extend([&asks[..6], &[0, 2], &MAC, &own.octets(), &asks[8..18]].concat());
        }
        [0x86, 0xdd] => {
            let own: Ipv6Addr = CHECKED_V6.parse().ok()?;
            let (ip, asks) = rest.get(..64)?.split_at(40);
            if ip[6] != 58 || asks[0] != 135 || asks[8..24] != own.octets() {
                return None;
            }
            let to = Ipv6Addr::from(<[u8; 16]>::try_from(&ip[8..24]).ok()?);
            let told = [&[136, 0, 0, 0, 0x60, 0, 0, 0], &own.octets()[..], &[2, 1], &MAC].concat();
            let sum = icmpv6::checksum(&Icmpv6Packet::new(&told)?, &own, &to).to_be_bytes();
            answer.extend([&[0x60, 0, 0, 0, 0, 32, 58, 255], &own.octets()[..], &to.octets()].concat());
            answer.extend([&told[..2], &sum, &told[4..]].concat());
        }
        _ => return None,
    }
    answer.resize(answer.len().max(64), 0);
    Some(answer)
}
