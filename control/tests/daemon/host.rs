//! A host for one test: a folder with a configuration and captures, and daemons that are started there.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sekisho_dataplane::port::pcap::{CaptureRecord, CaptureWriter, Format, LinkType};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Nothing here takes as long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The traffic of a host goes on for longer than any test.
const TRAFFIC: Duration = Duration::from_secs(240);
/// The time between two packets.
const PACE: Duration = Duration::from_millis(4);

/// A customer in the pool `flets`, and one in the pool `static`.
pub(crate) const CUSTOMER: [u8; 4] = [203, 0, 113, 7];
pub(crate) const STATIC: [u8; 4] = [198, 51, 100, 7];
/// A mail server elsewhere, in the set `carriers`.
pub(crate) const OUTSIDE: [u8; 4] = [192, 0, 2, 200];

/// What a test's configuration says beside its ports.
pub(crate) const TABLES: &str = r#"
[sets]
own-msa = ["192.0.2.25/32"]
carriers = ["192.0.2.192/26"]

[[policy]]
name = "dynamic"
allow = ["own-msa"]
action = "reject"
phases = [
  { name = "carriers", from = "2005-10-18T00:00:00+09:00", block = ["carriers"] },
]

[[policy]]
name = "static"
kind = "exempt"

[[pool]]
name = "flets"
title = "My-BフレッツF/M-B"
policy = "dynamic"
prefixes = ["203.0.113.0/25", "2001:db8:1::/48"]

[[pool]]
name = "static"
policy = "static"
prefixes = ["198.51.100.0/24"]
"#;

/// The folder of a test.
pub(crate) struct Host {
    folder: TempDir,
}

impl Host {
    /// A host whose traffic never ends: a customer knocks at port 25 and at 587 of [`OUTSIDE`], by turns, and another in
    /// the pool `static` at port 25.
    pub(crate) fn new() -> Host {
        let host = Host { folder: tempfile::tempdir().unwrap() };
        let packets = (TRAFFIC.as_nanos() / PACE.as_nanos()) as usize;
        let frames = [tcp(CUSTOMER, OUTSIDE, 25), tcp(CUSTOMER, OUTSIDE, 587), tcp(STATIC, OUTSIDE, 25)];
        host.capture("traffic.pcap", frames.iter().cycle().take(packets), PACE);
        host.configure(TABLES);
        host
    }

    /// Configures [`TABLES`], and a pool of 100,000 prefixes beside it.
    pub(crate) fn configure_many(&self) {
        let list: String =
            (0..100_000u32).map(|n| format!("10.{}.{}.{}/32\n", n >> 16, n >> 8 & 255, n & 255)).collect();
        self.write("many.txt", &list);
        self.configure(&format!(
            "{TABLES}\n[[pool]]\nname = \"many\"\npolicy = \"dynamic\"\nprefixes = {{ file = \"many.txt\" }}\n"
        ));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("run/control.sock")
    }

    pub(crate) fn capture<'a>(&self, name: &str, frames: impl Iterator<Item = &'a Vec<u8>>, pace: Duration) {
        let mut writer = CaptureWriter::create(&self.path(name), Format::Pcap).unwrap();
        for (at, bytes) in frames.enumerate() {
            let record = CaptureRecord {
                bytes,
                nanos: 1_149_087_600_000_000_000 + (pace * at as u32).as_nanos() as i64,
                original_len: bytes.len() as u32,
                link: LinkType::Ethernet,
                interface: None,
                comment: None,
            };
            writer.write(&record).unwrap();
        }
        writer.finish().unwrap();
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Ports that play the traffic, a socket and a state folder, and `tables`.
    pub(crate) fn whole(&self, tables: &str) -> String {
        let core = sekisho_control::cores::all().unwrap()[0];
        let control = "[control]\nsocket = \"run/control.sock\"\nstate = \"state\"\n";
        format!(
            "[dataplane]\ncores = [{core}]\npoll = \"interrupt\"\n{control}\
             [[port]]\nname = \"access\"\nrole = \"subscriber\"\npeer = \"core\"\ndriver = \"pcap\"\n\
             read = \"traffic.pcap\"\nrate = \"capture\"\n\
             [[port]]\nname = \"core\"\nrole = \"internet\"\npeer = \"access\"\ndriver = \"pcap\"\n{tables}"
        )
    }

    /// Writes the configuration that daemons are started with.
    pub(crate) fn configure(&self, tables: &str) {
        self.write("sekisho.toml", &self.whole(tables));
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sekisho"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("SEKISHO_SOCKET", self.socket())
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::null());
        command
    }

    /// Runs the command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs the command, which must do what it is asked to, and gives what it prints.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {told}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs the command, which must refuse, and gives what it complains of.
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
        told
    }

    /// Starts a daemon and waits until it serves.
    pub(crate) fn start(&self) -> Daemon {
        self.start_with(|_| {})
    }

    pub(crate) fn start_with(&self, prepare: impl FnOnce(&mut Command)) -> Daemon {
        let mut command = self.command(&["run", "-c", "sekisho.toml"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        prepare(&mut command);
        let mut child = command.spawn().unwrap();
        let stderr = child.stderr.take().map(gather);
        let daemon = Daemon { child, stderr };
        let begun = Instant::now();
        while UnixStream::connect(self.socket()).is_err() {
            assert!(begun.elapsed() < PATIENCE, "the daemon does not serve");
            std::thread::sleep(Duration::from_millis(5));
        }
        daemon
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.socket())
    }
}

