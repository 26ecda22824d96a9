#!/usr/bin/env python3
"""Builds the captures of this folder with Scapy: what a router receives, and what it must send.

    python3 build.py        writes NAME.in.PORT.pcap, NAME.out.PORT.pcap and cases.tsv

Nothing here knows Sekisho: what must be sent is put together by Scapy from the fields that the RFCs name, lengths
and checksums are Scapy's.
"""

from pathlib import Path

from scapy.all import (
    ICMP, IP, TCP, UDP, Dot1Q, Ether, ICMPv6DestUnreach, ICMPv6EchoRequest, ICMPv6ND_Redirect,
    ICMPv6NDOptDstLLAddr, ICMPv6NDOptRedirectedHdr, ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPOption_RR, IPv6,
    IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, Raw, wrpcap,
)

HERE = Path(__file__).parent
ACCESS, CORE, SERVERS = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"
CUSTOMER, UPSTREAM, FARM, VLAN_HOST = "02:00:00:00:0a:10", "02:00:00:00:0c:02", "02:00:00:00:0e:25", "02:00:00:00:0c:09"
HOST, OUTSIDE = "203.0.113.10", "198.18.0.80"
HOST6, OUTSIDE6 = "2001:db8:d000::10", "2001:2::80"
ROUTER, ROUTER6 = "203.0.113.1", "2001:db8:d000::1"
CONTROL = 0xC0
cases = []


def padded(packet, length):
    raw = bytes(packet)
    return raw + bytes(max(0, length - len(raw)))


def frame(packet):
    """The bytes, padded as on a wire."""
    return padded(packet, 60)


def case(name, what, reason, received, sent, action=None):
    """`received` is (port, frame), `sent` a list of (port, frame)."""
    port, packet = received
    wrpcap(str(HERE / f"{name}.in.{port}.pcap"), [Ether(frame(packet))], linktype=1)
    outs = {}
    for out, made in sent:
        raw = made if isinstance(made, bytes) else frame(made)
        outs.setdefault(out, []).append(Ether(raw))
    for out, frames in outs.items():
        wrpcap(str(HERE / f"{name}.out.{out}.pcap"), frames, linktype=1)
    cases.append((name, reason, action or "-", what))


def from_customer(packet, to=ACCESS, tag=None):
    link = Ether(src=CUSTOMER, dst=to)
    return link / (tag / packet if tag else packet)


def to_upstream(packet):
    return Ether(src=CORE, dst=UPSTREAM) / packet


def udp(data=b"0123456789abcdef"):
    return UDP(sport=40000, dport=53) / Raw(data)


def icmp_error(received, kind, code, source=ROUTER, back=None, mtu=0, most=576):
    """RFC 792, RFC 1812 §4.3: at most 576 bytes, precedence 6, from the router's own address."""
    quoted = bytes(received)[: most - 28]
    error = ICMP(type=kind, code=code, nexthopmtu=mtu) if kind == 3 and code == 4 else ICMP(type=kind, code=code)
    return (back or Ether(src=ACCESS, dst=CUSTOMER)) / IP(src=source, dst=received.src, ttl=64, id=0, tos=CONTROL) / error / Raw(quoted)


def icmp6_error(received, error, source=ROUTER6):
    """RFC 4443 §2.4 (c): at most 1280 bytes."""
    quoted = bytes(received)[: 1280 - 48]
    return Ether(src=ACCESS, dst=CUSTOMER) / IPv6(src=source, dst=received.src, hlim=64) / error / Raw(quoted)


def v4(ttl=64, dst=OUTSIDE, src=HOST, **more):
    return IP(src=src, dst=dst, ttl=ttl, id=0x1234, **more)


def v6(hlim=64, dst=OUTSIDE6, src=HOST6, **more):
    return IPv6(src=src, dst=dst, hlim=hlim, **more)


# Forwarding: RFC 1812 §5.3.1, RFC 8200 §3.
case("forwarded-v4", "the time to live is one less, the checksum follows, the MACs are new", "not-tcp",
     ("access", from_customer(v4() / udp())), [("core", to_upstream(v4(63) / udp()))])
case("forwarded-v6", "the hop limit is one less, the MACs are new", "not-tcp",
     ("access", from_customer(v6() / udp())), [("core", to_upstream(v6(63) / udp()))])
