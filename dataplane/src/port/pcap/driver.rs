//! The driver `pcap`: captures in, captures out.
//!
//! Each worker reads the whole capture and keeps the frames that are its own by their addresses, as a NIC
//! would have spread them; so nothing is shared while they run. Each writes what leaves to a capture of its
//! own, and [`merge`] puts these together by their times when all have ended: the same frames in the same
//! order, however the workers raced.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{CaptureError, CaptureReader, CaptureRecord, CaptureWriter, CapturedFrame, Format};
use super::{LinkType, Truncation};
use crate::frame::{Depth, Link};
use crate::policy::PortId;
use crate::port::{
    Burst, Driver, Held, MACS_LENGTH, MAX_BURST, PortError, TAG_LENGTH, spread_of, worker_for,
};

/// How fast captures are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Rate {
    /// As fast as the workers take them.
    #[default]
    AsFastAsPossible,
    /// With the pauses that the capture has.
    Capture,
}

/// A port's captures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PcapPort {
    /// What is received.
    pub read: Option<PathBuf>,
    /// Where what leaves is written.
    pub write: Option<PathBuf>,
    /// How fast.
    pub rate: Rate,
}

impl From<LinkType> for Link {
    fn from(link: LinkType) -> Link {
        match link {
            LinkType::Ethernet => Link::Ethernet,
            LinkType::RawIp => Link::Raw,
            LinkType::Ipv4 => Link::Ipv4,
            LinkType::Ipv6 => Link::Ipv6,
            LinkType::LinuxCooked => Link::Cooked,
            LinkType::LinuxCooked2 => Link::Cooked2,
            LinkType::Null | LinkType::Loop => Link::Loopback,
        }
    }
}

/// The link type of frames that begin so.
impl From<Link> for LinkType {
    fn from(link: Link) -> LinkType {
        match link {
            Link::Ethernet => LinkType::Ethernet,
            Link::Raw => LinkType::RawIp,
            Link::Ipv4 => LinkType::Ipv4,
            Link::Ipv6 => LinkType::Ipv6,
            Link::Cooked => LinkType::LinuxCooked,
            Link::Cooked2 => LinkType::LinuxCooked2,
            Link::Loopback => LinkType::Null,
        }
    }
}

/// Which of how many workers this driver serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// From 0.
    pub worker: usize,
    /// At least 1.
    pub workers: usize,
}

/// One port's reading side.
struct Input {
    reader: CaptureReader,
    /// The next frame of this worker; the capture is at its end where there is none.
    next: CapturedFrame,
    has_next: bool,
    /// Damage in front of the first frame of this worker. Others may have frames before it, so it is told
    /// when reading comes to it, not when the capture is opened.
    fault: Option<CaptureError>,
    /// The time of the capture's first frame, whichever worker's it is.
    first: Option<i64>,
    rate: Rate,
}

impl Input {
    fn open(path: &Path, rate: Rate, share: Share) -> Result<Input, CaptureError> {
        let reader = CaptureReader::open(path)?;
        let mut input =
            Input { reader, next: CapturedFrame::default(), has_next: false, fault: None, first: None, rate };
        input.fault = input.advance(share).err();
        Ok(input)
    }

