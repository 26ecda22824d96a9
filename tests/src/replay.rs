//! `sekisho replay`: how frames go in, and what its lines, its captures and its summary have to say together.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::binary::{self, Finished};
use crate::capture::{self, ETHERNET};
use crate::twin::Micros;
use crate::vectors;

/// A frame and the port that receives it, at an instant.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The port's name.
    pub port: String,
    /// When.
    pub at: Micros,
    /// The frame.
    pub frame: Vec<u8>,
}

/// A run of `sekisho replay --clock capture`.
#[derive(Clone, Debug)]
pub struct Replay<'a> {
    /// The configuration.
    pub config: &'a toml::Table,
    /// Frames in the order of their instants.
    pub arrivals: &'a [Arrival],
    /// As `--grant` takes them.
    pub grants: Vec<String>,
    /// Dead ports.
    pub down: &'a [String],
}

/// What a run gave.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// A line for every arrival, in the order of the arrivals.
    pub lines: Vec<Map<String, Value>>,
    /// The frames that left by each port.
    pub left: BTreeMap<String, Vec<Vec<u8>>>,
    /// What is wrong with the run as a whole; empty: nothing.
    pub faults: Vec<String>,
}

impl Replay<'_> {
    /// Writes configuration and captures into `folder` and runs the binary there.
    ///
    /// The command is left there too, so that a failure can be looked at by hand.
    pub fn run(&self, folder: &Path) -> Result<Replayed, Vec<String>> {
        fs::create_dir_all(folder).map_err(|e| vec![format!("{}: {e}", folder.display())])?;
        let config = toml::to_string(self.config).expect("a table is TOML");
        fs::write(folder.join("config.toml"), config).expect("a scratch folder is writable");

        let mut arguments: Vec<String> =
            ["replay", "-c", "config.toml", "--clock", "capture", "--json"].map(str::to_owned).into();
        assert!(self.in_order(), "frames out of order: replay would take them in another");
        for port in self.inputs() {
            let frames = self.arrivals.iter().filter(|a| a.port == port).map(|a| (a.at, a.frame.as_slice()));
            capture::write(&folder.join(format!("in-{port}.pcap")), ETHERNET, frames)
                .expect("a scratch folder is writable");
            arguments.extend(["--in".to_owned(), format!("{port}=in-{port}.pcap")]);
        }
        for port in self.ports() {
            arguments.extend(["--out".to_owned(), format!("{port}={}", out_name(&port))]);
        }
        for grant in &self.grants {
            arguments.extend(["--grant".to_owned(), grant.clone()]);
        }
        for port in self.down {
            arguments.extend(["--down".to_owned(), port.clone()]);
        }
        fs::write(folder.join("command"), format!("sekisho {}\n", arguments.join(" ")))
            .expect("a scratch folder is writable");

        let finished = binary::run(folder, &arguments);
        self.read(folder, &finished)
    }

    /// Ports that receive something, in the order of their first frames: of equal instants the first goes
    /// first.
    fn inputs(&self) -> Vec<String> {
        let mut inputs: Vec<String> = Vec::new();
        for arrival in self.arrivals {
            if !inputs.contains(&arrival.port) {
                inputs.push(arrival.port.clone());
            }
        }
        inputs
    }

    /// Whether `replay` takes the frames as they stand: by instant, of equal ones by the order of the inputs.
    fn in_order(&self) -> bool {
        let inputs = self.inputs();
        let rank = |arrival: &Arrival| (arrival.at, inputs.iter().position(|port| *port == arrival.port));
        self.arrivals.is_sorted_by_key(rank)
    }

    /// All ports of the configuration.
    fn ports(&self) -> Vec<String> {
        let ports = self.config["port"].as_array().expect("ports");
        ports.iter().map(|port| port["name"].as_str().expect("a name").to_owned()).collect()
    }

    fn read(&self, folder: &Path, finished: &Finished) -> Result<Replayed, Vec<String>> {
        let mut faults = finished.broke();
        if finished.code != Some(0) {
            faults.push(format!("exit code {:?}: {}", finished.code, finished.stderr.trim()));
            return Err(faults);
        }
        let Output { lines, mut faults } = output(&finished.stdout).map_err(|e| vec![e])?;
        if lines.len() != self.arrivals.len() {
            faults.push(format!("{} lines for {} frames", lines.len(), self.arrivals.len()));
            return Err(faults);
        }
        // One line per frame, in input order: the n-th of a port is its n-th frame.
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for (index, (line, arrival)) in lines.iter().zip(self.arrivals).enumerate() {
            let n = counts.entry(&arrival.port).or_default();
            *n += 1;
            let (port, number) =
                (line.get("port").and_then(Value::as_str), line.get("n").and_then(Value::as_u64));
            if port != Some(&arrival.port) || number != Some(*n) {
                faults.push(format!("line {}: {port:?} {number:?}, not {} {n}", index + 1, arrival.port));
                return Err(faults);
            }
            if line.get("generation").and_then(Value::as_u64) != Some(1) {
                faults.push(format!("line {}: generation {:?}", index + 1, line.get("generation")));
            }
        }
        let mut left = BTreeMap::new();
        for port in self.ports() {
            match outgoing(&folder.join(out_name(&port))) {
                Ok(frames) => drop(left.insert(port, frames)),
                Err(fault) => faults.push(fault),
            }
        }
        Ok(Replayed { lines, left, faults })
    }
}

