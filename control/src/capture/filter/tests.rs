use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::select;
use sekisho_dataplane::frame::Link;

use super::Filter;

/// A packet before it is bytes.
#[derive(Clone, Debug)]
struct Packet {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    source_port: u16,
    destination_port: u16,
}

impl Packet {
    fn tcp(source: &str, destination: &str, destination_port: u16) -> Packet {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        Packet { source, destination, protocol: 6, source_port: 50_000, destination_port }
    }

    fn has_ports(&self) -> bool {
        [6, 17].contains(&self.protocol)
    }

    /// EtherType and packet.
    fn network(&self) -> Vec<u8> {
        let ports = [self.source_port.to_be_bytes(), self.destination_port.to_be_bytes()].concat();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let header = [0x45, 0, 0, 40, 0, 1, 0, 0, 64, self.protocol, 0, 0];
                let addresses = [source.octets(), destination.octets()].concat();
                [&[8, 0], &header[..], &addresses, &ports, &[0; 16]].concat()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let header = [0x60, 0, 0, 0, 0, 20, self.protocol, 64];
                let addresses = [source.octets(), destination.octets()].concat();
                [&[0x86, 0xdd], &header[..], &addresses, &ports, &[0; 16]].concat()
            }
            _ => unreachable!("both of one version"),
        }
    }

    fn frame(&self) -> Vec<u8> {
        self.behind(&[])
    }

    fn behind(&self, tags: &[u8]) -> Vec<u8> {
        [&[2; 12], tags, &self.network()].concat()
    }
}

fn takes(filter: &str, frame: &[u8]) -> bool {
    filter.parse::<Filter>().unwrap_or_else(|error| panic!("{error}")).matches(Link::Ethernet, frame)
}

#[test]
fn primitives_say_what_they_say() {
    let four = Packet::tcp("203.0.113.7", "192.0.2.200", 25).frame();
    let six = Packet::tcp("2001:db8:1::7", "2001:db8:2::25", 25).frame();
    let udp = Packet { protocol: 17, ..Packet::tcp("203.0.113.7", "192.0.2.200", 53) }.frame();
    let ping = Packet { protocol: 1, ..Packet::tcp("203.0.113.7", "192.0.2.200", 25) }.frame();
    let ping6 = Packet { protocol: 58, ..Packet::tcp("2001:db8:1::7", "2001:db8:2::25", 25) }.frame();
    let arp = [
        &[2; 12][..],
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
        &[2, 2, 2, 2, 2, 2, 203, 0, 113, 7],
        &[0, 0, 0, 0, 0, 0, 192, 0, 2, 1],
    ]
    .concat();
    let frames = [four, six, udp, ping, ping6, arp];
    // Which of them, in this order: TCP over IPv4, over IPv6, UDP, ICMP, ICMPv6, ARP.
    for (filter, taken) in [
        ("", "xxxxxx"),
        ("ip", "x.xx.."),
        ("ip6", ".x..x."),
        ("arp", ".....x"),
        ("tcp", "xx...."),
        ("udp", "..x..."),
        ("icmp", "...x.."),
        ("icmp6", "....x."),
        ("host 203.0.113.7", "x.xx.x"),
        ("src host 203.0.113.7", "x.xx.x"),
        ("dst host 203.0.113.7", "......"),
        ("src 203.0.113.7", "x.xx.x"),
        ("ip host 203.0.113.7", "x.xx.."),
        ("arp host 192.0.2.1", ".....x"),
        ("net 203.0.113.0/24", "x.xx.x"),
        ("dst net 2001:db8:2::/48", ".x..x."),
        ("port 25", "xx...."),
        ("src port 25", "......"),
        ("udp port 53", "..x..."),
        ("tcp port 53", "......"),
        ("portrange 20-60", "xxx..."),
        ("port 25 or 53", "xxx..."),
        ("dst port 53 or 25", "xxx..."),
        ("src host 192.0.2.1 or 2001:db8:1::7", ".x..x."),
        ("not tcp", "..xxxx"),
        ("!tcp&&!udp", "...xxx"),
        ("tcp and (host 203.0.113.7 or host 2001:db8:1::7)", "xx...."),
        // From the left, as in pcap-filter(7): (icmp or tcp) and ip6.
        ("icmp or tcp and ip6", ".x...."),
        ("icmp or (tcp and ip6)", ".x.x.."),
        ("not tcp and ip", "..xx.."),
        ("not (tcp and ip)", ".xxxxx"),
    ] {
        let got: String = frames.iter().map(|frame| if takes(filter, frame) { 'x' } else { '.' }).collect();
        assert_eq!(got, taken, "{filter}");
    }
}

