//! Much at once: files over HTTP by curl, and iperf3.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use serde_json::Value;

use super::daemon::argument;
use super::namespace::Namespace;
use super::{Lab, await_some};

/// A folder's files over HTTP: GET gives them, PUT writes them. As much of RFC 9112 as curl needs.
pub struct FileServer {
    listener: TcpListener,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Namespace {
    /// Serves a folder here.
    pub fn serve_files(&self, address: SocketAddr, folder: &Path) -> FileServer {
        let listener = self.enter(|| TcpListener::bind(address)).unwrap_or_else(|e| panic!("{address}: {e}"));
        let stop = Arc::new(AtomicBool::new(false));
        let (folder, stopped) = (folder.to_owned(), Arc::clone(&stop));
        let handle = listener.try_clone().expect("a socket can be cloned");
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((stream, _)) = handle.accept() {
                    // The client sees that something is missing.
                    let _ = answer(&stream, &folder);
                }
            }
        });
        FileServer { listener, stop, thread: Some(thread) }
    }
}

fn answer(stream: &TcpStream, folder: &Path) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut length = 0;
    let mut wants_leave = false;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        wants_leave |= line == "expect: 100-continue";
    }
    let mut words = request.split_whitespace();
    let (method, name) = (words.next(), words.next().unwrap_or_default().trim_start_matches('/'));
    let path = folder.join(name);
    let mut writer = stream;
    if method == Some("PUT") {
        if wants_leave {
            write!(writer, "HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        io::copy(&mut reader.take(length), &mut File::create(path)?)?;
        return write!(writer, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let content = fs::read(path)?;
    write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len())?;
    writer.write_all(&content)
}

impl Drop for FileServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A file of that many bytes, of which no two stretches are alike.
pub fn random_file(path: &Path, bytes: u64) {
    let mut random = File::open("/dev/urandom").expect("the system has random bytes").take(bytes);
    let mut file = File::create(path).expect("the lab's folder is writable");
    io::copy(&mut random, &mut file).expect("the lab's folder has room");
}

/// What sha256sum says of a file.
pub fn sha256(namespace: &Namespace, path: &Path) -> String {
    let printed = namespace.run("sha256sum", [argument(path)]);
    printed.split_whitespace().next().expect("a sum").to_owned()
}

/// What iperf3 says of a transfer, at both its ends.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// Segments sent once more.
    pub retransmits: u64,
}

/// An iperf3 that runs.
pub struct Iperf {
    server: Child,
    client: Child,
    printed: PathBuf,
}

impl Lab {
    /// Has customers send by iperf3 to a server in the world, with further options of the client.
    pub fn iperf(&self, server: SocketAddr, options: &[&str]) -> Iperf {
        let (address, port) = (server.ip().to_string(), server.port().to_string());
        let served = self.file(&format!("iperf3-server-{port}.log"));
        let log = File::create(&served).expect("the lab's folder is writable");
        let child = self
            .internet
            .command("iperf3")
            .args(["--server", "--one-off", "--forceflush", "--bind", &address, "--port", &port])
            .stderr(log.try_clone().expect("a file can be cloned"))
            .stdout(log)
            .spawn()
            .expect("iperf3 starts");
        let server = child;
        await_some("iperf3 listens", || {
            fs::read_to_string(&served).is_ok_and(|said| said.contains("listening")).then_some(())
        });
        let printed = self.file(&format!("iperf3-client-{port}.log"));
        let client = self
            .subscriber
            .command("iperf3")
            .args(["--json", "--client", &address, "--port", &port])
            .args(options)
            .stdin(Stdio::null())
            .stdout(File::create(&printed).expect("the lab's folder is writable"))
            .spawn()
            .expect("iperf3 starts");
        Iperf { server, client, printed }
    }
}

impl Iperf {
    /// Waits until it is through.
    pub fn end(mut self) -> Transfer {
        let status = self.client.wait().expect("a child can be waited for");
        let printed = fs::read_to_string(&self.printed).unwrap_or_default();
        assert!(status.success(), "iperf3: {printed}");
        let report: Value = serde_json::from_str(&printed).unwrap_or_else(|e| panic!("{e}: {printed}"));
        let number = |end: &str, what: &str| report["end"][end][what].as_u64().unwrap_or(0);
        Transfer {
            sent: number("sum_sent", "bytes"),
            received: number("sum_received", "bytes"),
            retransmits: number("sum_sent", "retransmits"),
        }
    }
}

impl Drop for Iperf {
    fn drop(&mut self) {
        for child in [&mut self.client, &mut self.server] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
