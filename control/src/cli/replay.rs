//! `sekisho replay`: captures through the dataplane's own pipeline, packets in the order of their times.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use ipnetwork::IpNetwork;
use sekisho_dataplane::Replies;
use sekisho_dataplane::clock::Instant;
use sekisho_dataplane::counters::{PoolTotals, Totals, WorkerCounters};
use sekisho_dataplane::generation::Generation;
use sekisho_dataplane::pipeline::{Arrival, Outcomes, Pipeline};
use sekisho_dataplane::policy::{Decision, Grant, PortId, Role, Taken};
use sekisho_dataplane::port::pcap::{
    CaptureError, CaptureReader, CaptureRecord, CaptureWriter, CapturedFrame, Format,
};
use sekisho_dataplane::route::{Edit, OnlineRoutes};

use super::Failure;
use crate::affected::{Affected, Which, write_csv};
use crate::compile::{Compiled, Compiler, Names, fragment_limits};
use crate::config::{Config, Mode, Privacy, parse_duration};
use crate::report::{self, Outcome, PacketLine, PoolLine, SummaryLine};
use crate::routing::{self, Device, StaticRoutes};

/// What `replay` is asked to do.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// A capture that a port receives; repeat for more ports
    #[arg(long = "in", value_name = "PORT=IN.pcap", required = true, value_parser = super::port_and_file)]
    inputs: Vec<(String, PathBuf)>,
    /// Where what leaves by a port is written (pcapng by that ending, classic pcap else)
    #[arg(long = "out", value_name = "PORT=OUT.pcap", value_parser = super::port_and_file)]
    outputs: Vec<(String, PathBuf)>,
    /// Judge all packets at this instant (RFC 3339 with offset)
    #[arg(long, value_name = "TIME", value_parser = super::instant, conflicts_with = "clock")]
    at: Option<i64>,
    /// Whose time it is, without --at
    #[arg(long, value_enum, default_value_t = Clock::Now)]
    clock: Clock,
    /// A grant: exempt ADDR (or a prefix) from GIVEN (RFC 3339) for the time FOR (such as 30m); repeatable
    #[arg(long = "grant", value_name = "ADDR=GIVEN/FOR", value_parser = grant)]
    grants: Vec<Grant>,
    /// Play a dead filter port
    #[arg(long, value_name = "PORT")]
    down: Vec<String>,
    /// Where to write who was denied on port 25, or would have been (JSON by that ending, CSV else)
    #[arg(long, value_name = "FILE")]
    affected: Option<PathBuf>,
    /// One JSON object per packet, and one for the summary
    #[arg(long)]
    json: bool,
}

/// Customers that a replay has room for: offline, memory is there.
const AFFECTED_ROOM: usize = 1 << 17;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Clock {
    /// This host's
    Now,
    /// Each packet's own timestamp
    Capture,
}

/// `ADDR=GIVEN/FOR`.
fn grant(text: &str) -> Result<Grant, String> {
    let shape = "write ADDR=GIVEN/FOR, such as 203.0.113.7=2006-06-15T12:00:00+09:00/30m";
    let (prefix, times) = text.split_once('=').ok_or(shape)?;
    let (given, length) = times.rsplit_once('/').ok_or(shape)?;
    let prefix: IpNetwork = prefix.parse().map_err(|error| format!("{prefix}: {error}"))?;
    let given = super::instant(given)?;
    let length = parse_duration(length).map_err(|error| format!("{length}: {error}"))?;
    let until = given.saturating_add_unsigned(length);
    Ok(Grant { prefix, given, until })
}

/// A capture being read, one frame ahead.
struct Input {
    port: PortId,
    reader: CaptureReader,
    next: CapturedFrame,
    has_next: bool,
    given: u64,
}

impl Input {
    fn advance(&mut self) -> Result<(), CaptureError> {
        self.has_next = false;
        self.has_next = self.reader.next(&mut self.next)?;
        Ok(())
    }
}

/// The packets that are judged together: of one capture, one link type and one instant.
struct Batch {
    frames: Vec<CapturedFrame>,
    used: usize,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    let config = super::load(&arguments.config)?;
    let Compiled { generation, names, .. } =
        Compiler::default().compile(&config, arguments.grants.clone())?;
    let common = routing::common(&config, false);
    for name in &arguments.down {
        let port = named_port(&names, name, "--down")?;
        if generation.role(port) != Role::Filter {
            return Err(Failure::refused(format!(
                "--down {name}: {name} is no filter port; only a dead filter changes what is decided"
            )));
        }
        common.set_up(port, false);
    }
    let counters = Arc::new(WorkerCounters::new(config.ports.len(), names.highest_pool() + 1));
    let pipeline = Pipeline::new(Arc::new(common), Arc::clone(&counters), fragment_limits(&config.limits));
    let affected = arguments.affected.as_ref().map(|path| (path, Affected::new(1, AFFECTED_ROOM)));
    let pipeline = match &affected {
        Some((_, affected)) => pipeline.with_affected(affected.recorder(0)),
        None => pipeline,
    };

