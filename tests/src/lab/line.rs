//! Access lines: what a customer's host sends and receives is wrapped in tags or a session on the way through Sekisho.
//!
//! ```text
//!  customer's host                                                              host outside
//!   line0 ──── line1 ─▶ wrap ─▶ sub0 ════ sekisho ════ inet0 ─▶ unwrap ─▶ line1 ──── line0
//! ```
//!
//! The hosts are the kernel's, at either end of their namespace's own veth pair; the wrapping is done here, as access
//! equipment does it, because not every kernel has VLAN devices or PPPoE. What arrives is read from tcpdump, which
//! puts the outermost tag back that the kernel takes out.

use std::io::{BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Child, ChildStdout, Stdio};
use std::thread::{self, JoinHandle};

use super::Lab;
use super::address::Host;
use super::frame::Wrap;
use super::namespace::Namespace;

/// A customer and a host outside with a wrapped line between them, until this is dropped.
pub struct Line {
    /// The customer, of the dynamic pool.
    pub customer: Host,
    /// The host outside.
    pub host: Host,
    readers: Vec<Child>,
    threads: Vec<JoinHandle<()>>,
}

fn addresses(last: u8) -> Host {
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0xd001, 0, 0, 0, 0, last.into());
    [IpAddr::V4(Ipv4Addr::new(203, 0, 113, last)), IpAddr::V6(v6)]
}

impl Lab {
    /// Makes one for packets of up to `mtu` bytes.
    pub fn line(&self, wrap: &Wrap, mtu: usize) -> Line {
        let ends = [(&self.subscriber, "sub0", 66, 65), (&self.internet, "inet0", 65, 66)];
        let mut line =
            Line { customer: addresses(66), host: addresses(65), readers: vec![], threads: vec![] };
        for (namespace, cable, own, other) in ends {
            namespace.ip(&format!(
                "link add line0 mtu {mtu} address 02:00:00:00:01:{own} type veth peer name line1
                 address add 203.0.113.{own}/27 dev line0
                 address add 2001:db8:d001::{own:x}/64 dev line0"
            ));
            for device in ["line0", "line1"] {
                namespace.without_offloads(device);
                namespace.ip(&format!("link set {device} up"));
            }
            // There is no ARP in a session.
            for address in addresses(other) {
                namespace.ip(&format!("neighbour add {address} lladdr 02:00:00:00:01:{other} dev line0"));
            }
            let (outward, inward) = (wrap.clone(), wrap.clone());
            line.carry(namespace, "line1", cable, move |frame| outward.around(frame));
            line.carry(namespace, cable, "line1", move |frame| inward.inside(frame));
        }
        line
    }
}

impl Line {
    /// Carries frames from one interface to another, as something else.
    fn carry(
        &mut self,
        namespace: &Namespace,
        from: &str,
        to: &str,
        translate: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static,
    ) {
        let mut sender = namespace.sender(to);
        let mut child = namespace
            .command("tcpdump")
            .args([
                "-Z",
                "root",
                "-n",
                "-s",
                "0",
                "-U",
                "--immediate-mode",
                "-Q",
                "in",
                "-i",
                from,
                "-w",
                "-",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("tcpdump starts");
        let mut capture = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        self.readers.push(child);
        // It comes once tcpdump listens.
        let mut header = [0; 24];
        capture.read_exact(&mut header).expect("tcpdump writes a capture");
        self.threads.push(thread::spawn(move || {
            while let Some(frame) = next(&mut capture) {
                if let Some(frame) = translate(&frame) {
                    sender.send_if_up(&frame);
                }
            }
        }));
    }
}

/// The next frame of a classic capture that this machine writes.
fn next(capture: &mut BufReader<ChildStdout>) -> Option<Vec<u8>> {
    let mut header = [0; 16];
    capture.read_exact(&mut header).ok()?;
    let length = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
    let mut frame = vec![0; length as usize];
    capture.read_exact(&mut frame).ok()?;
    Some(frame)
}

impl Drop for Line {
    fn drop(&mut self) {
        for reader in &mut self.readers {
            let _ = reader.kill();
            let _ = reader.wait();
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