#[test]
fn tags_labels_sessions_and_extension_headers_are_looked_behind() {
    let packet = Packet::tcp("203.0.113.7", "192.0.2.200", 25);
    let filter = "tcp dst port 25 and src host 203.0.113.7";
    assert!(takes(filter, &packet.behind(&[0x81, 0, 0, 100])));
    assert!(takes(filter, &packet.behind(&[0x88, 0xa8, 0, 100, 0x81, 0, 0, 7])));
    let ip = &packet.network()[2..];
    let session = [&[2; 12][..], &[0x88, 0x64, 0x11, 0, 0, 7, 0, 42, 0, 0x21], ip].concat();
    assert!(takes(filter, &session));
    let labels = [&[2; 12][..], &[0x88, 0x47, 0, 1, 0, 64, 0, 2, 1, 64], ip].concat();
    assert!(takes(filter, &labels));
    let mut six = Packet::tcp("2001:db8:1::7", "2001:db8:2::25", 25).frame();
    six[20] = 60;
    six.splice(54..54, [6, 0, 1, 4, 0, 0, 0, 0]);
    assert!(takes("ip6 and tcp dst port 25", &six));
    let raw: Filter = filter.parse().unwrap();
    assert!(raw.matches(Link::Raw, ip) && raw.matches(Link::Ipv4, ip));
    assert!(raw.matches(Link::Loopback, &[&[2, 0, 0, 0], ip].concat()));
}

#[test]
fn what_a_later_fragment_or_a_cut_frame_does_not_have_matches_nothing_that_asks_for_it() {
    let mut later = Packet::tcp("203.0.113.7", "192.0.2.200", 25).frame();
    later[21] = 3;
    assert!(takes("tcp and host 192.0.2.200", &later) && !takes("port 25", &later));
    let whole = Packet::tcp("203.0.113.7", "192.0.2.200", 25).frame();
    assert!(takes("tcp and not port 25", &whole[..35]));
    assert!(takes("ip and not host 203.0.113.7", &whole[..25]));
    for length in 0..whole.len() {
        let _ = takes("tcp port 25 or host 192.0.2.200 or arp", &whole[..length]);
    }
}