case("forwarded-tcp", "TCP to another port than 25", "other-port",
     ("access", from_customer(v4() / TCP(sport=40000, dport=443, flags="S", seq=1000))),
     [("core", to_upstream(v4(63) / TCP(sport=40000, dport=443, flags="S", seq=1000)))])
case("forwarded-to-host", "to a neighbour of a connected network", "not-tcp",
     ("core", Ether(src=UPSTREAM, dst=CORE) / v4(src=OUTSIDE, dst=HOST) / udp()),
     [("access", Ether(src=ACCESS, dst=CUSTOMER) / v4(63, src=OUTSIDE, dst=HOST) / udp())])
case("last-hop-but-one", "a time to live of 2 is forwarded as 1", "not-tcp",
     ("access", from_customer(v4(2) / udp())), [("core", to_upstream(v4(1) / udp()))])
case("last-hop-but-one-v6", "a hop limit of 2 is forwarded as 1", "not-tcp",
     ("access", from_customer(v6(2) / udp())), [("core", to_upstream(v6(1) / udp()))])
case("options-kept", "a record of the route goes along as it is", "not-tcp",
     ("access", from_customer(v4(options=[IPOption_RR(pointer=4, routers=["0.0.0.0"])]) / udp())),
     [("core", to_upstream(v4(63, options=[IPOption_RR(pointer=4, routers=["0.0.0.0"])]) / udp()))])
case("fragment-forwarded", "a fragment goes as it is", "fragment-orphan",
     ("access", from_customer(v4(frag=100, flags="MF", proto=17) / Raw(bytes(64)))),
     [("core", to_upstream(v4(63, frag=100, flags="MF", proto=17) / Raw(bytes(64))))])
case("hop-by-hop-v6", "a hop-by-hop header goes along (RFC 8200 section 4)", "not-tcp",
     ("access", from_customer(v6() / IPv6ExtHdrHopByHop() / udp())),
     [("core", to_upstream(v6(63) / IPv6ExtHdrHopByHop() / udp()))])


def corner():
    """An identification with which the checksum goes over 0xffff as the time to live goes down (RFC 1624 §3)."""
    for identification in range(0x10000):
        packet = v4()
        packet.id = identification
        if IP(bytes(packet / udp())).chksum == 0xFF00:
            return identification
    raise SystemExit("no such identification")


def cornered(ttl):
    packet = v4(ttl)
    packet.id = corner()
    return packet / udp()


case("checksum-corner", "the checksum wraps round (RFC 1624)", "not-tcp",
     ("access", from_customer(cornered(64))), [("core", to_upstream(cornered(63)))])

# Sub-interfaces.
case("tag-removed", "from a VLAN to what is untagged; what pads the frame goes along", "not-tcp",
     ("access", from_customer(v4(src="203.0.113.140") / udp(), tag=Dot1Q(vlan=100))),
     [("core", padded(to_upstream(v4(63, src="203.0.113.140") / udp()), 60 - 4))])
case("tag-added", "from what is untagged to a VLAN; what pads the frame goes along", "not-tcp",
     ("access", from_customer(v4(dst="10.200.0.9") / udp())),
     [("core", padded(Ether(src=CORE, dst=VLAN_HOST) / Dot1Q(vlan=200) / v4(63, dst="10.200.0.9") / udp(), 60 + 4))])
case("tag-changed", "from one VLAN to another, with the priority that it had", "not-tcp",
     ("access", from_customer(v4(src="203.0.113.140", dst="10.200.0.9") / udp(), tag=Dot1Q(vlan=100, prio=5))),
     [("core", Ether(src=CORE, dst=VLAN_HOST) / Dot1Q(vlan=200, prio=5) / v4(63, src="203.0.113.140", dst="10.200.0.9") / udp())])
case("vlan-unknown", "a VLAN that the port is not in", "no-link",
     ("access", from_customer(v4() / udp(), tag=Dot1Q(vlan=101))), [], "drop")

# Time exceeded: RFC 1812 §4.3.3.4, §5.3.1, RFC 4443 §3.3.
for ttl in (1, 0):
    packet = v4(ttl) / udp()
    case(f"time-exceeded-{ttl}", f"a time to live of {ttl} ends here, and the sender is told", "ttl-exceeded",
         ("access", from_customer(packet)), [("access", icmp_error(packet, 11, 0))], "reject")
