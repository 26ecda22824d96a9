//! What is asked of the kernel about its interfaces: MACs, addresses, and that it does not hear a device itself.

use std::io;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_core::DefaultNla;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::tc::{TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcMessage, TcOption};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::model::Subject;
use super::request;
use super::route::Event;
use super::socket::Socket;

const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const ENOENT: i32 = 2;
const EEXIST: i32 = 17;

/// Where our filter stands among others at a device, and its number there.
const PRIORITY: u32 = 2525;
const HANDLE: TcHandle = TcHandle { major: 0, minor: 1 };
/// Where our rule stands among those of the kernel's look-ups: behind `local`, before what others use to have.
const RULE_PRIORITY: u32 = 25;
/// All protocols (`ETH_P_ALL`), as the wire has it.
const ALL_PROTOCOLS: u32 = 0x0003u16.to_be() as u32;

/// Asks the kernel about its interfaces.
pub struct Interfaces {
    socket: Socket,
}

impl Interfaces {
    /// Of this network namespace.
    ///
    /// # Errors
    /// When the kernel gives no socket.
    pub fn open() -> io::Result<Interfaces> {
        Ok(Interfaces { socket: Socket::open(&[])? })
    }

    /// Gives an interface a MAC and an MTU, and sets it up.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_up(&mut self, index: u32, mac: [u8; 6], mtu: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = vec![LinkAttribute::Address(mac.to_vec()), LinkAttribute::Mtu(mtu)];
        request::ask(&mut self.socket, RouteNetlinkMessage::SetLink(message), 0)?;
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        request::ask(&mut self.socket, RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Gives an interface an address; fine if it has it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn add_address(&mut self, index: u32, network: IpNetwork) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = if network.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
        message.header.index = index;
        message.header.prefix_len = network.prefix();
        message.attributes =
            vec![AddressAttribute::Local(network.ip()), AddressAttribute::Address(network.ip())];
        if let (IpNetwork::V4(v4), ..=30) = (network, network.prefix()) {
            message.attributes.push(AddressAttribute::Broadcast(v4.broadcast()));
        }
        match request::ask(
            &mut self.socket,
            RouteNetlinkMessage::NewAddress(message),
            NLM_F_CREATE | NLM_F_EXCL,
        ) {
            Err(error) if error.raw_os_error() == Some(EEXIST) => Ok(()),
            result => result,
        }
    }

    /// The interface of a VLAN on another, whatever its name.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub fn vlan_on(&mut self, below: u32, tag: u16) -> io::Result<Option<u32>> {
        let mut found = None;
        self.socket.discard();
        request::dump(&mut self.socket, Subject::Links)?;
        request::receive(&mut self.socket, |event| match event {
            Event::Link(link) if link.vlan == Some((below, tag)) => found = Some(link.index),
            _ => {}
        })?;
        Ok(found)
    }

    /// Makes a VLAN interface on another, and sets it up.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn add_vlan(&mut self, below: u32, tag: u16, name: &str) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Link(below),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Vlan),
                LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(tag)])),
            ]),
        ];
        request::ask(&mut self.socket, RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// From now on the kernel's own stack hears nothing of what a device receives; packet sockets do. What is for the
    /// router itself would be answered twice otherwise, and what is to be forwarded would be forwarded twice. Done by a
    /// filter at the device's entry (`tc filter show dev … ingress`, priority 2525) that drops everything; packet sockets
    /// have their copies by then.
    ///
    /// # Errors
    /// What the kernel says: it has no `clsact` or no `bpf` filters, perhaps.
    pub fn silence(&mut self, index: u32) -> io::Result<()> {
        let mut qdisc = TcMessage::with_index(index.cast_signed());
        qdisc.header.parent = TcHandle::CLSACT;
        qdisc.header.handle = TcHandle { major: 0xffff, minor: 0 };
        qdisc.attributes = vec![TcAttribute::Kind("clsact".into())];
        match request::ask(
            &mut self.socket,
            RouteNetlinkMessage::NewQueueDiscipline(qdisc),
            NLM_F_CREATE | NLM_F_EXCL,
        ) {
            Err(error) if error.raw_os_error() != Some(EEXIST) => return Err(error),
            _ => {}
        }
        /// One instruction of classic BPF: return TC_ACT_SHOT.
        const DROP: [u16; 4] = [0x06, 0, 2, 0];
        const TCA_BPF_OPS_LEN: u16 = 4;
        const TCA_BPF_OPS: u16 = 5;
        let drop = DROP.iter().flat_map(|half| half.to_ne_bytes()).collect();
        let mut filter = self.filter(index);
        filter.attributes.push(TcAttribute::Options(vec![
            TcOption::Bpf(TcFilterBpfOption::Other(DefaultNla::new(
                TCA_BPF_OPS_LEN,
                1u16.to_ne_bytes().to_vec(),
            ))),
            TcOption::Bpf(TcFilterBpfOption::Other(DefaultNla::new(TCA_BPF_OPS, drop))),
            TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
        ]));
        let message = RouteNetlinkMessage::NewTrafficFilter(filter);
        request::ask(&mut self.socket, message, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// The kernel hears the device again.
    ///
    /// # Errors
    /// What the kernel says: the device is gone, perhaps.
    pub fn hear(&mut self, index: u32) -> io::Result<()> {
        let filter = self.filter(index);
        request::ask(&mut self.socket, RouteNetlinkMessage::DelTrafficFilter(filter), 0)
    }

    /// From now on the kernel forwards nothing that comes by an interface of this name, be there one or not: a rule (`ip rule`,
    /// priority 25) that throws it away, which the kernel ties to an interface as it gets the name, before it has a
    /// frame. Gives whether it was there already.
    ///
    /// # Errors
    /// What the kernel says: it has no such rules for this version of IP, perhaps.
    pub fn hold(&mut self, name: &str, v6: bool) -> io::Result<bool> {
        let message = RouteNetlinkMessage::NewRule(rule(name, v6));
        match request::ask(&mut self.socket, message, NLM_F_CREATE | NLM_F_EXCL) {
            Err(error) if error.raw_os_error() == Some(EEXIST) => Ok(true),
            result => result.map(|()| false),
        }
    }

    /// It may forward what comes there again. Fine if it may already.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn let_go(&mut self, name: &str, v6: bool) -> io::Result<()> {
        match request::ask(&mut self.socket, RouteNetlinkMessage::DelRule(rule(name, v6)), 0) {
            Err(error) if error.raw_os_error() == Some(ENOENT) => Ok(()),
            result => result,
        }
    }

    fn filter(&self, index: u32) -> TcMessage {
        let mut filter = TcMessage::with_index(index.cast_signed());
        filter.header.parent = TcHandle { major: 0xffff, minor: TcHandle::MIN_INGRESS };
        filter.header.handle = HANDLE;
        filter.header.info = PRIORITY << 16 | ALL_PROTOCOLS;
        filter.attributes = vec![TcAttribute::Kind("bpf".into())];
        filter
    }

    /// Asks the kernel to find out, or to confirm, a neighbour's link-layer address; what comes of it is a notification.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub fn resolve(&mut self, index: u32, address: IpAddr) -> io::Result<()> {
        self.socket.discard();
        request::resolve(&mut self.socket, index, address)
    }
}

fn rule(name: &str, v6: bool) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header.family = if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    rule.header.action = RuleAction::Blackhole;
    rule.attributes = vec![RuleAttribute::Priority(RULE_PRIORITY), RuleAttribute::Iifname(name.to_owned())];
    rule
}