    let mut inputs = Vec::new();
    for (name, path) in &arguments.inputs {
        let port = named_port(&names, name, "--in")?;
        let reader = CaptureReader::open(path)?;
        inputs.push(Input { port, reader, next: CapturedFrame::default(), has_next: false, given: 0 });
    }
    let mut outputs: Vec<Option<CaptureWriter>> = (0..config.ports.len()).map(|_| None).collect();
    for (at, (name, path)) in arguments.outputs.iter().enumerate() {
        let output = &mut outputs[usize::from(named_port(&names, name, "--out")?.0)];
        if output.is_some() {
            return Err(Failure::refused(format!("--out {name} is given twice")));
        }
        if arguments.inputs.iter().any(|(_, input)| same_file(input, path)) {
            return Err(Failure::refused(format!(
                "--out {name}={} is also an --in: it would be overwritten while it is read",
                path.display()
            )));
        }
        if arguments.outputs[..at].iter().any(|(_, other)| same_file(other, path)) {
            return Err(Failure::refused(format!(
                "--out {name}={} is also another port's --out: one would overwrite the other",
                path.display()
            )));
        }
        *output = Some(CaptureWriter::create(path, Format::of(path))?);
    }

    let batch = config.dataplane.batch;
    let mut routing = match config.dataplane.mode {
        Mode::Bridge => None,
        Mode::Route => Some(
            StaticRoutes::new(&config, 1, |_| Device::default(), false)
                .map_err(|error| Failure::refused(error.to_string()))?,
        ),
    };
    let mut reader = routing.as_mut().map(|routing| routing.routes.reader());
    let mut replay = Replay {
        routes: reader.as_mut().map(|reader| reader.online()),
        edits: vec![Edit::NOTHING; batch],
        names: &names,
        number: generation.number(),
        json: arguments.json,
        outputs,
        decisions: vec![Decision::UNDECIDED; batch],
        replies: Replies::for_routing(batch),
        pipeline,
    };
    let at = arguments.at;
    let clock = arguments.clock;
    let fault = replay.all(&generation, &mut inputs, batch, out, |frame| match (at, clock) {
        (Some(at), _) => Some(at),
        (None, Clock::Capture) => Some(frame.nanos.div_euclid(1000)),
        (None, Clock::Now) => None,
    })?;

    for output in replay.outputs.into_iter().flatten() {
        output.finish()?;
    }
    if let Some((path, affected)) = &affected {
        write_affected(path, affected, &names, config.affected.privacy)?;
    }
    let totals = Totals::of([&*counters]);
    if arguments.json {
        write_line(out, &SummaryLine::new(&totals))?;
    } else if totals.received > 0 || fault.is_none() {
        // Where nothing could be read, there is nothing to tell but why.
        report::summary(out, &totals, &pool_lines(&config, &names, &counters))?;
    }
    for input in &inputs {
        if let Some(truncation) = input.reader.warning() {
            out.flush()?;
            let _ = writeln!(std::io::stderr(), "sekisho: warning: {truncation}");
        }
    }
    fault.map_or(Ok(()), |error| Err(error.into()))
}

fn write_affected(path: &Path, affected: &Affected, names: &Names, privacy: Privacy) -> Result<(), Failure> {
    let (rows, accuracy) = affected.rows(Which::Current, names, privacy, None);
    let json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let written = File::create(path).map(BufWriter::new).and_then(|mut file| {
        match json {
            true => {
                let list = serde_json::json!({ "accuracy": accuracy, "customers": rows });
                serde_json::to_writer(&mut file, &list)?;
                writeln!(file)?;
            }
            false => write_csv(&rows, &mut file)?,
        }
        file.flush()
    });
    written.map_err(|error| Failure::refused(format!("{}: {error}", path.display())))
}

fn named_port(names: &Names, name: &str, option: &str) -> Result<PortId, Failure> {
    names.port_named(name).ok_or_else(|| {
        Failure::refused(format!(
            "{option} {name}: no port has this name; there are {}",
            names.ports().join(", ")
        ))
    })
}

fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

/// The pools that had packets.
pub(super) fn pool_lines<'a>(
    config: &'a Config,
    names: &Names,
    counters: &WorkerCounters,
) -> Vec<PoolLine<'a>> {
    let lines = config.pools.iter().zip(names.pools_in_order(config)).filter_map(|(pool, id)| {
        let totals = PoolTotals::of([counters], id);
        let line = PoolLine { name: &pool.name, title: pool.title.as_deref(), totals };
        (totals.packets > 0).then_some(line)
    });
    lines.collect()
}