/// What `replay --json` printed: the lines of the packets, and what is wrong with the summary behind them.
#[derive(Clone, Debug)]
pub struct Output {
    /// The lines of the packets.
    pub lines: Vec<Map<String, Value>>,
    /// Books that do not balance; empty: they do.
    pub faults: Vec<String>,
}

/// Reads what `replay --json` printed.
pub fn output(stdout: &str) -> Result<Output, String> {
    let mut lines: Vec<Map<String, Value>> = Vec::new();
    for (index, text) in stdout.lines().enumerate() {
        let line = serde_json::from_str(text).map_err(|e| format!("line {}: {e}: {text}", index + 1))?;
        lines.push(line);
    }
    let summary = lines.pop().ok_or("nothing printed")?;
    let Some(summary) = summary.get("summary").and_then(Value::as_object) else {
        return Err("the last line is no summary".to_owned());
    };
    let faults = unbalanced(&lines, summary);
    Ok(Output { lines, faults })
}

/// Section 6: received = forwarded + denied, and the reasons add up to it, each as often as lines have it.
fn unbalanced(lines: &[Map<String, Value>], summary: &Map<String, Value>) -> Vec<String> {
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    let mut verdicts: BTreeMap<&str, u64> = BTreeMap::new();
    let text = |line: &'_ Map<String, Value>, key: &str| {
        line.get(key).and_then(Value::as_str).unwrap_or("").to_owned()
    };
    let words: Vec<(String, String)> =
        lines.iter().map(|line| (text(line, "reason"), text(line, "verdict"))).collect();
    for (reason, verdict) in &words {
        *reasons.entry(reason).or_default() += 1;
        *verdicts.entry(verdict).or_default() += 1;
    }
    let number = |key: &str| summary.get(key).and_then(Value::as_u64);
    let mut faults = Vec::new();
    let mut same = |what: &str, summed: Option<u64>, counted: u64| {
        if summed != Some(counted) {
            faults.push(format!("summary: {what} {summed:?}, but the lines have {counted}"));
        }
    };
    same("received", number("received"), lines.len() as u64);
    for (key, verdict) in [("forwarded", "forward"), ("denied", "deny")] {
        same(key, number(key), verdicts.remove(verdict).unwrap_or(0));
    }
    let summed = summary.get("reasons").and_then(Value::as_object).cloned().unwrap_or_default();
    for (reason, count) in &reasons {
        same(reason, summed.get(*reason).and_then(Value::as_u64), *count);
    }
    for (reason, count) in summed.iter().filter(|(reason, _)| !reasons.contains_key(reason.as_str())) {
        same(reason, count.as_u64(), 0);
    }
    faults.extend(verdicts.keys().map(|verdict| format!("a line with verdict {verdict:?}")));
    faults
}

