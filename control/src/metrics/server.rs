//! All who scrape, served by one thread with poll(2).
//!
//! A connection is one request and one answer, and lives for [`LIFE`] at most. When there are [`CONNECTIONS`] of them,
//! a new one takes the place of the oldest: a scrape that goes on takes milliseconds, so what is oldest is slow or
//! silent. Answers to several who ask at once are one text in memory.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::exposition::Exposition;
use super::request::{Asked, LONGEST, read};

/// Connections at once.
const CONNECTIONS: usize = 32;
/// How long one lives, from being accepted to being closed.
const LIFE: Duration = Duration::from_secs(10);
/// How long after the answer what a client still says is swallowed, so that the answer is not lost to a reset.
const LINGER: Duration = Duration::from_millis(500);
/// How late the thread hears that it is to end.
const TICK: Duration = Duration::from_millis(100);
/// After the system had no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

struct Connection {
    stream: TcpStream,
    until: Instant,
    input: Vec<u8>,
    head: Vec<u8>,
    body: Option<Arc<str>>,
    /// Bytes of head and body that are sent.
    sent: usize,
    answered: bool,
    /// All is sent.
    lingers: bool,
    over: bool,
}

pub(super) struct Server {
    listener: TcpListener,
    exposition: Exposition,
    connections: VecDeque<Connection>,
    accept_after: Option<Instant>,
}

impl Server {
    pub(super) fn new(listener: TcpListener, exposition: Exposition) -> Server {
        Server { listener, exposition, connections: VecDeque::new(), accept_after: None }
    }

    /// Waits until somebody wants something, for a moment at most, and serves who does.
    pub(super) fn turn(&mut self) {
        let now = Instant::now();
        self.accept_after = self.accept_after.filter(|after| *after > now);
        let listen = if self.accept_after.is_none() { PollFlags::IN } else { PollFlags::empty() };
        let mut fds = vec![PollFd::from_borrowed_fd(self.listener.as_fd(), listen)];
        for connection in &self.connections {
            let flags =
                if connection.answered && !connection.lingers { PollFlags::OUT } else { PollFlags::IN };
            fds.push(PollFd::from_borrowed_fd(connection.stream.as_fd(), flags));
        }
        let timeout = Timespec::try_from(TICK).ok();
        let ready: Vec<PollFlags> = match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => fds.iter().map(PollFd::revents).collect(),
            Err(_) => Vec::new(),
        };
        drop(fds);
        let now = Instant::now();
        // A fault of ours in here costs those who scrape their connections, and nobody else anything.
        if catch_unwind(AssertUnwindSafe(|| self.serve(&ready, now))).is_err() {
            self.connections.clear();
        }
    }

    fn serve(&mut self, ready: &[PollFlags], now: Instant) {
        let Some((listener, ready)) = ready.split_first() else { return };
        for (connection, ready) in self.connections.iter_mut().zip(ready) {
            if !ready.is_empty() {
                connection.serve(&mut self.exposition, now);
            }
            connection.over |= now >= connection.until;
        }
        self.connections.retain(|connection| !connection.over);
        if listener.intersects(PollFlags::IN) {
            self.accept(now);
        }
    }

    fn accept(&mut self, now: Instant) {
        for _ in 0..CONNECTIONS {
            match self.listener.accept() {
                Ok((stream, _)) if stream.set_nonblocking(true).is_ok() => {
                    if self.connections.len() >= CONNECTIONS {
                        self.connections.pop_front();
                    }
                    self.connections.push_back(Connection::new(stream, now));
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(_) => {
                    self.accept_after = Some(now + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }
}

impl Connection {
    fn new(stream: TcpStream, now: Instant) -> Connection {
        Connection {
            stream,
            until: now + LIFE,
            input: Vec::new(),
            head: Vec::new(),
            body: None,
            sent: 0,
            answered: false,
            lingers: false,
            over: false,
        }
    }

    fn serve(&mut self, exposition: &mut Exposition, now: Instant) {
        if !self.answered || self.lingers {
            self.hear();
        }
        if !self.answered
            && !self.over
            && let Some(asked) = read(&self.input)
        {
            self.answer(asked, exposition, now);
        }
        if self.answered && !self.lingers {
            self.send(now);
        }
    }

    /// Reads once: a flood is one voice among others.
    fn hear(&mut self) {
        let mut bytes = [0; LONGEST];
        let room = if self.lingers { LONGEST } else { LONGEST - self.input.len().min(LONGEST) };
        match self.stream.read(&mut bytes[..room]) {
            Ok(0) => self.over = true,
            Ok(count) if !self.lingers => self.input.extend_from_slice(&bytes[..count]),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.over = true,
        }
    }

    fn answer(&mut self, asked: Asked, exposition: &mut Exposition, now: Instant) {
        let (status, content_type, text, body) = match asked {
            Asked::Metrics { format, body } => {
                ("200 OK", format.content_type(), exposition.recent(format, now), body)
            }
            Asked::Refused(status, why) => {
                (status, "text/plain; charset=utf-8", format!("{why}\n").into(), true)
            }
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            text.len()
        );
        self.head = head.into_bytes();
        self.body = body.then_some(text);
        self.input = Vec::new();
        self.answered = true;
    }

    fn send(&mut self, now: Instant) {
        let body = self.body.as_deref().unwrap_or_default().as_bytes();
        loop {
            let part = match self.head.get(self.sent..).filter(|rest| !rest.is_empty()) {
                Some(head) => head,
                None => &body[self.sent - self.head.len()..],
            };
            if part.is_empty() {
                let _ = self.stream.shutdown(Shutdown::Write);
                self.lingers = true;
                self.until = self.until.min(now + LINGER);
                return;
            }
            match self.stream.write(part) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.over = true;
                    return;
                }
            }
        }
    }
}