#[test]
fn what_is_wrong_is_shown_with_a_caret_under_its_place() {
    let told = |text: &str| text.parse::<Filter>().unwrap_err().to_string();
    assert_eq!(
        told("tcp and prot 25"),
        "not a word of this filter\n  tcp and prot 25\n          ^^^^\n  it knows: host net src dst port portrange tcp \
         udp icmp icmp6 ip ip6 arp and or not ( )"
    );
    assert_eq!(told("(port 25"), "expected `)`\n  (port 25\n          ^");
    for (text, message, place) in [
        ("host example.org", "expected an address", "example.org"),
        ("port smtp", "expected a port's number", "smtp"),
        ("port +25", "expected a port's number", "+25"),
        ("port 65536", "expected a port's number", "65536"),
        ("portrange 30-20", "expected two ports' numbers", "30-20"),
        ("net 192.0.2.1/24", "bits behind the prefix are set; write 192.0.2.0/24", "192.0.2.1/24"),
        ("192.0.2.1", "say what it is", "192.0.2.1"),
        ("tcp or 25", "say what it is", "25"),
        ("port 25)", "there is no `(` for it", ")"),
        ("tcp udp", "expected `and` or `or`", "udp"),
        ("and tcp", "expected a test before it", "and"),
        ("()", "expected a test before it", ")"),
        ("tcp and", "expected more", ""),
        ("src or dst host 192.0.2.1", "`src or dst` is what neither of them says", "or"),
        ("icmp port 25", "it has no ports", "icmp port 25"),
        ("ip6 and ip6 host 192.0.2.1", "there are no IPv4 addresses in it", "ip6 host 192.0.2.1"),
        ("tcp host 192.0.2.1", "it has no addresses", "tcp host 192.0.2.1"),
        ("tcp & udp", "expected `and` or `or`", "&"),
        ("ホスト 1", "not a word of this filter", "ホスト"),
    ] {
        let told = told(text);
        let lines: Vec<&str> = told.lines().take(3).collect();
        let [first, shown, carets] = lines[..] else { panic!("{told}") };
        assert!(first.starts_with(message), "{text}: {told}");
        assert_eq!(shown, format!("  {text}"));
        let before = text.rfind(place).unwrap();
        let width = unicode_width::UnicodeWidthStr::width(place).max(1);
        let before = unicode_width::UnicodeWidthStr::width(&text[..before]);
        assert_eq!(carets, format!("  {}{}", " ".repeat(before), "^".repeat(width)), "{told}");
    }
    assert!(told(&"!".repeat(100)).contains("at most 60 deep"));
    assert!(told(&"tcp or ".repeat(1000)).contains("at most 4096 bytes"));
    assert!(told(&format!("{}x", "tcp or ".repeat(500))).lines().all(|line| line.len() <= 100));
    "tcp or ".repeat(500).trim_end_matches(" or ").parse::<Filter>().unwrap();
}

/// An expression before it is a text, evaluated on the packet before it is bytes.
#[derive(Clone, Debug)]
enum Twin {
    Protocol(&'static str),
    Host(&'static str, &'static str),
    Net(&'static str, &'static str),
    Port(&'static str, &'static str, u16),
    Not(Box<Twin>),
    And(Box<Twin>, Box<Twin>),
    Or(Box<Twin>, Box<Twin>),
}

impl Twin {
    fn text(&self) -> String {
        match self {
            Twin::Protocol(protocol) => (*protocol).to_owned(),
            Twin::Host(direction, address) => format!("{direction} host {address}"),
            Twin::Net(direction, prefix) => format!("{direction} net {prefix}"),
            Twin::Port(protocol, direction, port) => format!("{protocol} {direction} port {port}"),
            Twin::Not(inner) => match &**inner {
                Twin::And(..) | Twin::Or(..) => format!("not ({})", inner.text()),
                _ => format!("not {}", inner.text()),
            },
            Twin::And(left, right) => format!("{} and {}", left.text(), right.inner()),
            Twin::Or(left, right) => format!("{}||{}", left.text(), right.inner()),
        }
    }

    /// On the right of an operator: from the left is how they go.
    fn inner(&self) -> String {
        match self {
            Twin::And(..) | Twin::Or(..) => format!("({})", self.text()),
            _ => self.text(),
        }
    }

