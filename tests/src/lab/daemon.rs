//! `sekisho run` in the lab, and its commands.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::configuration::Configuration;
use super::{Lab, PATIENCE, await_some, await_that};
use crate::binary::{self, Finished};

/// A daemon between the lab's cables. Dropped, it is killed.
pub struct Daemon<'a> {
    lab: &'a Lab,
    child: Child,
    config: PathBuf,
    /// Where what it printed before this start ends.
    printed: u64,
    /// How far what it has printed since was [awaited](Daemon::await_printed).
    heard: usize,
}

impl Lab {
    /// Starts Sekisho, and waits until all its ports are up.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(&self, configuration: &Configuration) -> Daemon<'_> {
        let mut daemon = self.begin(configuration);
        await_that("sekisho's ports are up", || {
            daemon.assert_alive();
            daemon.ask("status").is_ok_and(|status| {
                status["ports"].as_array().is_some_and(|ports| ports.iter().all(|port| port["up"] == true))
            })
        });
        daemon
    }

    /// Starts Sekisho, and waits until it serves, whether its ports are up or not.
    ///
    /// # Panics
    /// When it does not start.
    pub fn begin(&self, configuration: &Configuration) -> Daemon<'_> {
        // The kernel takes up to a second to say that a link is up which is, and what comes meanwhile is lost.
        await_that("the cables have a carrier", || {
            self.checkpoint.run("ip", ["-oneline", "link", "show", "up"]).matches("state UP").count()
                == configuration.ports()
        });
        let mut daemon = self.spawn(configuration);
        await_that("sekisho serves", || {
            daemon.assert_alive();
            daemon.ask("status").is_ok()
        });
        daemon
    }

    fn spawn(&self, configuration: &Configuration) -> Daemon<'_> {
        let config = self.file("sekisho.toml");
        fs::write(&config, configuration.to_toml()).expect("the lab's folder is writable");
        let log = self.file("sekisho.log");
        let printed = fs::metadata(&log).map_or(0, |metadata| metadata.len());
        let open =
            || OpenOptions::new().create(true).append(true).open(&log).expect("the lab's folder is writable");
        let child = self
            .checkpoint
            .command(binary::sekisho().to_str().expect("a plain path"))
            .args(["run", "-c"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(open())
            .stderr(open())
            .spawn()
            .expect("sekisho starts");
        Daemon { lab: self, child, config, printed, heard: 0 }
    }

    /// Starts Sekisho where it can't run, and waits until it has refused.
    pub fn refused(&self, configuration: &Configuration) -> Finished {
        let mut daemon = self.spawn(configuration);
        daemon.wait()
    }

    /// One of Sekisho's other commands, here.
    pub fn sekisho<'s>(&self, arguments: impl IntoIterator<Item = &'s str>) -> Finished {
        let output = self.checkpoint.output(binary::sekisho().to_str().expect("a plain path"), arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Finished { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

impl Daemon<'_> {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn socket(&self) -> String {
        self.lab.file("control.sock").to_str().expect("a plain path").to_owned()
    }

    /// What it has printed since it was started.
    pub fn printed(&self) -> String {
        let all = fs::read(self.lab.file("sekisho.log")).unwrap_or_default();
        String::from_utf8_lossy(all.get(self.printed as usize..).unwrap_or_default()).into_owned()
    }

    fn assert_alive(&mut self) {
        if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
            panic!("sekisho has ended, {status}:\n{}", self.printed());
        }
    }

    /// A command that asks it.
    pub fn command(&self, words: &[&str]) -> Finished {
        let socket = self.socket();
        self.lab.sekisho(words.iter().copied().chain(["--socket", &socket]))
    }

    /// The same, with its JSON.
    ///
    /// # Errors
    /// It refuses, or does not answer: what the command printed to standard error.
    pub fn ask(&self, words: &str) -> Result<Value, String> {
        let mut words: Vec<&str> = words.split_whitespace().collect();
        words.push("--json");
        let Finished { code, stdout, stderr } = self.command(&words);
        match code {
            Some(0) => serde_json::from_str(&stdout).map_err(|e| format!("{e}: {stdout}")),
            _ => Err(stderr),
        }
    }

    /// Puts another configuration in force; gives the generation.
    ///
    /// # Errors
    /// It refuses.
    pub fn reload(&self, configuration: &Configuration) -> Result<u64, String> {
        // Beside the old one and into its place: nobody sees half of it.
        let beside = self.config.with_extension("toml.new");
        fs::write(&beside, configuration.to_toml()).expect("the lab's folder is writable");
        fs::rename(&beside, &self.config).expect("the lab's folder is writable");
        let reloaded = self.ask("reload")?;
        reloaded["generation"].as_u64().ok_or_else(|| format!("no generation: {reloaded}"))
    }

    /// Everything that it counts.
    pub fn counters(&self) -> Counters {
        Counters(self.ask("counters").unwrap_or_else(|e| panic!("sekisho counters: {e}")))
    }

    /// Waits until its counters say something.
    pub fn await_counters(&self, what: &str, mut is_so: impl FnMut(&Counters) -> bool) {
        await_that(what, || is_so(&self.counters()));
    }

    /// Waits until its status says something.
    pub fn await_status(&self, what: &str, mut is_so: impl FnMut(&Value) -> bool) {
        await_that(what, || self.ask("status").is_ok_and(|status| is_so(&status)));
    }

    /// Waits until it prints something, after what was awaited before.
    pub fn await_printed(&mut self, text: &str) {
        let heard = self.heard;
        self.heard = await_some(&format!("sekisho printed {text:?}"), || {
            self.assert_alive();
            self.printed().get(heard..)?.find(text).map(|at| heard + at + text.len())
        });
    }

    /// Kills it without a word.
    pub fn kill(mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    fn wait(&mut self) -> Finished {
        let status =
            await_some("sekisho has ended", || self.child.try_wait().expect("a child can be waited for"));
        let printed = self.printed();
        Finished { code: status.code(), stdout: printed.clone(), stderr: printed }
    }

    /// Ends it with SIGTERM. Its books have to balance, and nothing may have broken.
    pub fn end(mut self) -> Counters {
        let counters = self.balanced_counters();
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a child's number");
        kill_process(pid, Signal::TERM).expect("a child can be sent a signal");
        let finished = self.wait();
        assert!(finished.code == Some(0) && finished.broke().is_empty(), "{finished:?}");
        counters
    }

    /// The counters, once nothing is under way any more.
    fn balanced_counters(&self) -> Counters {
        let begun = Instant::now();
        let mut last = self.counters();
        loop {
            thread::sleep(Duration::from_millis(20));
            let now = self.counters();
            // A burst may be half booked while they are read, and its worker wait for its core.
            let imbalance = now.imbalance();
            if imbalance.is_none() && now.0["totals"] == last.0["totals"] {
                return now;
            }
            if let Some(imbalance) = imbalance.filter(|_| begun.elapsed() > PATIENCE) {
                panic!("the books don't balance: {imbalance}");
            }
            assert!(begun.elapsed() < 2 * PATIENCE, "there is no end to what comes: {now}");
            last = now;
        }
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("sekisho printed:\n{}", self.printed());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `sekisho counters --json` prints.
#[derive(Clone)]
pub struct Counters(Value);

impl Counters {
    fn number(value: &Value) -> u64 {
        value.as_u64().unwrap_or(0)
    }

    fn port_value(&self, port: &str) -> &Value {
        let ports = self.0["ports"].as_array().expect("ports are listed");
        ports.iter().find(|listed| listed["port"] == port).unwrap_or_else(|| panic!("no port {port}: {self}"))
    }

    /// One of the totals.
    pub fn total(&self, what: &str) -> u64 {
        Self::number(&self.0["totals"][what])
    }

    /// One of a port's numbers.
    pub fn port(&self, port: &str, what: &str) -> u64 {
        Self::number(&self.port_value(port)[what])
    }

    /// What a port's driver counted by itself.
    pub fn driver(&self, port: &str, what: &str) -> u64 {
        Self::number(&self.port_value(port)["driver"][what])
    }

    /// How many packets had this reason, whatever was done with them.
    pub fn reason(&self, reason: &str) -> u64 {
        Self::sum(&self.0["totals"]["reasons"][reason])
    }

    /// How many packets with this reason had this done to them.
    pub fn done(&self, reason: &str, action: &str) -> u64 {
        Self::number(&self.0["totals"]["reasons"][reason][action])
    }

    /// How many packets were forwarded that a monitored deny of this reason was meant for.
    pub fn would_deny(&self, reason: &str) -> u64 {
        Self::number(&self.0["totals"]["would_deny"][reason])
    }

    fn sum(done: &Value) -> u64 {
        done.as_object().into_iter().flatten().map(|(_, count)| Self::number(count)).sum()
    }

    /// Frames that some driver had and could not take or give.
    pub fn lost(&self) -> u64 {
        const LOSSES: [&str; 9] = [
            "kernel_drops",
            "truncated",
            "merged",
            "checksum_incomplete",
            "unreadable",
            "oversize",
            "transmit_full",
            "transmit_failed",
            "transmit_down",
        ];
        let ports = self.0["ports"].as_array().expect("ports are listed");
        ports.iter().flat_map(|port| LOSSES.map(|what| Self::number(&port["driver"][what]))).sum()
    }

    /// Where a packet has no end, or two: policy.md, section 6.
    fn imbalance(&self) -> Option<String> {
        let ports = self.0["ports"].as_array().expect("ports are listed");
        let is_right = |books: &Value| {
            let number = |what: &str| Self::number(&books[what]);
            let reasons = books["reasons"].as_object().expect("reasons are listed");
            let decided: u64 = reasons.values().map(Self::sum).sum();
            let judged = number("forwarded_packets") + number("denied_packets");
            number("received_packets") == judged + number("errors")
                && decided == judged + number("forwards_lost") + number("diverts_lost")
        };
        if let Some(wrong) = ports.iter().chain([&self.0["totals"]]).find(|books| !is_right(books)) {
            return Some(wrong.to_string());
        }
        let sums = ["received_packets", "forwarded_packets", "denied_packets", "transmitted_packets"];
        let is_sum = |what: &&str| {
            ports.iter().map(|port| Self::number(&port[*what])).sum::<u64>() == self.total(what)
        };
        // What was to leave has left, or was lost by a driver.
        let total = |what: &str| self.total(what);
        let reasons = self.0["totals"]["reasons"].as_object().expect("reasons are listed");
        let done = |action: &str| reasons.values().map(|done| Self::number(&done[action])).sum::<u64>();
        let to_leave = total("forwarded_packets") + done("divert") + done("reject") + total("checks_sent");
        let gone = total("transmitted_packets") + total("transmit_lost");
        let kept = total("check_answers") + total("diverts_lost") + total("replies_lost");
        if to_leave != gone + kept {
            return Some(format!("{to_leave} were to leave, and not {gone} and {kept}: {self}"));
        }
        let wrong = sums.iter().find(|what| !is_sum(what));
        wrong.map(|what| format!("{what} of the ports is not that of the totals: {self}"))
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

/// The path of a file as an argument.
pub fn argument(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}
