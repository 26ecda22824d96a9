//! Metrics over HTTP: what the books count, as OpenMetrics text at `/metrics`.
//!
//! One thread serves all who scrape, with poll(2), off the workers' cores where there is another core. It reads what
//! the workers write anyway and nothing else, so that the workers have no part in it. What clients can make it do is
//! bounded (`server.rs`): connections, bytes of a request, its time, and how often the text is made.
//!
//! Cardinality: a port has one series per family, and one per reason where reasons are told apart; a pool has three
//! series, and none before its first packet. No customer's address is ever a label.

mod exposition;
mod families;
mod request;
mod server;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

pub use exposition::{Exposition, Format};
pub(crate) use families::Families;
use server::Server;

/// Why metrics can't be served.
#[derive(Debug, thiserror::Error)]
#[error("{listen}: {}", told(source, *listen))]
pub struct ListenError {
    /// The address of `[metrics]`.
    pub listen: SocketAddr,
    /// Why.
    pub source: io::Error,
}

fn told(error: &io::Error, listen: SocketAddr) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another program listens there (`ss -ltnp sport = :{}` shows which); stop it, or write another `listen` \
             under [metrics]",
            listen.port()
        ),
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this host has that address; write another `listen` under [metrics]".into()
        }
        io::ErrorKind::PermissionDenied => {
            "permission denied; write a `listen` with a port from 1024 on under [metrics]".into()
        }
        _ => error.to_string(),
    }
}

/// A place where metrics will be served.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: TcpListener,
    /// Where it really is, if the configuration left the port to the system.
    pub(crate) address: SocketAddr,
}

impl Listener {
    /// Takes the address.
    ///
    /// # Errors
    /// When somebody else has it, or the system refuses.
    pub(crate) fn bind(listen: SocketAddr) -> Result<Listener, ListenError> {
        let bind = || {
            let listener = TcpListener::bind(listen)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok(Listener { listener, address })
        };
        bind().map_err(|source| ListenError { listen, source })
    }

    /// Serves from now on.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub(crate) fn serve(self, families: Families) -> io::Result<Service> {
        let stop = Arc::<AtomicBool>::default();
        let mut server = Server::new(self.listener, Exposition::new(families));
        let told = Arc::clone(&stop);
        let body = move || {
            while !told.load(Ordering::Relaxed) {
                server.turn();
            }
        };
        let thread = std::thread::Builder::new().name("sekisho-metrics".to_owned()).spawn(body)?;
        Ok(Service { stop, thread: Some(thread) })
    }
}

/// Metrics being served, until this is dropped.
pub(crate) struct Service {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