packet = v6(1) / udp()
case("time-exceeded-v6", "a hop limit of 1 ends here, and the sender is told", "ttl-exceeded",
     ("access", from_customer(packet)), [("access", icmp6_error(packet, ICMPv6TimeExceeded(code=0)))], "reject")
packet = v4(1) / udp(bytes(range(256)) * 4)
case("quote-576", "an error has at most 576 bytes (RFC 1812 section 4.3.2.3)", "ttl-exceeded",
     ("access", from_customer(packet)), [("access", icmp_error(packet, 11, 0))], "reject")
packet = v6(1) / udp(bytes(range(250)) * 5)
case("quote-1280", "an error has at most 1280 bytes (RFC 4443 section 2.4)", "ttl-exceeded",
     ("access", from_customer(packet)), [("access", icmp6_error(packet, ICMPv6TimeExceeded(code=0)))], "reject")
packet = v4(1, src="203.0.113.140") / udp()
case("time-exceeded-vlan", "an error goes back in the VLAN, from the address there", "ttl-exceeded",
     ("access", from_customer(packet, tag=Dot1Q(vlan=100))),
     [("access", icmp_error(packet, 11, 0, "203.0.113.129", Ether(src=ACCESS, dst=CUSTOMER) / Dot1Q(vlan=100)))], "reject")

# Destination unreachable: RFC 1812 §5.2.7.1, RFC 4443 §3.1.
for name, dst, reason, code in (
    ("no-route", "10.9.9.9", "no-route", 0), ("unreachable", "10.2.0.1", "unreachable", 1),
    ("prohibited", "10.3.0.1", "prohibited", 13), ("unresolved", "10.4.0.1", "unresolved", 1),
    ("unresolved-host", "203.0.113.99", "unresolved", 1),
):
    packet = v4(dst=dst) / udp()
    case(name, f"{reason}: the sender is told by 3/{code}", reason,
         ("access", from_customer(packet)), [("access", icmp_error(packet, 3, code))], "reject")
for name, dst, reason, code in (
    ("no-route-v6", "2001:db8:9::1", "no-route", 0), ("unreachable-v6", "2001:2:b2::1", "unreachable", 0),
    ("prohibited-v6", "2001:2:b3::1", "prohibited", 1), ("unresolved-v6", "2001:db8:e::99", "unresolved", 3),
):
    packet = v6(dst=dst) / udp()
    case(name, f"{reason}: the sender is told by 1/{code}", reason,
         ("access", from_customer(packet)), [("access", icmp6_error(packet, ICMPv6DestUnreach(code=code)))], "reject")
case("blackhole", "a route that drops in silence", "blackhole", ("access", from_customer(v4(dst="10.1.0.1") / udp())), [], "drop")
case("blackhole-v6", "a route that drops in silence", "blackhole", ("access", from_customer(v6(dst="2001:2:b1::1") / udp())), [], "drop")

# Longer than the next link takes: RFC 1191 §4, RFC 8201, RFC 4443 §3.2, RFC 791 §3.2.
packet = v4(dst="192.0.2.25", flags="DF") / udp(bytes(1300))
case("too-big-v4", "the sender of what must not be fragmented is told the MTU", "too-big",
     ("access", from_customer(packet)), [("access", icmp_error(packet, 3, 4, mtu=1280))], "reject")
packet = v6(dst="2001:db8:e::25") / udp(bytes(1300))
case("too-big-v6", "the sender is told the MTU", "too-big",
     ("access", from_customer(packet)), [("access", icmp6_error(packet, ICMPv6PacketTooBig(mtu=1280)))], "reject")
data = bytes(n % 251 for n in range(2992))
whole = bytes(udp(data))
packet = v4(dst="192.0.2.25") / udp(data)
datagram = bytes(IP(bytes(packet))[UDP])
step = (1280 - 20) // 8 * 8
parts = [datagram[at:at + step] for at in range(0, len(datagram), step)]
case("fragmented", "what may be fragmented leaves in fragments", "not-tcp",
     ("access", from_customer(packet)),
     [("servers", Ether(src=SERVERS, dst=FARM) / v4(63, dst="192.0.2.25", proto=17, frag=n * step // 8,
                                                   flags="MF" if n + 1 < len(parts) else 0) / Raw(part))
      for n, part in enumerate(parts)])