impl Replayed {
    /// Holds the captures against the lines: a forwarded or diverted frame leaves by the line's `out` and
    /// is the same byte for byte, an answer leaves too and is the expected one, and nothing else leaves
    /// anywhere.
    ///
    /// `reply` gives the expected answer of a frame by its index: `None`: not compared, `Some(None)`: there
    /// is none.
    pub fn strays(
        &self,
        arrivals: &[Arrival],
        reply: impl Fn(usize) -> Option<Option<Vec<u8>>>,
    ) -> Vec<(usize, String)> {
        let mut faults = Vec::new();
        let mut left: BTreeMap<&str, std::slice::Iter<'_, Vec<u8>>> =
            self.left.iter().map(|(port, frames)| (port.as_str(), frames.iter())).collect();
        for (index, (line, arrival)) in self.lines.iter().zip(arrivals).enumerate() {
            let word = |key: &str| line.get(key).and_then(Value::as_str);
            let out = word("out");
            let moved = word("verdict") == Some("forward") || word("action") == Some("divert");
            let answered = word("action") == Some("reject");
            let gone = out.and_then(|port| left.get_mut(port)).and_then(Iterator::next);
            let expected = reply(index);
            let fault = match (out, gone) {
                (None, _) if moved || answered => Some("`out` names no port".to_owned()),
                (Some(_), _) if !moved && !answered => {
                    Some("`out` names a port, but nothing may leave".to_owned())
                }
                (Some(port), None) => Some(format!("nothing more left by {port}")),
                (Some(port), Some(gone)) if moved && *gone != arrival.frame => {
                    Some(format!("another frame left by {port}: {gone:02x?}"))
                }
                (Some(_), Some(gone)) if answered => match &expected {
                    Some(Some(expected)) => vectors::compare_reply(expected, gone).err(),
                    Some(None) => Some("answered".to_owned()),
                    None => None,
                },
                _ if matches!(expected, Some(Some(_))) && !answered => Some("not answered".to_owned()),
                _ => None,
            };
            faults.extend(fault.map(|fault| (index, fault)));
        }
        for (port, rest) in left {
            if rest.len() > 0 {
                faults.push((arrivals.len(), format!("{} frames too many left by {port}", rest.len())));
            }
        }
        faults
    }
}

fn out_name(port: &str) -> String {
    format!("out-{port}.pcap")
}

fn outgoing(path: &PathBuf) -> Result<Vec<Vec<u8>>, String> {
    let bytes = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let capture = capture::read(&bytes)
        .filter(|c| !c.cut)
        .ok_or_else(|| format!("{} is no capture", path.display()))?;
    if capture.frames.iter().any(|frame| frame.link != ETHERNET) {
        return Err(format!("{}: not Ethernet", path.display()));
    }
    Ok(capture.frames.into_iter().map(|frame| frame.bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r#"{"n":1,"port":"a","verdict":"forward","reason":"not-ip"}
{"n":2,"port":"a","verdict":"deny","reason":"malformed"}
"#;

    fn faults(summary: &str) -> Vec<String> {
        output(&format!("{LINES}{summary}\n")).unwrap().faults
    }

    fn summary(received: u64, forwarded: u64, denied: u64, reasons: &str) -> String {
        format!(
            r#"{{"summary":{{"received":{received},"forwarded":{forwarded},"denied":{denied},"reasons":{{{reasons}}}}}}}"#
        )
    }

    #[test]
    fn a_summary_that_agrees_with_the_lines_balances() {
        let good = summary(2, 1, 1, r#""not-ip":1,"malformed":1,"opaque":0"#);
        assert_eq!(faults(&good), Vec::<String>::new());
    }

    #[test]
    fn a_summary_that_disagrees_does_not() {
        for bad in [
            summary(3, 1, 1, r#""not-ip":1,"malformed":1"#),
            summary(2, 2, 1, r#""not-ip":1,"malformed":1"#),
            summary(2, 1, 1, r#""not-ip":2"#),
            summary(2, 1, 1, r#""not-ip":1,"malformed":1,"opaque":1"#),
        ] {
            assert_ne!(faults(&bad), Vec::<String>::new(), "{bad}");
        }
    }

    #[test]
    fn every_frame_that_leaves_is_held_against_a_line() {
        let arrival = |frame: &[u8]| Arrival { port: "a".to_owned(), at: 0, frame: frame.to_vec() };
        let line = |verdict: &str, out: Value| {
            let mut line = Map::new();
            line.insert("verdict".to_owned(), verdict.into());
            line.insert("out".to_owned(), out);
            line
        };
        let arrivals = [arrival(b"one"), arrival(b"two")];
        let lines = vec![line("forward", "b".into()), line("deny", Value::Null)];
        let strays = |frames: &[&[u8]]| {
            let left = BTreeMap::from([("b".to_owned(), frames.iter().map(|f| f.to_vec()).collect())]);
            Replayed { lines: lines.clone(), left, faults: vec![] }.strays(&arrivals, |_| None).len()
        };
        assert_eq!(strays(&[b"one"]), 0);
        assert_eq!(strays(&[]), 1);
        assert_eq!(strays(&[b"onf"]), 1);
        assert_eq!(strays(&[b"one", b"two"]), 1);
    }
}
