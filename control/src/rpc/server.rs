//! All clients of the control socket, served by one thread with poll(2).
//!
//! A turn takes at most one request and at most [`CHUNK`] bytes from each client, so that a flood from one is one voice
//! among many. A client is not read from while an answer to it is being made or waits to be taken, nor above its
//! share of requests; what it sends meanwhile waits in the kernel, and then it waits itself.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use serde_json::value::RawValue;

use super::message::{self, Refused, Request};
use super::peer::Owner;
use super::{Error, Id, Peer, Socket};

/// What clients can make the server hold and do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Connections.
    clients: usize,
    /// Of these, subscribed. The rest is for whoever has a question.
    subscribers: usize,
    /// Bytes of a request.
    request: usize,
    /// Bytes that all clients together have sent and that are not served yet.
    requests: usize,
    /// How long a request takes from its first byte to its last.
    request_time: Duration,
    /// Requests a second of one client, and at once.
    rate: u32,
    /// Bytes of an answer.
    answer: usize,
    /// Bytes of answers that wait to be taken, above which a client is not read from.
    answers: usize,
    /// Bytes that wait to be taken, above which a subscriber misses notifications.
    notifications: usize,
    /// How long a client takes nothing of what waits for it.
    answer_time: Duration,
    /// How long a client that is not subscribed says nothing.
    silence: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            clients: 64,
            subscribers: 32,
            request: 16 << 20,
            requests: 64 << 20,
            request_time: Duration::from_secs(5),
            rate: 1000,
            answer: 64 << 20,
            answers: 64 << 10,
            notifications: 1 << 20,
            answer_time: Duration::from_secs(10),
            silence: Duration::from_secs(600),
        }
    }
}

/// Bytes that are read from a client in one turn.
const CHUNK: usize = 64 << 10;
/// Clients that are accepted in one turn.
const ACCEPTED_AT_ONCE: usize = 16;
/// After the system had no room for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
/// Buffers above this are given back when they are empty.
const KEPT: usize = 64 << 10;

/// Where an answer that is not made yet belongs.
#[derive(Debug)]
pub(crate) struct Ticket {
    client: u64,
    id: Option<Id>,
}

impl Ticket {
    /// The number of the client, which no other has after it.
    pub(crate) fn client(&self) -> u64 {
        self.client
    }
}

/// What a client is told without asking.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscription {
    /// How often it gets counters; none if it wants none.
    pub(crate) counters: Option<Duration>,
    /// Whether it gets events.
    pub(crate) events: bool,
}

/// What became of a request.
pub(crate) enum Served {
    /// It is done.
    Answer(Result<Box<RawValue>, Error>),
    /// It will be done: [`Server::finish`] takes the answer.
    Later,
    /// As [`Answer`](Served::Answer), and the client is subscribed, or not any more.
    Subscribed(Box<RawValue>, Option<Subscription>),
}

/// Who knows the methods.
pub(crate) trait Serve {
    /// Carries a request out, or starts to.
    fn serve(&mut self, method: &str, params: Option<&RawValue>, peer: Peer, ticket: Ticket) -> Served;
}

struct Client {
    id: u64,
    stream: UnixStream,
    peer: Peer,
    input: Vec<u8>,
    /// Up to here there is no end of a line.
    searched: usize,
    /// The first byte of a request that is not whole.
    begun: Option<Instant>,
    output: Vec<u8>,
    sent: usize,
    /// Since when nothing of the output was taken.
    stuck: Option<Instant>,
    busy: bool,
    subscription: Option<Subscription>,
    counters_due: Option<Instant>,
    missed: u64,
    /// Requests that it may make now, and when that was reckoned.
    allowance: f64,
    reckoned: Instant,
    heard: Instant,
    /// It will say nothing more.
    ended: bool,
    /// It will not take an answer either.
    hung_up: bool,
    /// It is closed when the output is taken.
    closing: bool,
    gone: bool,
}