fits = v4(dst="192.0.2.25", flags="DF") / udp(bytes(1280 - 28))
packet = v4(dst="192.0.2.25") / udp(bytes(range(200)) * 6 + bytes(59))
datagram = bytes(IP(bytes(packet))[UDP])
assert len(datagram) - step == 11
case("fragment-padded", "a fragment shorter than a frame is padded (IEEE 802.3 section 4A.2.3.2.4)", "not-tcp",
     ("access", from_customer(packet)),
     [("servers", Ether(src=SERVERS, dst=FARM) / v4(63, dst="192.0.2.25", proto=17, frag=at // 8,
                                                   flags="MF" if at == 0 else 0) / Raw(datagram[at:at + step]))
      for at in (0, step)])
case("as-long-as-the-mtu", "a packet as long as the MTU is forwarded", "not-tcp",
     ("access", from_customer(fits)),
     [("servers", Ether(src=SERVERS, dst=FARM) / v4(63, dst="192.0.2.25", flags="DF") / udp(bytes(1280 - 28)))])

# What no error is sent for: RFC 1812 §4.3.2.7, RFC 4443 §2.4 (e).
inner = bytes(v4(5) / udp())
case("no-error-for-an-error", "an error's time to live ends in silence", "ttl-exceeded",
     ("access", from_customer(v4(1) / ICMP(type=3, code=1) / Raw(inner))), [], "drop")
case("no-error-for-an-error-v6", "an error's hop limit ends in silence", "ttl-exceeded",
     ("access", from_customer(v6(1) / ICMPv6DestUnreach() / Raw(bytes(v6(5) / udp())))), [], "drop")
case("no-error-for-a-later-fragment", "a later fragment's time to live ends in silence", "ttl-exceeded",
     ("access", from_customer(v4(1, frag=100, proto=17) / Raw(bytes(64)))), [], "drop")
case("no-error-for-a-later-fragment-v6", "a later fragment's hop limit ends in silence", "ttl-exceeded",
     ("access", from_customer(v6(1) / IPv6ExtHdrFragment(offset=100, nh=17, id=7) / Raw(bytes(64)))), [], "drop")
case("error-for-an-echo", "an echo request's time to live ends, and its sender is told", "ttl-exceeded",
     ("access", from_customer(v4(1) / ICMP(type=8) / Raw(b"ping"))),
     [("access", icmp_error(v4(1) / ICMP(type=8) / Raw(b"ping"), 11, 0))], "reject")
case("error-for-an-echo-v6", "an echo request's hop limit ends, and its sender is told", "ttl-exceeded",
     ("access", from_customer(v6(1) / ICMPv6EchoRequest(data=b"ping"))),
     [("access", icmp6_error(v6(1) / ICMPv6EchoRequest(data=b"ping"), ICMPv6TimeExceeded(code=0)))], "reject")
case("no-error-for-a-frame-to-all", "what came to all stations of a link is not forwarded, nor answered", "other-station",
     ("access", from_customer(v4(1) / udp(), to="ff:ff:ff:ff:ff:ff")), [], "drop")

# Addresses: RFC 1812 §4.2.2.11, §5.3.4, §5.3.5, §5.3.7, RFC 2644, RFC 3927 §2.7, RFC 4291 §2.5.6.
for name, dst in (("martian-loopback", "127.0.0.1"), ("martian-class-e", "240.0.0.1"), ("martian-this", "0.1.2.3"),
                  ("martian-link-local", "169.254.7.7")):
    case(name, f"{dst} is forwarded to by no router", "martian", ("access", from_customer(v4(dst=dst) / udp())), [], "drop")
for name, dst in (("martian-loopback-v6", "::1"), ("martian-link-local-v6", "fe80::7"), ("martian-mapped-v6", "::ffff:198.18.0.80"),
                  ("martian-unspecified-v6", "::")):
    case(name, f"{dst} is forwarded to by no router", "martian", ("access", from_customer(v6(dst=dst) / udp())), [], "drop")
for name, what, src in (("source-broadcast", "all hosts of a network are no source", "203.0.113.127"),
                        ("source-broadcast-old", "nor by the old form of their address", "203.0.113.0"),
                        ("source-router", "the router itself sends nothing from outside", ROUTER)):
    case(name, what, "reverse-path", ("access", from_customer(v4(src=src) / udp())), [], "drop")
