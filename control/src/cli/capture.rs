//! `sekisho capture`: a pcapng of what the running daemon judges, with what became of each frame in its comment.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::builder::PossibleValuesParser;
use sekisho_dataplane::policy::Reason;
use sekisho_dataplane::port::pcap::{CaptureError, CaptureRecord, CaptureWriter, Format, LinkType};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::{Failure, remote};
use crate::capture::SNAPLEN;
use crate::capture::filter::Filter;
use crate::config::parse_duration;
use crate::fresh::{self, IfThere};
use crate::progress::Progress;
use crate::rpc::Client;
use crate::rpc::methods::capture::{Batch, Begun, Packet, Request, Wish};

/// What `capture` is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only what is denied: dropped, rejected, diverted
    #[arg(long)]
    drops: bool,
    /// Only what has this reason, or would have if its deny were not monitored; may be repeated
    #[arg(long, value_name = "REASON", hide_possible_values = true,
          value_parser = PossibleValuesParser::new(Reason::ALL.iter().map(|reason| reason.code())))]
    reason: Vec<String>,
    /// Only what comes from, or goes to, this pool's customers
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// Only what is received on this port
    #[arg(long, value_name = "NAME")]
    port: Option<String>,
    /// Only what this takes: host, net, src, dst, port, portrange, tcp, udp, icmp, icmp6, ip, ip6, arp, and, or, not,
    /// parentheses, as in pcap-filter(7); tags and PPPoE are looked behind
    #[arg(long, value_name = "EXPR")]
    filter: Option<Filter>,
    /// End after so many frames
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Keep so many bytes of each frame
    #[arg(long, value_name = "BYTES", default_value_t = SNAPLEN, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    snaplen: u32,
    /// End after so long, such as 30s
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,
    /// Where the pcapng goes; - is standard output, for a pipe into tcpdump or tshark
    #[arg(short, long, value_name = "FILE")]
    write: PathBuf,
    /// Put a new file in the place of FILE, if it is there already
    #[arg(long)]
    force: bool,
    /// The daemon's socket [env: SEKISHO_SOCKET] [default: /run/sekisho/control.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .map(Duration::from_micros)
        .map_err(|error| format!("{error}; write 500ms, 30s or 1m30s"))
}

/// How long the daemon has for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// With nothing to do, the daemon is asked again after the first, and then less often, down to the last.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

pub(super) fn run(arguments: &Arguments, _: &mut impl Write) -> Result<(), Failure> {
    let to_stdout = arguments.write == Path::new("-");
    if to_stdout && io::stdout().is_terminal() {
        return Err(Failure::refused("a capture is nothing to look at: pipe it on, or name a file with -w"));
    }
    let mut client = remote::connect(arguments.socket.as_deref())?;
    client.patience(Some(PATIENCE))?;
    let end = End::listen(arguments.duration)?;
    let wish = Wish {
        denied: arguments.drops,
        reasons: arguments.reason.clone(),
        pool: arguments.pool.clone(),
        port: arguments.port.clone(),
        filter: arguments.filter.as_ref().map(Filter::to_string).unwrap_or_default(),
        count: arguments.count,
        snaplen: arguments.snaplen,
    };
    // A daemon that refuses has not cost anybody a file.
    let Begun { .. } = client.call("capture", &Request::Begin(wish))?;
    let mut written = Written { writer: open(arguments, to_stdout)?, captured: 0, lost: 0 };
    let mut progress = Progress::new(true);
    let captured = follow(&mut client, &end, &mut written, &mut progress);
    progress.clear();
    let Written { writer, captured: frames, lost } = written;
    // What was captured is whole, whatever ended it.
    let finished = writer.finish();
    // Nobody is left to tell if standard error is gone.
    let _ = writeln!(io::stderr(), "{frames} captured, {lost} lost");
    match captured.and_then(|()| Ok(finished?)) {
        // The reader has enough.
        Err(Failure::Capture(CaptureError::Write { source, .. }))
            if to_stdout && source.kind() == io::ErrorKind::BrokenPipe =>
        {
            Ok(())
        }
        result => result,
    }
}

/// For the owner alone: it is other people's traffic.
fn open(arguments: &Arguments, to_stdout: bool) -> Result<CaptureWriter, Failure> {
    if to_stdout {
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        return Ok(CaptureWriter::to_writer(stdout, "standard output", Format::PcapNg));
    }
    let path = &arguments.write;
    let if_there = if arguments.force { IfThere::Replace } else { IfThere::Refuse };
    let file = fresh::create(path, if_there).map_err(|error| Failure::refused(error.to_string()))?;
    Ok(CaptureWriter::to_writer(file, path, Format::PcapNg))
}

/// What has been written.
struct Written {
    writer: CaptureWriter,
    captured: u64,
    lost: u64,
}

impl Written {
    fn write(&mut self, packet: &Packet) -> Result<(), Failure> {
        let link = LinkType::from_dlt(packet.link.into());
        self.writer.write(&CaptureRecord {
            bytes: &packet.bytes,
            nanos: packet.utc_micros.saturating_mul(1000),
            original_len: packet.length.try_into().unwrap_or(u32::MAX),
            link: link.map_err(|link| Failure::refused(format!("the daemon captured {link}")))?,
            interface: Some(&packet.port),
            comment: Some(&packet.comment),
        })?;
        self.captured += 1;
        Ok(())
    }
}

/// Asks the daemon for what it has captured, and writes that, until the end.
fn follow(
    client: &mut Client,
    end: &End,
    written: &mut Written,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let mut pause = SHORTEST_PAUSE;
    loop {
        let request = if end.has_come() { Request::Stop {} } else { Request::Next {} };
        let Batch { packets, more, finished, lost, .. } = client.call("capture", &request)?;
        written.lost = lost;
        for packet in &packets {
            written.write(packet)?;
        }
        if !packets.is_empty() {
            written.writer.flush()?;
            pause = SHORTEST_PAUSE;
        }
        if finished {
            return Ok(());
        }
        let Written { captured, lost, .. } = written;
        progress.show(Instant::now(), || format!("{captured} captured, {lost} lost"));
        if !more {
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// When it ends: by a signal, or by the clock.
struct End {
    signalled: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

impl End {
    fn listen(duration: Option<Duration>) -> io::Result<End> {
        let signalled = Arc::<AtomicBool>::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // A second one ends the process at once.
            signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&signalled))?;
            signal_hook::flag::register(signal, Arc::clone(&signalled))?;
        }
        let deadline = duration.and_then(|duration| Instant::now().checked_add(duration));
        Ok(End { signalled, deadline })
    }

    fn has_come(&self) -> bool {
        self.signalled.load(Ordering::Relaxed)
            || self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }
}
