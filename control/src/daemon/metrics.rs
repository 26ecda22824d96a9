//! Where metrics are served: from the start, or from when their address can be had.
//!
//! Forwarding does not wait for whoever watches it. An address that another program has, or that no interface has yet,
//! is told once and tried again every [`TRY_AGAIN`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::books::Books;
use super::event::Event;
use super::tables::Slot;
use crate::config::Config;
use crate::metrics::{Families, ListenError, Listener, Service};

/// How often an address that can't be had is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(3);

/// The metrics of a daemon.
pub(super) struct Metrics {
    /// None where nothing is configured.
    listen: Option<SocketAddr>,
    books: Arc<Books>,
    slot: Arc<Slot>,
    served: Option<(SocketAddr, Service)>,
    /// Why they are not.
    trouble: Option<String>,
    due: Instant,
}

impl Metrics {
    pub(super) fn new(config: &Config, books: &Arc<Books>, slot: &Arc<Slot>, now: Instant) -> Metrics {
        Metrics {
            listen: config.metrics.listen,
            books: Arc::clone(books),
            slot: Arc::clone(slot),
            served: None,
            trouble: None,
            due: now,
        }
    }

    /// Where they are served, if they are.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.served.as_ref().map(|(address, _)| *address)
    }

    /// Why they are not, though they should be.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Tries to serve them if that is due. What is news is given back.
    pub(super) fn look(&mut self, now: Instant) -> Option<Event> {
        let listen = self.listen.filter(|_| self.served.is_none() && now >= self.due)?;
        self.due = now + TRY_AGAIN;
        match self.serve(listen) {
            Ok((address, service)) => {
                self.served = Some((address, service));
                self.trouble = None;
                Some(Event::MetricsServed { url: url(address) })
            }
            Err(error) => {
                let why = error.to_string();
                let news = self.trouble.as_ref() != Some(&why);
                self.trouble = Some(why.clone());
                news.then_some(Event::MetricsUnavailable { why })
            }
        }
    }

    fn serve(&self, listen: SocketAddr) -> Result<(SocketAddr, Service), ListenError> {
        let listener = Listener::bind(listen)?;
        let address = listener.address;
        let families = Families::new(Arc::clone(&self.books), Arc::clone(&self.slot));
        let service = listener.serve(families).map_err(|source| ListenError { listen, source })?;
        Ok((address, service))
    }
}

/// What Prometheus is told to scrape.
pub(super) fn url(address: SocketAddr) -> String {
    format!("http://{address}/metrics")
}
