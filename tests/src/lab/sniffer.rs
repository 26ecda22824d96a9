//! tcpdump at an interface: what was there, byte for byte.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use super::namespace::Namespace;
use super::{Lab, await_some, await_that};
use crate::capture;

/// Which frames of an interface are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Those that arrive there.
    In,
    /// Those that leave there.
    Out,
}

/// tcpdump, which runs until this is dropped.
pub struct Sniffer {
    child: Child,
    file: PathBuf,
    messages: PathBuf,
}

impl Lab {
    /// Captures from now on.
    pub fn sniff(&self, namespace: &Namespace, device: &str, way: Way) -> Sniffer {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = self.file(&format!("{device}-{number}.pcap"));
        let messages = file.with_extension("log");
        let way = match way {
            Way::In => "in",
            Way::Out => "out",
        };
        // Every byte, at once, with 32 MiB for what comes while tcpdump waits for a core.
        let child = namespace
            .command("tcpdump")
            .args(["-Z", "root", "-n", "-s", "0", "-B", "32768", "-U", "--immediate-mode"])
            .args(["-i", device, "-Q", way, "-w"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(File::create(&messages).expect("the lab's folder is writable"))
            .spawn()
            .expect("tcpdump starts");
        let mut sniffer = Sniffer { child, file, messages };
        await_that("tcpdump listens", || {
            let ended = sniffer.child.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "tcpdump: {}", sniffer.said());
            sniffer.said().contains("listening on")
        });
        sniffer
    }
}

impl Sniffer {
    fn said(&self) -> String {
        fs::read_to_string(&self.messages).unwrap_or_default()
    }

    /// What was captured so far.
    pub fn frames(&self) -> Vec<Vec<u8>> {
        let bytes = fs::read(&self.file).unwrap_or_default();
        let capture = capture::read(&bytes).unwrap_or_default();
        capture.frames.into_iter().map(|frame| frame.bytes).collect()
    }

    /// Waits until there is such a frame among those from the `from`th on; gives its number.
    pub fn await_frame(&self, what: &str, from: usize, mut is_it: impl FnMut(&[u8]) -> bool) -> usize {
        let mut size = 0;
        await_some(what, || {
            let now = fs::metadata(&self.file).map_or(0, |metadata| metadata.len());
            if now == size {
                return None;
            }
            size = now;
            let frames = self.frames();
            let found = frames.iter().skip(from).position(|frame| is_it(frame))?;
            Some(from + found)
        })
    }

    /// Ends it; gives all frames.
    ///
    /// # Panics
    /// When tcpdump missed some.
    pub fn end(mut self) -> Vec<Vec<u8>> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a child's number");
        kill_process(pid, Signal::INT).expect("a child can be sent a signal");
        await_some("tcpdump has ended", || self.child.try_wait().expect("a child can be waited for"));
        let said = self.said();
        assert!(said.contains("\n0 packets dropped by kernel"), "tcpdump: {said}");
        self.frames()
    }

    /// Its file.
    pub fn file(&self) -> &Path {
        &self.file
    }
}

impl Drop for Sniffer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What tcpdump finds wrong with checksums in a capture: the lines that it says so in.
pub fn wrong_checksums(lab: &Lab, file: &Path) -> Vec<String> {
    let printed = lab.checkpoint.run("tcpdump", ["-nn", "-vv", "-r", file.to_str().expect("a plain path")]);
    let is_wrong = |line: &&str| {
        ["incorrect", "bad cksum", "bad hdr cksum", "wrong icmp"].iter().any(|sign| line.contains(sign))
    };
    printed.lines().filter(is_wrong).map(str::to_owned).collect()
}