for name, src in (("source-loopback", "127.0.0.1"), ("source-group", "224.1.2.3"), ("source-all-stations", "255.255.255.255"), ("source-this", "0.1.2.3")):
    case(name, f"{src} is no source", "bogon-source", ("access", from_customer(v4(src=src) / udp())), [], "drop")
for name, src in (("source-loopback-v6", "::1"), ("source-group-v6", "ff02::1"), ("source-unspecified-v6", "::")):
    case(name, f"{src} is no source", "bogon-source", ("access", from_customer(v6(src=src) / udp())), [], "drop")
case("martian-source", "a source of its link alone", "martian",
     ("access", from_customer(v4(src="169.254.7.7") / udp())), [], "drop")
case("directed-broadcast", "to all hosts of a connected network", "directed-broadcast",
     ("core", Ether(src=UPSTREAM, dst=CORE) / v4(src=OUTSIDE, dst="203.0.113.127") / udp()), [], "drop")
case("directed-broadcast-old", "the same, by the old form of its address", "directed-broadcast",
     ("core", Ether(src=UPSTREAM, dst=CORE) / v4(src=OUTSIDE, dst="203.0.113.0") / udp()), [], "drop")
case("group", "a group beyond its link", "multicast",
     ("access", from_customer(v4(dst="239.1.2.3") / udp(), to="01:00:5e:01:02:03")), [], "drop")
case("group-v6", "a group beyond its link", "multicast",
     ("access", from_customer(v6(dst="ff0e::7") / udp(), to="33:33:00:00:00:07")), [], "drop")
packet = v6(src="fe80::10") / udp()
case("beyond-scope-v6", "a link-local source does not leave its link, and is told", "martian",
     ("access", from_customer(packet)), [("access", icmp6_error(packet, ICMPv6DestUnreach(code=2)))], "reject")
case("other-station", "a frame for another station", "other-station",
     ("access", from_customer(v4() / udp(), to="02:00:00:00:00:99")), [], "drop")
case("bad-checksum", "a header whose checksum is wrong (RFC 1812 section 5.2.2)", "bad-checksum",
     ("access", from_customer(v4(chksum=0x1111) / udp())), [], "drop")

# Reverse path: RFC 3704 §2.2.
case("reverse-path", "a source that is elsewhere", "reverse-path",
     ("core", Ether(src=UPSTREAM, dst=CORE) / v4(src="203.0.113.77", dst="192.0.2.25") / udp()), [], "drop")
case("reverse-path-v6", "a source that is elsewhere", "reverse-path",
     ("core", Ether(src=UPSTREAM, dst=CORE) / v6(src="2001:db8:e::7", dst=HOST6) / udp()), [], "drop")

# The policy is asked before the time to live; a rejection by ICMP comes from the router.
syn = TCP(sport=50000, dport=25, flags="S", seq=1000)
rst = TCP(sport=25, dport=50000, flags="RA", seq=0, ack=1001, window=0)
case("policy-before-time-to-live", "port 25 is denied by the policy, whatever its time to live", "port25-egress",
     ("access", from_customer(v4(1) / syn)),
     [("access", Ether(src=ACCESS, dst=CUSTOMER) / IP(src=OUTSIDE, dst=HOST, ttl=64, id=0) / rst)], "reject")
packet = v4(src="203.0.113.140") / syn
case("reject-by-icmp", "the policy's own error comes from the router", "port25-egress",
     ("access", from_customer(packet, tag=Dot1Q(vlan=100))),
     [("access", icmp_error(packet, 3, 13, "203.0.113.129", Ether(src=ACCESS, dst=CUSTOMER) / Dot1Q(vlan=100)))], "reject")
packet = v6(src="2001:db8:d000:0:8000::5") / syn
case("reject-by-icmp-v6", "the policy's own error comes from the router", "port25-egress",
     ("access", from_customer(packet)), [("access", icmp6_error(packet, ICMPv6DestUnreach(code=1)))], "reject")

# What the policy denies is answered only if it was for the router: RFC 1122 §3.2.2 for what is to all stations.
for name, what, reason, to, tag in (
    ("reject-other-station", "denied mail for another station is not answered", "other-station", "02:00:00:00:00:99", None),
    ("reject-vlan-unknown", "denied mail in a VLAN that the port is not in is not answered", "no-link", ACCESS, Dot1Q(vlan=101)),
    ("reject-to-all-stations", "denied mail to all stations of a link is not answered", "other-station", "ff:ff:ff:ff:ff:ff", None),
    ("reject-to-a-group-of-stations", "denied mail to a group of stations is not answered", "other-station", "01:00:5e:00:00:01", None),
    ("reject-behind-two-tags", "denied mail behind a second tag is not answered", "unclaimed", ACCESS, Dot1Q(vlan=100) / Dot1Q(vlan=7)),
):
    case(name, what, reason, ("access", from_customer(v4(src="203.0.113.140" if tag else HOST) / syn, to=to, tag=tag)), [], "drop")