    fn advance(&mut self, share: Share) -> Result<(), CaptureError> {
        self.has_next = false;
        while self.reader.next(&mut self.next)? {
            self.first.get_or_insert(self.next.nanos);
            let link = self.next.link.into();
            let owner = worker_for(link, &self.next.bytes, Depth::default(), share.workers);
            if owner == share.worker {
                self.has_next = true;
                break;
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Port {
    input: Option<Input>,
    output: Option<CaptureWriter>,
    /// The output can't be written any more.
    failed: bool,
}

/// Parts that are not whole yet. A run that fails leaves none of them.
#[derive(Default)]
struct Parts(Vec<PathBuf>);

impl Drop for Parts {
    fn drop(&mut self) {
        // What can't be removed is no worse than what it is removed for.
        self.0.iter().for_each(|part| drop(std::fs::remove_file(part)));
    }
}

/// The driver `pcap` of one worker.
pub struct PcapDriver {
    ports: Vec<Port>,
    share: Share,
    frames: Vec<CapturedFrame>,
    free: Vec<Held>,
    queued: Vec<(PortId, Held)>,
    /// Ports that can't be written any more and that nobody was told of yet.
    untold: VecDeque<(PortId, PortError)>,
    /// Parts that this driver made.
    parts: Parts,
    /// The instant and the capture time at which reading started.
    started: (Instant, i64),
}

impl PcapDriver {
    /// Opens the captures of all ports. With several workers, each writes to a [part](part_path) of its own.
    ///
    /// # Errors
    /// A capture can't be opened.
    pub fn open(ports: &[PcapPort], share: Share) -> Result<PcapDriver, CaptureError> {
        let mut opened = Vec::with_capacity(ports.len());
        for port in ports {
            let input = match &port.read {
                Some(path) => Some(Input::open(path, port.rate, share)?),
                None => None,
            };
            opened.push(Port { input, output: None, failed: false });
        }
        let mut parts = Parts::default();
        // Creating empties what was there: not before everything that is read has been opened.
        for (port, opened) in ports.iter().zip(&mut opened) {
            if let Some(path) = &port.write {
                let part = part_path(path, share);
                opened.output = Some(CaptureWriter::create(&part, Format::of(path))?);
                if share.workers > 1 {
                    parts.0.push(part);
                }
            }
        }
        // All workers count from the same time, whoever owns the frame of that time.
        let first = opened.iter().filter_map(|port| port.input.as_ref()?.first).min();
        // A burst, its answers, and nothing else is ever in hand.
        let places = 2 * MAX_BURST;
        Ok(PcapDriver {
            ports: opened,
            share,
            frames: vec![CapturedFrame::default(); places],
            free: (0..places as u32).map(|place| Held { place, length: 0 }).collect(),
            queued: Vec::with_capacity(places),
            untold: VecDeque::new(),
            parts,
            started: (Instant::now(), first.unwrap_or(0)),
        })
    }

    /// Flushes and closes what was written; says which captures ended inside a packet.
    ///
    /// # Errors
    /// A capture can't be written.
    pub fn finish(mut self) -> Result<Vec<Truncation>, CaptureError> {
        let mut truncated = Vec::new();
        for port in self.ports {
            if let Some(output) = port.output {
                output.finish()?;
            }
            let warning = port.input.as_ref().and_then(|input| input.reader.warning());
            truncated.extend(warning.cloned());
        }
        self.parts.0.clear();
        Ok(truncated)
    }

    /// Whether the frame with this time is due.
    fn is_due(started: (Instant, i64), rate: Rate, nanos: i64) -> bool {
        Self::due_in(started, rate, nanos).is_zero()
    }

    /// After what time the frame with this time is due.
    fn due_in(started: (Instant, i64), rate: Rate, nanos: i64) -> Duration {
        match rate {
            Rate::AsFastAsPossible => Duration::ZERO,
            Rate::Capture => {
                let after = nanos.saturating_sub(started.1).max(0) as u64;
                Duration::from_nanos(after).saturating_sub(started.0.elapsed())
            }
        }
    }
}

impl Driver for PcapDriver {
    fn receive(&mut self, port: PortId, burst: &mut Burst) -> Result<(), PortError> {
        let Some(input) = &mut self.ports[usize::from(port.0)].input else { return Ok(()) };
        if let Some(fault) = input.fault.take() {
            return Err(fault.into());
        }
        if !input.has_next {
            return Ok(());
        }
        burst.link = input.next.link.into();
        while input.has_next
            && burst.frames.len() < burst.limit
            && Link::from(input.next.link) == burst.link
            && Self::is_due(self.started, input.rate, input.next.nanos)
            && let Some(Held { place, .. }) = self.free.pop()
        {
            std::mem::swap(&mut self.frames[place as usize], &mut input.next);
            let length = self.frames[place as usize].bytes.len() as u32;
            burst.frames.push(Held { place, length });
            input.advance(self.share)?;
        }
        Ok(())
    }

    fn bytes(&self, frame: &Held) -> &[u8] {
        &self.frames[frame.place as usize].bytes
    }

    fn bytes_mut(&mut self, frame: &Held) -> &mut [u8] {
        &mut self.frames[frame.place as usize].bytes
    }

    fn push_tag(&mut self, frame: &mut Held, tag: [u8; TAG_LENGTH]) -> bool {
        let captured = &mut self.frames[frame.place as usize];
        if captured.bytes.len() < MACS_LENGTH {
            return false;
        }
        captured.bytes.splice(MACS_LENGTH..MACS_LENGTH, tag);
        captured.original_len += TAG_LENGTH as u32;
        frame.length += TAG_LENGTH as u32;
        true
    }

    fn pop_tag(&mut self, frame: &mut Held) {
        let captured = &mut self.frames[frame.place as usize];
        captured.bytes.drain(MACS_LENGTH..MACS_LENGTH + TAG_LENGTH);
        captured.original_len = captured.original_len.saturating_sub(TAG_LENGTH as u32);
        frame.length -= TAG_LENGTH as u32;
    }

    fn transmit(&mut self, port: PortId, frame: Held) -> bool {
        if self.ports[usize::from(port.0)].failed {
            self.release(frame);
            return false;
        }
        self.queued.push((port, frame));
        true
    }

    fn answer(&mut self, port: PortId, bytes: &[u8], cause: &Held) -> bool {
        let Some(Held { place, .. }) = self.free.pop() else { return false };
        let CapturedFrame { nanos, link, .. } = self.frames[cause.place as usize];
        let frame = &mut self.frames[place as usize];
        frame.bytes.clear();
        frame.bytes.extend_from_slice(bytes);
        (frame.nanos, frame.link, frame.original_len) = (nanos, link, bytes.len() as u32);
        self.queued.push((port, Held { place, length: bytes.len() as u32 }));
        true
    }

    fn release(&mut self, frame: Held) {
        self.free.push(frame);
    }

    fn flush(&mut self) -> Result<(), (PortId, PortError)> {
        for (port, held) in self.queued.drain(..) {
            let frame = &self.frames[held.place as usize];
            if let Some(output) = &mut self.ports[usize::from(port.0)].output
                && let Err(error) = output.write(&record(frame))
            {
                self.untold.push_back((port, error.into()));
                self.ports[usize::from(port.0)].output = None;
                self.ports[usize::from(port.0)].failed = true;
            }
            self.free.push(held);
        }
        self.untold.pop_front().map_or(Ok(()), Err)
    }

    fn inject(&mut self, port: PortId, bytes: &[u8]) -> bool {
        let Some(Held { place, .. }) = self.free.pop() else { return false };
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let frame = &mut self.frames[place as usize];
        frame.bytes.clear();
        frame.bytes.extend_from_slice(bytes);
        frame.nanos = i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX);
        (frame.link, frame.original_len) = (LinkType::Ethernet, bytes.len() as u32);
        self.queued.push((port, Held { place, length: bytes.len() as u32 }));
        true
    }

    fn wait(&mut self, timeout: Duration) {
        let inputs = self.ports.iter().filter_map(|port| port.input.as_ref());
        let waiting = inputs.filter(|input| input.has_next);
        let due = waiting.map(|input| Self::due_in(self.started, input.rate, input.next.nanos)).min();
        std::thread::sleep(due.unwrap_or(timeout).min(timeout));
    }

    fn is_exhausted(&self, port: PortId) -> bool {
        let input = self.ports[usize::from(port.0)].input.as_ref();
        input.is_none_or(|input| !input.has_next && input.fault.is_none())
    }
}

fn record(frame: &CapturedFrame) -> CaptureRecord<'_> {
    CaptureRecord {
        bytes: &frame.bytes,
        nanos: frame.nanos,
        original_len: frame.original_len,
        link: frame.link,
        interface: None,
        comment: None,
    }
}

/// Where a worker writes what will become `path`: the file itself if it is the only one.
pub fn part_path(path: &Path, share: Share) -> PathBuf {
    if share.workers == 1 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".worker-{}", share.worker));
    PathBuf::from(name)
}