/// The clients of one socket.
pub(crate) struct Server {
    socket: Socket,
    owner: Owner,
    bounds: Bounds,
    clients: VecDeque<Client>,
    next_id: u64,
    accept_after: Option<Instant>,
    chunk: Box<[u8]>,
}

impl Server {
    pub(crate) fn new(socket: Socket) -> Server {
        Server::with_bounds(socket, Bounds::default())
    }

    fn with_bounds(socket: Socket, bounds: Bounds) -> Server {
        let owner = Owner::of(socket.group);
        Server {
            socket,
            owner,
            bounds,
            clients: VecDeque::new(),
            next_id: 0,
            accept_after: None,
            chunk: vec![0; CHUNK].into(),
        }
    }

    /// The socket.
    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Clients that are connected now.
    pub(crate) fn clients(&self) -> usize {
        self.clients.len()
    }

    /// What to ask poll(2) for: the listener, then each client. [`turn`](Server::turn) wants what it said, in the same
    /// order.
    pub(crate) fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>, now: Instant) {
        let accepts = self.accept_after.is_none_or(|after| after <= now);
        let listen = if accepts { PollFlags::IN } else { PollFlags::empty() };
        fds.push(PollFd::from_borrowed_fd(self.socket.listener.as_fd(), listen));
        for client in &self.clients {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, client.wants_input(&self.bounds, now));
            flags.set(PollFlags::OUT, client.waits_to_be_read() > 0);
            fds.push(PollFd::from_borrowed_fd(client.stream.as_fd(), flags));
        }
    }

    /// When the next turn is due, whatever poll(2) says.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        let clients = self.clients.iter().filter_map(|client| client.due(&self.bounds, now));
        clients.chain(self.accept_after).min()
    }

    /// Serves each client that is ready, one request each.
    pub(crate) fn turn(&mut self, ready: &[PollFlags], now: Instant, serve: &mut impl Serve) {
        let (listener, ready) =
            ready.split_first().map_or((PollFlags::empty(), ready), |(l, rest)| (*l, rest));
        for (at, client) in self.clients.iter_mut().enumerate() {
            let flags = ready.get(at).copied().unwrap_or(PollFlags::empty());
            client.hung_up |= flags.intersects(PollFlags::HUP | PollFlags::ERR);
            // What has hung up may have said something before.
            if (flags.intersects(PollFlags::IN) || client.hung_up) && client.wants_input(&self.bounds, now) {
                client.read(&mut self.chunk, now);
            }
        }
        self.keep_within_bounds(now);
        let subscribers = self.clients.iter().filter(|client| client.subscription.is_some()).count();
        let mut seats = self.bounds.subscribers.saturating_sub(subscribers);
        for client in &mut self.clients {
            client.serve(&self.bounds, now, &mut seats, serve);
            client.write(now);
            client.look_at_the_clock(&self.bounds, now);
        }
        self.clients.retain(|client| !client.is_over());
        self.accept_after = self.accept_after.filter(|after| *after > now);
        if listener.intersects(PollFlags::IN) {
            self.accept(now);
        }
        // Another is first the next time.
        if self.clients.len() > 1 {
            self.clients.rotate_left(1);
        }
    }

    /// Whether this client is still connected.
    pub(crate) fn is_connected(&self, client: u64) -> bool {
        self.clients.iter().any(|connected| connected.id == client)
    }

    /// Parts with all clients.
    pub(crate) fn close_all(&mut self) {
        self.clients.clear();
    }

    /// Takes the answer to a request that was served [later](Served::Later).
    pub(crate) fn finish(&mut self, ticket: Ticket, answer: Result<&RawValue, &Error>) {
        if let Some(client) = self.clients.iter_mut().find(|client| client.id == ticket.client) {
            client.busy = false;
            client.answer(&self.bounds, ticket.id.as_deref(), answer);
        }
    }

    /// Tells subscribers of an event.
    pub(crate) fn publish(&mut self, notification: &[u8]) {
        for client in &mut self.clients {
            if client.subscription.is_some_and(|subscription| subscription.events) {
                client.notify(&self.bounds, notification);
            }
        }
    }

    /// When the next subscriber waits for counters.
    pub(crate) fn counters_due(&self) -> Option<Instant> {
        self.clients.iter().filter_map(|client| client.counters_due).min()
    }

    /// Tells each subscriber whose time has come what `counters` makes for one that missed so many notifications.
    pub(crate) fn publish_counters(&mut self, now: Instant, mut counters: impl FnMut(u64) -> Vec<u8>) {
        for client in &mut self.clients {
            let Some(every) = client.subscription.and_then(|subscription| subscription.counters) else {
                continue;
            };
            let Some(due) = client.counters_due.filter(|due| *due <= now) else { continue };
            // One that could not be served in time is not made up for.
            client.counters_due = Some((due + every).max(now));
            if client.notify(&self.bounds, &counters(client.missed)) {
                client.missed = 0;
            }
        }
    }

    fn accept(&mut self, now: Instant) {
        self.accept_after = None;
        for _ in 0..ACCEPTED_AT_ONCE {
            let stream = match self.socket.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // No file descriptors, no memory: the others are still there, and that passes.
                Err(_) => {
                    self.accept_after = Some(now + ACCEPT_PAUSE);
                    return;
                }
            };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            let peer = self.owner.peer_of(&stream);
            let mut client = Client::new(self.next_id, stream, peer, &self.bounds, now);
            self.next_id += 1;
            if self.clients.len() >= self.bounds.clients && !self.let_one_go() {
                let message = format!("{} clients are connected; try again later", self.clients.len());
                client.answer_always(None, Err(&Error::new(Error::BUSY, message)));
                client.write(now);
                continue;
            }
            self.clients.push_back(client);
        }
    }

    /// Closes the client that has been silent for longest, of those that nobody has promised anything.
    fn let_one_go(&mut self) -> bool {
        let idle = self.clients.iter().enumerate().filter(|(_, client)| client.is_idle());
        let longest = idle.min_by_key(|(_, client)| client.heard).map(|(at, _)| at);
        longest.and_then(|at| self.clients.remove(at)).is_some()
    }

    /// What all have sent together is bounded too. The ones with the most to say have to leave.
    fn keep_within_bounds(&mut self, now: Instant) {
        let mut sum: usize = self.clients.iter().map(|client| client.input.len()).sum();
        while sum > self.bounds.requests {
            let Some(largest) = self.clients.iter_mut().max_by_key(|client| client.input.len()) else {
                return;
            };
            sum -= largest.input.len();
            let error = Error::new(Error::BUSY, "too many large requests at once; try again later");
            largest.refuse_all(&error, now);
        }
    }
}

