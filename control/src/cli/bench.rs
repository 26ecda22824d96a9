//! `sekisho bench`: the operator's own tables and policy, in memory, on this host.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sekisho_dataplane::counters::Totals;
use sekisho_dataplane::policy::Role;
use sekisho_dataplane::port::pcap::{CaptureReader, CapturedFrame, LinkType};
use sekisho_dataplane::stages::{Stage, StageTotals};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::Failure;
use crate::bench::{self, Measured, traffic};
use crate::compile::{Compiled, Compiler};
use crate::config::{Config, Mode};
use crate::cores;
use crate::report::Summary;

/// What `bench` is asked to do.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Frames of this capture, received on the first subscriber port
    #[arg(long, value_name = "IN.pcap", conflicts_with_all = ["size", "flows"])]
    frames: Option<PathBuf>,
    /// Frame size on the wire: a number of bytes with the check sequence, or imix
    #[arg(long, value_name = "64|imix|N", default_value = "64", value_parser = size)]
    size: traffic::Size,
    /// Distinct flows of the made-up traffic, from addresses in the configuration's pools
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    flows: u32,
    /// Flows in a hundred that go to port 25
    #[arg(long, value_name = "PERCENT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=100))]
    smtp: u32,
    /// Workers, one a core
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    cores: u16,
    /// How long
    #[arg(long, value_name = "S", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn size(text: &str) -> Result<traffic::Size, String> {
    if text == "imix" {
        return Ok(traffic::Size::Imix);
    }
    match text.parse() {
        Ok(bytes @ 64..=9018) => Ok(traffic::Size::Fixed(bytes)),
        _ => Err("write imix, or bytes from 64 to 9018".to_owned()),
    }
}