/// Bytes of frames of one instant that are put in order at once.
const TIES: usize = 64 << 20;

/// Puts the workers' parts of `path` together by the times of their frames, the earliest head first, and removes them,
/// also where that fails. Packets of one flow keep their order, since one worker wrote them all. Frames of one instant
/// are in the order of their pairs of addresses, as `spread_of` numbers them: it is the same, however many workers
/// there were (of up to 64 MiB at once).
///
/// # Errors
/// A part can't be read, or `path` can't be written.
pub fn merge(path: &Path, workers: usize) -> Result<(), CaptureError> {
    if workers == 1 {
        return Ok(());
    }
    let parts: Vec<PathBuf> = (0..workers).map(|worker| part_path(path, Share { worker, workers })).collect();
    let parts = Parts(parts);
    let whole = Share { worker: 0, workers: 1 };
    let mut inputs = Vec::with_capacity(workers);
    for part in &parts.0 {
        let mut input = Input::open(part, Rate::AsFastAsPossible, whole)?;
        if let Some(fault) = input.fault.take() {
            return Err(fault);
        }
        inputs.push(input);
    }
    let mut output = CaptureWriter::create(path, Format::of(path))?;
    let mut ties: Vec<(u32, CapturedFrame)> = Vec::new();
    let mut bytes = 0;
    while let Some(nanos) = inputs.iter().filter(|input| input.has_next).map(|input| input.next.nanos).min() {
        for input in &mut inputs {
            while input.has_next && input.next.nanos == nanos && bytes < TIES {
                let frame = std::mem::take(&mut input.next);
                bytes += size_of::<CapturedFrame>() + frame.bytes.len();
                ties.push((spread_of(frame.link.into(), &frame.bytes, Depth::default()), frame));
                input.advance(whole)?;
            }
        }
        // Stable: what is of one pair of addresses stays as it was.
        ties.sort_by_key(|(spread, _)| *spread);
        bytes = 0;
        for (_, frame) in ties.drain(..) {
            output.write(&record(&frame))?;
        }
    }
    output.finish()
}