impl Client {
    fn new(id: u64, stream: UnixStream, peer: Peer, bounds: &Bounds, now: Instant) -> Client {
        Client {
            id,
            stream,
            peer,
            input: Vec::new(),
            searched: 0,
            begun: None,
            output: Vec::new(),
            sent: 0,
            stuck: None,
            busy: false,
            subscription: None,
            counters_due: None,
            missed: 0,
            allowance: f64::from(bounds.rate),
            reckoned: now,
            heard: now,
            ended: false,
            hung_up: false,
            closing: false,
            gone: false,
        }
    }

    fn waits_to_be_read(&self) -> usize {
        self.output.len() - self.sent
    }

    fn has_whole_line(&self) -> bool {
        self.searched < self.input.len()
    }

    /// A request of its has come whole and is not served yet.
    fn has_request(&self) -> bool {
        self.has_whole_line() || (self.ended && !self.input.is_empty())
    }

    /// Whether a request of its would be served, were it not for its share.
    fn is_free(&self, bounds: &Bounds) -> bool {
        !self.busy && !self.closing && !self.gone && self.waits_to_be_read() < bounds.answers
    }

    /// Whether a request of its would be served now.
    fn has_turn(&self, bounds: &Bounds, now: Instant) -> bool {
        self.is_free(bounds) && self.allowance_at(bounds, now) >= 1.0
    }