/// Collects what a stream says, on a thread.
fn gather(mut stream: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    })
}

/// A daemon. It is killed when the test is done with it.
pub(crate) struct Daemon {
    child: Child,
    stderr: Option<std::thread::JoinHandle<String>>,
}

/// How a daemon ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Daemon {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid() as i32).unwrap(), signal).unwrap();
    }

    /// Kills it as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(mut self) -> Ended {
        let stdout = self.child.stdout.take().map(gather);
        let begun = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(begun.elapsed() < PATIENCE, "the daemon does not end"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let text = |thread: Option<std::thread::JoinHandle<String>>| {
            thread.map_or(String::new(), |thread| thread.join().unwrap())
        };
        Ended { code: status.code(), stdout: text(stdout), stderr: text(self.stderr.take()) }
    }

    /// Asks it to end, and waits.
    pub(crate) fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.wait()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that speaks the protocol by hand.
pub(crate) struct Client {
    pub(crate) stream: BufReader<UnixStream>,
    calls: u64,
}

impl Client {
    pub(crate) fn connect(path: &Path) -> Client {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client { stream: BufReader::new(stream), calls: 0 }
    }

    pub(crate) fn send(&mut self, line: &str) {
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// The next line; none if the daemon has closed the connection.
    pub(crate) fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// What comes back for a line.
    pub(crate) fn say(&mut self, line: &str) -> Value {
        self.send(line);
        self.line().expect("an answer")
    }

    pub(crate) fn call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.calls += 1;
        let request = json!({ "jsonrpc": "2.0", "id": self.calls, "method": method, "params": params });
        let mut answer = self.say(&request.to_string());
        assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(self.calls)), "{answer}");
        match answer.get("error") {
            Some(error) => Err(error.clone()),
            None => Ok(answer["result"].take()),
        }
    }

    pub(crate) fn ask(&mut self, method: &str) -> Value {
        self.call(method, json!({})).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    pub(crate) fn received(&mut self) -> u64 {
        self.ask("counters")["totals"]["received_packets"].as_u64().unwrap()
    }

    /// Waits until the daemon has received more packets: whatever happens, it forwards.
    pub(crate) fn wait_for_traffic(&mut self) {
        let before = self.received();
        self.wait_until("packets arrive", |client| client.received() > before + 2);
    }

    pub(crate) fn wait_until(&mut self, what: &str, mut is_so: impl FnMut(&mut Client) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A SYN, as a frame.
pub(crate) fn tcp(source: [u8; 4], destination: [u8; 4], port: u16) -> Vec<u8> {
    let mut frame = vec![0; 54];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
    frame[14..26].copy_from_slice(&[0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0]);
    frame[26..30].copy_from_slice(&source);
    frame[30..34].copy_from_slice(&destination);
    frame[34..36].copy_from_slice(&50_000u16.to_be_bytes());
    frame[36..38].copy_from_slice(&port.to_be_bytes());
    frame[46..48].copy_from_slice(&[0x50, 2]);
    frame
}