    fn holds(&self, packet: &Packet) -> bool {
        let is = |protocol: &str| match protocol {
            "" => true,
            "ip" => packet.source.is_ipv4(),
            "ip6" => packet.source.is_ipv6(),
            "tcp" => packet.protocol == 6,
            "udp" => packet.protocol == 17,
            "icmp" => packet.protocol == 1 && packet.source.is_ipv4(),
            "icmp6" => packet.protocol == 58 && packet.source.is_ipv6(),
            _ => false,
        };
        let sides = |direction: &str, source: bool, destination: bool| match direction {
            "src" => source,
            "dst" => destination,
            _ => source || destination,
        };
        match self {
            Twin::Protocol(protocol) => is(protocol),
            Twin::Host(direction, address) => {
                let is_it = |side: IpAddr| side.to_string() == *address;
                sides(direction, is_it(packet.source), is_it(packet.destination))
            }
            Twin::Net(direction, prefix) => {
                // The prefixes below end at a whole group of digits.
                let (start, _) = prefix.split_once(".0/").or(prefix.split_once("::/")).unwrap();
                let is_it = |side: IpAddr| {
                    side.to_string()
                        .starts_with(&format!("{start}{}", if side.is_ipv4() { "." } else { ":" }))
                };
                sides(direction, is_it(packet.source), is_it(packet.destination))
            }
            Twin::Port(protocol, direction, port) => {
                let (source, destination) = (packet.source_port == *port, packet.destination_port == *port);
                packet.has_ports() && is(protocol) && sides(direction, source, destination)
            }
            Twin::Not(inner) => !inner.holds(packet),
            Twin::And(left, right) => left.holds(packet) && right.holds(packet),
            Twin::Or(left, right) => left.holds(packet) || right.holds(packet),
        }
    }
}

const V4: [&str; 3] = ["203.0.113.7", "203.0.113.8", "192.0.2.25"];
const V6: [&str; 3] = ["2001:db8:1::7", "2001:db8:1::8", "2001:db8:2::25"];
const PORTS: [u16; 3] = [25, 587, 50_000];

fn any_twin() -> impl Strategy<Value = Twin> {
    let direction = || select(vec!["", "src", "dst"]);
    let leaf = prop_oneof![
        select(vec!["ip", "ip6", "arp", "tcp", "udp", "icmp", "icmp6"]).prop_map(Twin::Protocol),
        (direction(), select([V4, V6].concat())).prop_map(|(direction, host)| Twin::Host(direction, host)),
        (direction(), select(vec!["203.0.113.0/24", "192.0.2.0/24", "2001:db8:1::/48", "2001:db8:2::/48"]))
            .prop_map(|(direction, net)| Twin::Net(direction, net)),
        (select(vec!["", "tcp", "udp", "ip", "ip6"]), direction(), select(PORTS.to_vec()))
            .prop_map(|(protocol, direction, port)| Twin::Port(protocol, direction, port)),
    ];
    leaf.prop_recursive(6, 40, 2, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            inner.prop_map(|inner| Twin::Not(inner.into())),
            two.clone().prop_map(|(left, right)| Twin::And(left.into(), right.into())),
            two.prop_map(|(left, right)| Twin::Or(left.into(), right.into())),
        ]
    })
}

fn any_packet() -> impl Strategy<Value = Packet> {
    let of = |addresses: [&'static str; 3]| (select(addresses.to_vec()), select(addresses.to_vec()));
    let sides = prop_oneof![of(V4), of(V6)];
    let protocol = select(vec![6, 17, 1, 58, 50]);
    let ports = || select(PORTS.to_vec());
    (sides, protocol, ports(), ports()).prop_map(|((source, destination), protocol, source_port, port)| {
        Packet { protocol, source_port, ..Packet::tcp(source, destination, port) }
    })
}

proptest! {
    #[test]
    fn an_expression_takes_what_its_slow_twin_takes(twin in any_twin(), packets in prop::collection::vec(any_packet(), 1..20)) {
        let filter: Filter = twin.text().parse().unwrap();
        for packet in packets {
            prop_assert_eq!(filter.matches(Link::Ethernet, &packet.frame()), twin.holds(&packet), "{} {:?}", twin.text(), packet);
        }
    }

    #[test]
    fn no_text_and_no_frame_make_it_panic(text in "[ ()!&|a-z0-9:./-]{0,80}|\\PC{0,40}", frame in prop::collection::vec(any::<u8>(), 0..80)) {
        match text.parse::<Filter>() {
            Ok(filter) => { let _ = filter.matches(Link::Ethernet, &frame); }
            Err(error) => prop_assert!([3, 4].contains(&error.to_string().lines().count()), "{}", error),
        }
        let everything: Filter = "host 1.2.3.4 or port 25 or arp".parse().unwrap();
        for link in [Link::Ethernet, Link::Raw, Link::Cooked, Link::Cooked2, Link::Loopback] {
            let _ = everything.matches(link, &frame);
        }
    }
}