# A better first hop on the sender's own link: RFC 1812 §5.2.7.2, RFC 792; RFC 4861 §4.5, §8.2.
OTHER, OTHER_MAC, LINK_LOCAL = "203.0.113.20", "02:00:00:00:0a:20", "fe80::1"


def redirect(received, gateway):
    message = ICMP(type=5, code=1, gw=gateway)
    header = IP(src=ROUTER, dst=received.src, ttl=64, id=0, tos=CONTROL)
    return Ether(src=ACCESS, dst=CUSTOMER) / header / message / Raw(bytes(received)[:548])


def redirect6(received, target):
    """What is quoted is a multiple of eight bytes, as long as the message has at most 1280."""
    quoted = bytes(received)[: (1280 - 40 - 40 - 8 - 8) // 8 * 8]
    quoted += bytes(-len(quoted) % 8)
    message = (ICMPv6ND_Redirect(tgt=target, dst=received.dst) / ICMPv6NDOptDstLLAddr(lladdr=OTHER_MAC)
               / ICMPv6NDOptRedirectedHdr(pkt=quoted))
    return Ether(src=ACCESS, dst=CUSTOMER) / IPv6(src=LINK_LOCAL, dst=received.src, hlim=255) / message


def to_other(packet):
    return Ether(src=ACCESS, dst=OTHER_MAC) / packet


for name, what, dst in (("redirect-to-host", "a host beside the sender, which is told so, and the packet goes on", OTHER),
                        ("redirect-to-router", "a router beside the sender, which is told so, and the packet goes on", "10.5.0.9")):
    packet = v4(dst=dst) / udp()
    case(name, what, "not-tcp", ("access", from_customer(packet)),
         [("access", to_other(v4(63, dst=dst) / udp())), ("access", redirect(packet, OTHER))])
for name, what, dst, target in (
    ("redirect-to-host-v6", "a host beside the sender, which is told so, and the packet goes on", "2001:db8:d000::20", "2001:db8:d000::20"),
    ("redirect-to-router-v6", "a router beside the sender, which is told so by its link-local address", "2001:2:b5::9", "fe80::20"),
):
    for name, data in ((name, b"0123456789abcdef"), (name + "-long", bytes(range(250)) * 5)):
        packet = v6(dst=dst) / udp(data)
        case(name, what, "not-tcp", ("access", from_customer(packet)),
             [("access", to_other(v6(63, dst=dst) / udp(data))), ("access", redirect6(packet, target))])
packet = v6(dst="2001:2:b6::9") / udp()
case("no-redirect-without-link-local-v6", "a router whose link-local address is not known is not named", "not-tcp",
     ("access", from_customer(packet)), [("access", to_other(v6(63, dst="2001:2:b6::9") / udp()))])
case("no-redirect-from-another-vlan", "a sender on another link of the port is not redirected", "not-tcp",
     ("access", from_customer(v4(dst=OTHER, src="203.0.113.140") / udp(), tag=Dot1Q(vlan=100))),
     [("access", padded(to_other(v4(63, dst=OTHER, src="203.0.113.140") / udp()), 60 - 4))])
packet = v4(dst=OTHER) / ICMP(type=3, code=1) / Raw(inner)
case("no-redirect-for-an-error", "no redirect is sent for an error by ICMP", "not-tcp",
     ("access", from_customer(packet)), [("access", to_other(v4(63, dst=OTHER) / ICMP(type=3, code=1) / Raw(inner)))])

# For the router itself, which has no twin here.
case("for-the-router", "an echo request to the router itself", "unclaimed",
     ("access", from_customer(v4(dst=ROUTER) / ICMP(type=8) / Raw(b"ping"))), [], "drop")

with open(HERE / "cases.tsv", "w") as table:
    table.write("name\treason\taction\twhat\n")
    for row in cases:
        table.write("\t".join(row) + "\n")
print(len(cases), "cases")
