//! Connections through the lab: a server that gives back what it gets, and clients.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketType, bind, connect, shutdown, socket};

use super::namespace::Namespace;

/// How long a client waits for an answer that is not to come: long enough for one that is, on a busy machine.
const SILENCE: Duration = Duration::from_secs(4);

/// A server that gives back what it gets, until this is dropped.
pub struct Echo {
    listeners: Vec<TcpListener>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Namespace {
    /// Listens on some ports of all addresses here.
    pub fn echo(&self, ports: &[u16]) -> Echo {
        let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        // An IPv6 socket would take both, and then no other could have the port.
        self.set("ipv6/bindv6only", "1");
        let addresses: Vec<SocketAddr> =
            ports.iter().flat_map(|port| any.map(|address| SocketAddr::new(address, *port))).collect();
        let listeners: Vec<TcpListener> = self.enter(|| {
            addresses.iter().map(|at| TcpListener::bind(at).unwrap_or_else(|e| panic!("{at}: {e}"))).collect()
        });
        let stop = Arc::new(AtomicBool::new(false));
        let threads = listeners.iter().map(|listener| {
            let (listener, stop) = (listener.try_clone().expect("a socket can be cloned"), Arc::clone(&stop));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Ok((stream, _)) = listener.accept() {
                        thread::spawn(move || give_back(&stream));
                    }
                }
            })
        });
        let threads = threads.collect();
        Echo { listeners, stop, threads }
    }
}

fn give_back(stream: &TcpStream) {
    let _ = stream.set_read_timeout(Some(super::PATIENCE));
    let _ = io::copy(&mut &*stream, &mut &*stream);
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for listener in &self.listeners {
            // Wakes who waits in accept(2).
            let _ = shutdown(listener, rustix::net::Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server answers.
    Talks,
    /// It is refused at once.
    Refused,
    /// It is said to be prohibited, at once.
    Prohibited,
    /// Nothing comes back.
    Silent,
}

/// Connects, from an address if that matters.
///
/// # Errors
/// As connect(2).
pub fn connected(namespace: &Namespace, from: Option<IpAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    namespace.enter(|| {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let stream = socket(family, SocketType::STREAM, None)?;
        if let Some(from) = from {
            bind(&stream, &SocketAddr::new(from, 0))?;
        }
        // Bounds connect(2) as well: socket(7).
        set_socket_timeout(&stream, Timeout::Send, Some(SILENCE))?;
        connect(&stream, &to)?;
        let stream = TcpStream::from(stream);
        stream.set_write_timeout(Some(super::PATIENCE))?;
        stream.set_read_timeout(Some(super::PATIENCE))?;
        Ok(stream)
    })
}

/// Connects, says something, and waits for the answer.
///
/// # Panics
/// When something comes of it that is none of these.
pub fn outcome(namespace: &Namespace, from: IpAddr, to: SocketAddr) -> Outcome {
    let stream = match connected(namespace, Some(from), to) {
        Ok(stream) => stream,
        Err(e) => match e.kind() {
            io::ErrorKind::ConnectionRefused => return Outcome::Refused,
            // What Linux makes of ICMP 3/13, and of ICMPv6 1/1.
            io::ErrorKind::HostUnreachable | io::ErrorKind::PermissionDenied => return Outcome::Prohibited,
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return Outcome::Silent,
            _ if e.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                return Outcome::Silent;
            }
            _ => panic!("{from} to {to}: {e}"),
        },
    };
    let mut answer = [0; 5];
    (&stream).write_all(b"hello").unwrap_or_else(|e| panic!("{from} to {to}: {e}"));
    (&stream).read_exact(&mut answer).unwrap_or_else(|e| panic!("{from} to {to}: {e}"));
    assert_eq!(&answer, b"hello");
    let _ = stream.shutdown(Shutdown::Both);
    Outcome::Talks
}