    fn wants_input(&self, bounds: &Bounds, now: Instant) -> bool {
        !self.ended && !self.has_whole_line() && self.has_turn(bounds, now)
    }

    fn allowance_at(&self, bounds: &Bounds, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.reckoned).as_secs_f64();
        let rate = f64::from(bounds.rate);
        (self.allowance + since * rate).min(rate)
    }

    fn is_idle(&self) -> bool {
        self.subscription.is_none() && !self.busy && self.input.is_empty() && self.waits_to_be_read() == 0
    }

    fn is_over(&self) -> bool {
        let silent = self.waits_to_be_read() == 0 && !self.busy;
        let said_all = self.ended && self.input.is_empty() && self.subscription.is_none();
        self.gone || (silent && (self.closing || said_all))
    }

    /// When something has to be done though it is not heard of.
    fn due(&self, bounds: &Bounds, now: Instant) -> Option<Instant> {
        let lacks = (1.0 - self.allowance_at(bounds, now)).max(0.0);
        let turn = now + Duration::from_secs_f64(lacks / f64::from(bounds.rate));
        let waits = self.is_free(bounds) && (self.has_request() || lacks > 0.0);
        let late = self.begun.filter(|_| self.wants_input(bounds, now));
        let silent = (self.is_idle() && !self.ended).then_some(self.heard);
        let due = [
            waits.then_some(turn),
            late.map(|begun| begun + bounds.request_time),
            self.stuck.map(|stuck| stuck + bounds.answer_time),
            silent.map(|heard| heard + bounds.silence),
        ];
        due.into_iter().flatten().min()
    }

    fn read(&mut self, chunk: &mut [u8], now: Instant) {
        match self.stream.read(chunk) {
            Ok(0) => self.ended = true,
            Ok(count) => {
                self.heard = now;
                self.begun.get_or_insert(now);
                let before = self.input.len();
                self.input.extend_from_slice(&chunk[..count]);
                let end = chunk[..count].iter().position(|byte| *byte == b'\n');
                self.searched = end.map_or(self.input.len(), |end| before + end);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.gone = true,
        }
    }

    /// Takes one request out of what it has sent, and serves it.
    fn serve(&mut self, bounds: &Bounds, now: Instant, seats: &mut usize, serve: &mut impl Serve) {
        if self.searched > bounds.request {
            let message = format!("a request has at most {} bytes", bounds.request);
            self.refuse_all(&Error::new(Error::TOO_LARGE, message), now);
        }
        if !self.has_request() || !self.has_turn(bounds, now) {
            return;
        }
        let end = self.searched;
        let rest = self.input.split_off((end + 1).min(self.input.len()));
        let mut line = std::mem::replace(&mut self.input, rest);
        line.truncate(end);
        self.searched = self.input.iter().position(|byte| *byte == b'\n').unwrap_or(self.input.len());
        self.begun = (!self.input.is_empty()).then_some(now);
        self.allowance = self.allowance_at(bounds, now) - 1.0;
        self.reckoned = now;
        self.heard = now;
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        match message::parse(&line) {
            Err(Refused { id, error }) => self.answer_always(id.as_deref(), Err(&error)),
            Ok(Request { id, method, params }) => {
                let ticket = Ticket { client: self.id, id: id.clone() };
                match serve.serve(&method, params, self.peer, ticket) {
                    Served::Answer(answer) => {
                        self.answer(bounds, id.as_deref(), answer.as_deref());
                    }
                    Served::Later => self.busy = true,
                    Served::Subscribed(_, Some(_)) if self.subscription.is_none() && *seats == 0 => {
                        let message =
                            format!("{} clients are subscribed; try again later", bounds.subscribers);
                        self.answer(bounds, id.as_deref(), Err(&Error::new(Error::BUSY, message)));
                    }
                    Served::Subscribed(answer, subscription) => {
                        *seats -= usize::from(subscription.is_some() && self.subscription.is_none());
                        self.subscription = subscription;
                        let every = subscription.and_then(|subscription| subscription.counters);
                        self.counters_due = every.map(|_| now);
                        self.answer(bounds, id.as_deref(), Ok(&answer));
                    }
                }
            }
        }
    }

    /// A notification is not answered (JSON-RPC 2.0, section 4.1).
    fn answer(&mut self, bounds: &Bounds, id: Option<&RawValue>, answer: Result<&RawValue, &Error>) {
        if id.is_none() {
            return;
        }
        match answer {
            Ok(value) if value.get().len() > bounds.answer => {
                let (is, most) = (value.get().len(), bounds.answer);
                let message = format!("the answer has {is} bytes, more than {most}; ask for less at once");
                self.answer_always(id, Err(&Error::new(Error::TOO_LARGE, message)));
            }
            answer => self.answer_always(id, answer),
        }
    }

    fn answer_always(&mut self, id: Option<&RawValue>, answer: Result<&RawValue, &Error>) {
        self.output.extend(message::response(id, answer));
    }

    fn notify(&mut self, bounds: &Bounds, notification: &[u8]) -> bool {
        let fits = !self.closing && self.waits_to_be_read() + notification.len() <= bounds.notifications;
        match fits {
            true => self.output.extend_from_slice(notification),
            false => self.missed += 1,
        }
        fits
    }

    /// Throws away what it has sent, says why, and closes.
    fn refuse_all(&mut self, error: &Error, now: Instant) {
        self.input = Vec::new();
        self.searched = 0;
        self.begun = None;
        self.heard = now;
        self.answer_always(None, Err(error));
        self.closing = true;
    }

    fn write(&mut self, now: Instant) {
        while self.waits_to_be_read() > 0 {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(count) => {
                    self.sent += count;
                    self.stuck = None;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.stuck.get_or_insert(now);
                    return;
                }
                // What it has said is still done.
                Err(_) => {
                    self.hung_up = true;
                    break;
                }
            }
        }
        self.sent = 0;
        self.stuck = None;
        self.output.clear();
        self.output.shrink_to(KEPT);
        if self.input.is_empty() {
            self.input.shrink_to(KEPT);
        }
    }

    fn look_at_the_clock(&mut self, bounds: &Bounds, now: Instant) {
        if self.hung_up && (!self.has_turn(bounds, now) || (self.ended && self.input.is_empty())) {
            self.gone = true;
        }
        let since = |instant: Instant| now.saturating_duration_since(instant);
        if self.stuck.is_some_and(|stuck| since(stuck) >= bounds.answer_time) {
            self.gone = true;
        }
        if self.is_idle() && since(self.heard) >= bounds.silence {
            self.gone = true;
        }
        let Some(begun) = self.begun else { return };
        if !self.wants_input(bounds, now) {
            // The time during which it is not read from is not its own.
            self.begun = Some(now);
        } else if since(begun) >= bounds.request_time {
            let message = format!("the request did not end within {} s", bounds.request_time.as_secs());
            self.refuse_all(&Error::new(Error::TIMEOUT, message), now);
            self.write(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::path::PathBuf;

    use serde_json::Value;
    use serde_json::value::to_raw_value;

    use super::*;

    /// Answers `echo` at once, `later` when told to, and subscribes.
    #[derive(Default)]
    struct Echo {
        served: usize,
        later: Vec<Ticket>,
    }

    impl Serve for Echo {
        fn serve(&mut self, method: &str, params: Option<&RawValue>, _: Peer, ticket: Ticket) -> Served {
            self.served += 1;
            let counters = Some(Duration::from_secs(1));
            match method {
                "later" => {
                    self.later.push(ticket);
                    Served::Later
                }
                "subscribe" => Served::Subscribed(
                    to_raw_value(&true).unwrap(),
                    Some(Subscription { counters, events: true }),
                ),
                _ => Served::Answer(Ok(
                    params.map_or_else(|| to_raw_value("nothing").unwrap(), RawValue::to_owned)
                )),
            }
        }
    }

    /// A server in a folder of its own, whose clock is moved by hand.
    struct Bench {
        server: Server,
        echo: Echo,
        now: Instant,
        path: PathBuf,
        _folder: tempfile::TempDir,
    }

    const BOUNDS: Bounds = Bounds {
        clients: 4,
        subscribers: 2,
        request: 100_000,
        requests: 150_000,
        request_time: Duration::from_secs(5),
        rate: 10,
        answer: 100_000,
        answers: 1000,
        notifications: 5000,
        answer_time: Duration::from_secs(10),
        silence: Duration::from_secs(60),
    };

    impl Bench {
        fn new() -> Bench {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("s.sock");
            let server = Server::with_bounds(Socket::bind(&path, None).unwrap(), BOUNDS);
            Bench { server, echo: Echo::default(), now: Instant::now(), path, _folder: folder }
        }

        fn client(&mut self) -> BufReader<UnixStream> {
            let stream = UnixStream::connect(&self.path).unwrap();
            stream.set_nonblocking(true).unwrap();
            self.turns(1);
            BufReader::new(stream)
        }

        /// As the control thread does, without waiting.
        fn turns(&mut self, turns: usize) {
            for _ in 0..turns {
                let mut fds = Vec::new();
                self.server.watch(&mut fds, self.now);
                rustix::event::poll(&mut fds, Some(&rustix::event::Timespec::default())).unwrap();
                let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
                self.server.turn(&ready, self.now, &mut self.echo);
            }
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            self.turns(2);
        }
    }

    fn say(client: &mut BufReader<UnixStream>, text: &str) {
        client.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn echo(id: u32, text: &str) -> String {
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"echo\",\"params\":[\"{text}\"]}}\n")
    }

    fn heard(client: &mut BufReader<UnixStream>) -> Option<Value> {
        let mut line = String::new();
        match client.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn is_closed(client: &mut BufReader<UnixStream>) -> bool {
        let mut rest = Vec::new();
        match client.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    #[test]
    fn requests_of_one_client_are_answered_in_their_order_one_a_turn() {
        let mut bench = Bench::new();
        let mut client = bench.client();
        say(&mut client, &(echo(1, "a") + "\n \n" + &echo(2, "b") + &echo(3, "c")));
        bench.turns(1);
        assert_eq!(heard(&mut client).unwrap()["id"], 1);
        assert!(heard(&mut client).is_none());
        assert_eq!(bench.server.due(bench.now), Some(bench.now), "there is more to do at once");
        bench.turns(4);
        assert_eq!(heard(&mut client).unwrap()["result"][0], "b");
        assert_eq!(heard(&mut client).unwrap()["id"], 3);
        assert!(bench.server.due(bench.now) > Some(bench.now));
    }

    #[test]
    fn while_an_answer_is_being_made_the_next_request_waits_and_other_clients_do_not() {
        let mut bench = Bench::new();
        let (mut one, mut two) = (bench.client(), bench.client());
        say(&mut one, &(echo(1, "a").replace("echo", "later") + &echo(2, "b")));
        bench.turns(3);
        say(&mut two, &echo(7, "x"));
        bench.turns(3);
        assert_eq!(heard(&mut two).unwrap()["id"], 7);
        assert!(heard(&mut one).is_none());
        bench.pass(BOUNDS.request_time * 3);
        let ticket = bench.echo.later.pop().unwrap();
        bench.server.finish(ticket, Err(&Error::internal("why")));
        bench.turns(3);
        assert_eq!(heard(&mut one).unwrap()["error"]["code"], -32603);
        assert_eq!(heard(&mut one).unwrap()["id"], 2, "its time does not pass while it waits for us");
    }

    #[test]
    fn an_answer_that_is_too_large_is_an_error_in_its_place() {
        let mut bench = Bench::new();
        let mut one = bench.client();
        say(&mut one, &(echo(1, "a").replace("echo", "later") + &echo(2, "b")));
        bench.turns(3);
        let large = to_raw_value(&"x".repeat(BOUNDS.answer)).unwrap();
        let ticket = bench.echo.later.pop().unwrap();
        bench.server.finish(ticket, Ok(&large));
        bench.turns(3);
        assert_eq!(heard(&mut one).unwrap()["error"]["code"], Error::TOO_LARGE);
        assert_eq!(heard(&mut one).unwrap()["id"], 2);
    }

    #[test]
    fn an_answer_for_a_client_that_went_away_is_nobodys() {
        let mut bench = Bench::new();
        let mut one = bench.client();
        say(&mut one, &echo(1, "a").replace("echo", "later"));
        bench.turns(2);
        drop(one);
        bench.turns(2);
        assert_eq!(bench.server.clients(), 0);
        let ticket = bench.echo.later.pop().unwrap();
        bench.server.finish(ticket, Err(&Error::internal("late")));
    }

    #[test]
    fn what_a_client_says_before_it_hangs_up_is_heard() {
        let mut bench = Bench::new();
        let mut one = bench.client();
        say(&mut one, &echo(1, "a").repeat(3));
        drop(one);
        bench.turns(5);
        assert_eq!((bench.echo.served, bench.server.clients()), (3, 0));
    }

    #[test]
    fn above_its_share_a_client_waits_and_another_does_not() {
        let mut bench = Bench::new();
        let (mut one, mut two) = (bench.client(), bench.client());
        say(&mut one, &echo(1, "a").repeat(30));
        bench.turns(100);
        assert_eq!(bench.echo.served, 10);
        let due = bench.server.due(bench.now).unwrap() - bench.now;
        assert!(due > Duration::ZERO && due <= Duration::from_millis(101), "{due:?}");
        say(&mut two, &echo(2, "b"));
        bench.turns(2);
        assert!(heard(&mut two).is_some());
        bench.pass(Duration::from_millis(550));
        bench.turns(20);
        assert_eq!(bench.echo.served, 10 + 1 + 5);
        // Lines without anything in them cost as much.
        say(&mut two, &"\n".repeat(500));
        bench.turns(50);
        assert!(bench.server.due(bench.now) > Some(bench.now));
    }

    #[test]
    fn a_client_that_takes_no_answers_is_not_read_from_and_closed_after_a_while() {
        let mut bench = Bench::new();
        let mut slow = bench.client();
        let large = "x".repeat(90_000);
        for id in 0..8 {
            bench.pass(Duration::from_millis(100));
            slow.get_mut().set_nonblocking(true).unwrap();
            let request = echo(id, &large);
            let mut sent = 0;
            // The kernel's buffers fill up in both directions, then the server stops to listen.
            for _ in 0..50 {
                match slow.get_mut().write(&request.as_bytes()[sent..]) {
                    Ok(count) => sent += count,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
                bench.turns(1);
            }
            if sent < request.len() {
                break;
            }
            assert!(id < 7, "it is still listened to");
        }
        let served = bench.echo.served;
        bench.pass(BOUNDS.answer_time / 2);
        assert_eq!((bench.server.clients(), bench.echo.served), (1, served));
        bench.pass(BOUNDS.answer_time);
        assert_eq!(bench.server.clients(), 0);
    }

    #[test]
    fn a_request_that_is_too_long_or_takes_too_long_is_told_so_and_the_client_closed() {
        let mut bench = Bench::new();
        let (mut long, mut late) = (bench.client(), bench.client());
        say(&mut late, "{\"jsonrpc\"");
        for _ in 0..11 {
            // The last may find the other side closed.
            let _ = long.get_mut().write_all(&[b'x'; 10_000]);
            bench.turns(1);
        }
        assert_eq!(heard(&mut long).unwrap()["error"]["code"], Error::TOO_LARGE);
        assert!(is_closed(&mut long));
        bench.pass(BOUNDS.request_time - Duration::from_millis(1));
        assert!(heard(&mut late).is_none());
        say(&mut late, ":");
        bench.pass(Duration::from_millis(1));
        assert_eq!(heard(&mut late).unwrap()["error"]["code"], Error::TIMEOUT);
        assert!(is_closed(&mut late));
        assert_eq!(bench.server.clients(), 0);
    }

    #[test]
    fn what_all_clients_have_sent_together_is_bounded() {
        let mut bench = Bench::new();
        let (mut one, mut two) = (bench.client(), bench.client());
        for _ in 0..8 {
            say(&mut one, &"x".repeat(10_000));
            say(&mut two, &"x".repeat(9_000));
            bench.turns(1);
        }
        assert_eq!(heard(&mut one).unwrap()["error"]["code"], Error::BUSY, "the larger one leaves");
        say(&mut two, "\n");
        bench.turns(2);
        assert_eq!(heard(&mut two).unwrap()["error"]["code"], Error::PARSE);
    }

    #[test]
    fn a_silent_client_makes_room_for_another_and_one_that_is_promised_something_does_not() {
        let mut bench = Bench::new();
        let (mut subscribed, mut busy) = (bench.client(), bench.client());
        say(&mut subscribed, &echo(1, "").replace("echo", "subscribe"));
        say(&mut busy, &echo(1, "").replace("echo", "later"));
        bench.turns(2);
        let mut silent = bench.client();
        let (mut half, mut more) = (bench.client(), bench.client());
        assert!(is_closed(&mut silent));
        say(&mut half, "{");
        bench.turns(1);
        say(&mut more, "{");
        bench.turns(1);
        let mut refused = bench.client();
        assert_eq!(heard(&mut refused).unwrap()["error"]["code"], Error::BUSY);
        assert!(is_closed(&mut refused));
        assert_eq!(bench.server.clients(), 4);
        bench.pass(BOUNDS.request_time);
        assert!(heard(&mut subscribed).is_some());
        assert_eq!(bench.server.clients(), 2, "the halves of requests have run out of time");
        let mut fresh = bench.client();
        say(&mut fresh, &echo(3, "c"));
        bench.turns(2);
        assert!(heard(&mut fresh).is_some());
        bench.pass(BOUNDS.silence);
        assert!(is_closed(&mut fresh), "it has said nothing for too long");
        assert_eq!(bench.server.clients(), 2);
    }

    #[test]
    fn a_subscriber_that_does_not_keep_up_misses_notifications_and_is_told_how_many() {
        let mut bench = Bench::new();
        let mut clients = [bench.client(), bench.client(), bench.client()];
        for client in &mut clients {
            say(client, &echo(1, "").replace("echo", "subscribe"));
        }
        bench.turns(2);
        let answers: Vec<Value> = clients.iter_mut().map(|client| heard(client).unwrap()).collect();
        assert_eq!(answers.iter().filter(|answer| answer["error"]["code"] == Error::BUSY).count(), 1);
        let due = bench.server.counters_due();
        assert_eq!(due, Some(bench.now), "the first come at once");
        let tick = |missed: u64| format!("{missed}{}\n", "x".repeat(4000)).into_bytes();
        let mut missed = Vec::new();
        for _ in 0..200 {
            bench.server.publish_counters(bench.now, |count| {
                missed.push(count);
                tick(count)
            });
            bench.server.publish(b"event\n");
            bench.pass(Duration::from_millis(500));
        }
        let most = missed.iter().max().copied().unwrap();
        assert!(most > 0, "they read nothing, and the room is bounded");
        let waiting: usize = bench.server.clients.iter().map(Client::waits_to_be_read).sum();
        assert!(waiting <= 2 * BOUNDS.notifications, "{waiting}");
    }
}