fn write_line(out: &mut impl Write, line: &impl serde::Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

struct Replay<'a> {
    /// In route mode.
    routes: Option<OnlineRoutes<'a>>,
    /// What is changed in each frame, in route mode.
    edits: Vec<Edit>,
    names: &'a Names,
    number: u64,
    json: bool,
    outputs: Vec<Option<CaptureWriter>>,
    decisions: Vec<Decision>,
    replies: Replies,
    pipeline: Pipeline,
}

impl Replay<'_> {
    /// Judges everything. A damaged capture is read up to the damage; the first such error is given back when
    /// all the others are through. Frames that have no instant of their own have that of their burst, as live ones.
    fn all(
        &mut self,
        generation: &Generation,
        inputs: &mut [Input],
        limit: usize,
        out: &mut impl Write,
        instant: impl Fn(&CapturedFrame) -> Option<i64>,
    ) -> Result<Option<CaptureError>, Failure> {
        let mut fault = None;
        for input in inputs.iter_mut() {
            note(&mut fault, input.advance());
        }
        let mut batch = Batch { frames: vec![CapturedFrame::default(); limit], used: 0 };
        while let Some(first) = earliest(inputs) {
            let input = &inputs[first];
            let (port, link, at) = (input.port, input.next.link, instant(&input.next));
            let now = Instant::from_utc_micros(at.unwrap_or_else(crate::clock::now));
            let arrival = Arrival { port, link: link.into(), now };
            batch.used = 0;
            loop {
                let input = &mut inputs[first];
                std::mem::swap(&mut batch.frames[batch.used], &mut input.next);
                batch.used += 1;
                note(&mut fault, input.advance());
                let goes_on = batch.used < limit
                    && earliest(inputs) == Some(first)
                    && inputs[first].next.link == link
                    && instant(&inputs[first].next) == at;
                if !goes_on {
                    break;
                }
            }
            self.judge(generation, arrival, &batch, &mut inputs[first], out)?;
        }
        Ok(fault)
    }

    fn judge(
        &mut self,
        generation: &Generation,
        arrival: Arrival,
        batch: &Batch,
        input: &mut Input,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        let captured = &batch.frames[..batch.used];
        let frames: Vec<&[u8]> = captured.iter().map(|frame| frame.bytes.as_slice()).collect();
        self.replies.clear();
        let (decisions, replies) = (&mut self.decisions, &mut self.replies);
        match &mut self.routes {
            None => self.pipeline.judge(generation, arrival, &frames, decisions, replies),
            Some(routes) => {
                let outcomes = Outcomes { decisions, edits: &mut self.edits };
                self.pipeline.judge_routed(generation, routes, arrival, &frames, outcomes, replies);
            }
        }
        let mut replies = self.replies.iter().peekable();
        for (at, (frame, decision)) in captured.iter().zip(&self.decisions).enumerate() {
            if let (Taken::Forward | Taken::Divert, Some(port)) = (decision.taken, decision.out)
                && let Some(output) = &mut self.outputs[usize::from(port.0)]
            {
                match self.edits[at] {
                    edit if edit.is_nothing() => output.write(&CaptureRecord::from(frame))?,
                    edit => {
                        let mut bytes = frame.bytes.clone();
                        edit.carry_out_on(&mut bytes);
                        let original_len = bytes.len() as u32;
                        let record =
                            CaptureRecord { bytes: &bytes, original_len, ..CaptureRecord::from(frame) };
                        output.write(&record)?;
                    }
                }
            }
            while let Some((reply, bytes)) = replies.next_if(|(reply, _)| reply.answers as usize == at)
                && let Some(output) = &mut self.outputs[usize::from(reply.port.0)]
            {
                let original_len = bytes.len() as u32;
                output.write(&CaptureRecord { bytes, original_len, ..CaptureRecord::from(frame) })?;
            }
            input.given += 1;
            if self.json {
                let port = self.names.port(arrival.port);
                let outcome = Outcome::new(decision, self.names, self.number);
                write_line(out, &PacketLine::new(input.given, port, outcome))?;
            }
        }
        Ok(())
    }
}

/// The input whose next packet is the earliest; of equals, the first on the command line.
fn earliest(inputs: &[Input]) -> Option<usize> {
    let waiting = inputs.iter().enumerate().filter(|(_, input)| input.has_next);
    waiting.min_by_key(|(_, input)| input.next.nanos).map(|(at, _)| at)
}

fn note(fault: &mut Option<CaptureError>, result: Result<(), CaptureError>) {
    if let Err(error) = result {
        fault.get_or_insert(error);
    }
}