/// Distinct frames: many enough that they do not all lie in the first caches.
const FRAMES: usize = 32_768;

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    let config = super::load(&arguments.config)?;
    let wanted: Vec<usize> = cores::choose(None).map_err(Failure::refused)?;
    let all = cores::all().map_err(Failure::refused)?;
    let count = usize::from(arguments.cores);
    if count > all.len() {
        return Err(Failure::refused(format!("--cores {count}: this process may use {}", all.len())));
    }
    let chosen = if count <= wanted.len() { &wanted[..count] } else { &all[..count] };
    let routes = config.dataplane.mode == Mode::Route;
    let port =
        config.ports.iter().position(|port| port.role == Role::Subscriber && (routes || port.peer.is_some()));
    let Some(port) = port else {
        return Err(Failure::refused("no subscriber port with a peer: nothing would be judged by the pools"));
    };
    let frames = match &arguments.frames {
        Some(path) => captured(path)?,
        None => made_up(&config, arguments)?,
    };
    // What is made up, or was captured elsewhere, is sent to this router.
    let mut frames = frames;
    if let (true, Some(mac)) = (routes, config.ports[port].router.mac) {
        let to = frames.iter_mut().filter_map(|frame| frame.first_chunk_mut());
        to.for_each(|to| *to = mac);
    }
    let Compiled { generation, names, .. } = Compiler::default().compile(&config, Vec::new())?;
    let tables = generation.sizes();
    let measured = bench::measure(
        &bench::Plan {
            config: &config,
            names: &names,
            port,
            frames: &frames,
            cores: chosen,
            time: Duration::from_secs(u64::from(arguments.seconds)),
        },
        generation,
    )
    .map_err(Failure::refused)?;
    let report = Report::new(&measured, on_wire(&frames), flows(arguments, &frames), chosen.len(), &tables);
    if arguments.json {
        serde_json::to_writer(&mut *out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    report.print(out, &measured, &sizes(&frames))
}

/// The lengths of these frames on the wire, in words.
fn sizes(frames: &[Vec<u8>]) -> String {
    let wire = frames.iter().map(|frame| (frame.len() + 4).max(64));
    match (wire.clone().min(), wire.max()) {
        (Some(least), Some(most)) if least < most => {
            format!("frames of {least} to {most} bytes ({:.0} on average)", on_wire(frames))
        }
        (least, _) => format!("{}-byte frames", least.unwrap_or(0)),
    }
}

/// The mean length of these frames on the wire: with the frame check sequence, and none shorter than 64 bytes.
fn on_wire(frames: &[Vec<u8>]) -> f64 {
    let sum: usize = frames.iter().map(|frame| (frame.len() + 4).max(64)).sum();
    sum as f64 / frames.len() as f64
}

fn flows(arguments: &Arguments, frames: &[Vec<u8>]) -> usize {
    match arguments.frames {
        Some(_) => frames.len(),
        None => arguments.flows as usize,
    }
}

/// The frames of a capture, as many as are measured with.
fn captured(path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let mut reader = CaptureReader::open(path)?;
    let mut frame = CapturedFrame::default();
    let mut frames = Vec::new();
    while frames.len() < FRAMES && reader.next(&mut frame)? {
        // The ports of a bench are Ethernet: whatever else is in there would be read as it.
        if frame.link != LinkType::Ethernet {
            let (path, link) = (path.display(), frame.link);
            return Err(Failure::refused(format!("{path}: frames of {link}; bench takes Ethernet only")));
        }
        frames.push(frame.bytes.clone());
    }
    match frames.is_empty() {
        true => Err(Failure::refused(format!("{}: no frames", path.display()))),
        false => Ok(frames),
    }
}

fn made_up(config: &Config, arguments: &Arguments) -> Result<Vec<Vec<u8>>, Failure> {
    let prefixes: Vec<_> = config.pools.iter().flat_map(|pool| pool.prefixes.iter().copied()).collect();
    let shape = traffic::Shape {
        size: arguments.size,
        flows: arguments.flows as usize,
        smtp_permille: arguments.smtp * 10,
        frames: FRAMES,
    };
    let frames = traffic::outbound(&prefixes, shape);
    match frames.is_empty() {
        true => Err(Failure::refused("no pool has a prefix: there are no customers to make traffic of")),
        false => Ok(frames),
    }
}

#[derive(Serialize)]
struct Report<'a> {
    packets_per_second: f64,
    bits_per_second: f64,
    ns_per_packet: f64,
    cycles_per_packet: f64,
    cores: usize,
    frame_bytes: f64,
    flows: usize,
    #[serde(serialize_with = "as_map")]
    stages: Vec<(&'static str, Cost)>,
    #[serde(serialize_with = "as_map")]
    line_rate: Vec<(&'static str, f64)>,
    #[serde(serialize_with = "as_map")]
    tables: Vec<(&'static str, TableSize)>,
    #[serde(flatten)]
    summary: &'a Summary,
}

#[derive(Clone, Copy, Serialize)]
struct Cost {
    ns: f64,
    cycles: f64,
}

#[derive(Clone, Copy, Serialize)]
struct TableSize {
    prefixes: usize,
    bytes: usize,
}

fn as_map<V: Serialize, S: Serializer>(
    pairs: &[(&'static str, V)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(pairs.len()))?;
    for (key, value) in pairs {
        map.serialize_entry(key, value)?;
    }
    map.end()
}

/// Links by name, in bits per second.
const LINKS: [(&str, f64); 4] = [("10GbE", 10e9), ("25GbE", 25e9), ("40GbE", 40e9), ("100GbE", 100e9)];
/// Preamble, start delimiter and gap between frames, in bytes (IEEE 802.3 §4.4.2).
const GAP: f64 = 20.0;

impl<'a> Report<'a> {
    fn new(
        measured: &'a Measured,
        wire: f64,
        flows: usize,
        cores: usize,
        tables: &[sekisho_dataplane::generation::TableSize],
    ) -> Report<'a> {
        let Measured { totals, stages, seconds, ticks_per_second, .. } = measured;
        let packets_per_second = totals.received as f64 / seconds;
        // Each core has all of the time.
        let ns_per_packet = 1e9 * cores as f64 / packets_per_second;
        let cost = |stage| {
            let ticks = StageTotals::ticks_per_packet(stages, stage);
            Cost { ns: round(ticks / ticks_per_second * 1e9), cycles: round(ticks) }
        };
        Report {
            packets_per_second: packets_per_second.round(),
            bits_per_second: (packets_per_second * wire * 8.0).round(),
            ns_per_packet: round(ns_per_packet),
            cycles_per_packet: round(ns_per_packet * ticks_per_second / 1e9),
            cores,
            frame_bytes: round(wire),
            flows,
            stages: Stage::ALL.iter().map(|&stage| (stage.name(), cost(stage))).collect(),
            line_rate: LINKS
                .iter()
                .map(|(name, bits)| {
                    let line = bits / 8.0 / (wire + GAP);
                    (*name, (packets_per_second / line * 1e4).round() / 1e4)
                })
                .collect(),
            tables: tables
                .iter()
                .map(|size| (size.table, TableSize { prefixes: size.prefixes, bytes: size.bytes }))
                .collect(),
            summary: &measured.summary,
        }
    }

    fn print(&self, out: &mut impl Write, measured: &Measured, sizes: &str) -> Result<(), Failure> {
        let totals: &Totals = &measured.totals;
        let mpps = self.packets_per_second / 1e6;
        let gbps = self.bits_per_second / 1e9;
        let word = if self.cores == 1 { "core" } else { "cores" };
        writeln!(
            out,
            "{mpps:.2} Mpps, {gbps:.2} Gbit/s of {} on {} {word} ({:.1} s, {} flows)",
            sizes, self.cores, measured.seconds, self.flows
        )?;
        writeln!(
            out,
            "{:.2} ns, {:.0} cycles per packet and core\n",
            self.ns_per_packet, self.cycles_per_packet
        )?;
        writeln!(out, "{:<16}{:>12}{:>12}", "stage", "ns", "cycles")?;
        for (stage, Cost { ns, cycles }) in &self.stages {
            writeln!(out, "{stage:<16}{ns:>12.2}{cycles:>12.1}")?;
        }
        writeln!(out, "\n{:<16}{:>12}", "link", "line rate")?;
        for (link, share) in &self.line_rate {
            writeln!(out, "{link:<16}{:>10.0} %", share * 100.0)?;
        }
        writeln!(out, "\n{:<16}{:>12}{:>14}", "table", "prefixes", "bytes")?;
        for (table, TableSize { prefixes, bytes }) in &self.tables {
            writeln!(out, "{table:<16}{prefixes:>12}{bytes:>14}")?;
        }
        writeln!(
            out,
            "\n{} received = {} forwarded + {} denied + {} errors",
            totals.received,
            totals.forwarded(),
            totals.denied(),
            totals.errors()
        )?;
        Ok(())
    }
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use sekisho_dataplane::port::pcap::{CaptureRecord, CaptureWriter, Format};

    use super::*;

    #[test]
    fn each_frame_has_at_least_64_bytes_on_the_wire() {
        assert_eq!(on_wire(&[vec![0; 54]]), 64.0);
        assert_eq!(on_wire(&[vec![0; 54], vec![0; 1514]]), (64 + 1518) as f64 / 2.0);
    }

    #[test]
    fn frames_of_several_lengths_are_not_told_as_if_they_had_one() {
        assert_eq!(sizes(&[vec![0; 54], vec![0; 60]]), "64-byte frames");
        let mixed = [vec![0; 60], vec![0; 74]];
        assert_eq!(sizes(&mixed), "frames of 64 to 78 bytes (71 on average)");
    }

    #[test]
    fn a_capture_of_another_link_type_than_ethernet_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.pcap");
        let read = |link| {
            let mut capture = CaptureWriter::create(&path, Format::Pcap).unwrap();
            let bytes = &[0x45; 40];
            capture
                .write(&CaptureRecord {
                    bytes,
                    nanos: 0,
                    original_len: 40,
                    link,
                    interface: None,
                    comment: None,
                })
                .unwrap();
            capture.finish().unwrap();
            captured(&path)
        };
        assert_eq!(read(LinkType::Ethernet).map_err(|_| ()), Ok(vec![vec![0x45; 40]]));
        let Err(Failure::Refused(message)) = read(LinkType::RawIp) else { panic!("it is read as Ethernet") };
        assert!(message.contains(&LinkType::RawIp.to_string()), "{message}");
    }
}