/// Removes what workers wrote of `path` that was not put together.
pub fn remove_parts(path: &Path, workers: usize) {
    if workers > 1 {
        drop(Parts((0..workers).map(|worker| part_path(path, Share { worker, workers })).collect()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 packet between two hosts; `mark` tells it from others.
    fn frame(pair: u8, mark: u8) -> CapturedFrame {
        let mut bytes = vec![0; 34];
        (bytes[12], bytes[14], bytes[17], bytes[19], bytes[23]) = (8, 0x45, 20, mark, 17);
        bytes[26..34].copy_from_slice(&[203, 0, 113, pair, 192, 0, 2, pair.wrapping_mul(37)]);
        CapturedFrame { bytes, nanos: 1_149_087_600_000_000_000, original_len: 34, link: LinkType::Ethernet }
    }

    fn write(path: &Path, frames: &[CapturedFrame]) {
        let mut writer = CaptureWriter::create(path, Format::of(path)).unwrap();
        frames.iter().for_each(|frame| writer.write(&record(frame)).unwrap());
        writer.finish().unwrap();
    }

    fn read(path: &Path) -> Vec<CapturedFrame> {
        let mut reader = CaptureReader::open(path).unwrap();
        let (mut frames, mut frame) = (Vec::new(), CapturedFrame::default());
        while reader.next(&mut frame).unwrap() {
            frames.push(frame.clone());
        }
        frames
    }

    #[test]
    fn frames_of_one_instant_are_in_the_same_order_however_many_workers_there_were() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.pcap");
        let mut frames: Vec<CapturedFrame> =
            (0..200u8).map(|n| frame(n % 40, n)).chain([frame(7, 250), frame(3, 251)]).collect();
        for later in &mut frames[150..] {
            later.nanos += 1_000;
        }
        let mut merged = Vec::new();
        for workers in [2, 3, 5, 8] {
            for worker in 0..workers {
                let share = Share { worker, workers };
                let is_own = |frame: &&CapturedFrame| {
                    worker_for(Link::Ethernet, &frame.bytes, Depth::default(), workers) == worker
                };
                let own: Vec<CapturedFrame> = frames.iter().filter(is_own).cloned().collect();
                write(&part_path(&path, share), &own);
            }
            merge(&path, workers).unwrap();
            merged.push(read(&path));
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no part is left");
        }
        assert!(merged.iter().all(|one| *one == merged[0]), "{merged:?}");
        assert_eq!(merged[0].len(), frames.len());
        for pair in 0..40 {
            let of_pair = |frames: &[CapturedFrame]| -> Vec<u8> {
                frames.iter().filter(|frame| frame.bytes[29] == pair).map(|frame| frame.bytes[19]).collect()
            };
            assert_eq!(of_pair(&merged[0]), of_pair(&frames), "a flow keeps its order");
        }
    }

    #[test]
    fn a_run_that_fails_leaves_no_parts() {
        let folder = tempfile::tempdir().unwrap();
        let left = || std::fs::read_dir(folder.path()).unwrap().count();
        let port = |name: &str| PcapPort { write: Some(folder.path().join(name)), ..PcapPort::default() };
        let share = Share { worker: 0, workers: 2 };
        assert!(PcapDriver::open(&[port("a.pcap"), port("no/such/folder.pcap")], share).is_err());
        assert_eq!(left(), 0, "the second can't be made");
        let driver = PcapDriver::open(&[port("a.pcap"), port("b.pcap")], share).unwrap();
        assert_eq!(left(), 2);
        drop(driver);
        assert_eq!(left(), 0, "a worker that panics drops it");
        PcapDriver::open(&[port("a.pcap")], share).unwrap().finish().unwrap();
        assert_eq!(left(), 1);
        // The other worker's part is lacking.
        assert!(merge(&folder.path().join("a.pcap"), 2).is_err());
        assert_eq!(left(), 0);
        PcapDriver::open(&[port("a.pcap")], share).unwrap().finish().unwrap();
        remove_parts(&folder.path().join("a.pcap"), 2);
        assert_eq!(left(), 0);
    }
}
