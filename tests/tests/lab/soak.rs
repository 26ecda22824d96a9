//! Everything at once for a while: mixed traffic as fast as it goes, reloads, links that go down and come up, an interface
//! that is removed and made again, and readers on every method of the control socket.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sekisho_tests::lab::address::{CARRIER, DYNAMIC, STATIC, WORLD};
use sekisho_tests::lab::configuration::{Configuration, driver};
use sekisho_tests::lab::daemon::{Daemon, argument};
use sekisho_tests::lab::frame::{Segment, Side, Wrap, fragments, other, tcp, udp};
use sekisho_tests::lab::{Lab, await_that};

/// `LAB_SOAK_SECONDS` makes it longer: 600 for the ten minutes that a release is held to.
const SECONDS: u64 = 20;

/// What may come on top of the memory that the daemon has once all of this has been going for a third of the time. What a
/// leak would take in the rest of it is far more: a frame for each of millions.
const GROWTH_KIB: u64 = 12 << 10;

/// Frames of all kinds from one side: passed, denied, answered, in pieces, in wrappings, and such as nobody can read.
fn mixed(side: Side) -> Vec<Vec<u8>> {
    let (near, far) = match side {
        Side::Customer => ([DYNAMIC, STATIC].concat(), [WORLD, CARRIER].concat()),
        Side::World => ([WORLD, CARRIER].concat(), [DYNAMIC, STATIC].concat()),
    };
    let mut frames = Vec::new();
    for (n, (from, to)) in (0u16..).zip(near.iter().flat_map(|from| far.iter().map(move |to| (*from, *to)))) {
        if from.is_ipv4() != to.is_ipv4() {
            continue;
        }
        let ends = |port: u16| -> (SocketAddr, SocketAddr) {
            match side {
                Side::Customer => ((from, 40_000 + n).into(), (to, port).into()),
                Side::World => ((from, port).into(), (to, 40_000 + n).into()),
            }
        };
        for port in [25, 25, 587, 443] {
            let (from, to) = ends(port);
            frames.push(tcp(side, from, to, Segment::Syn, b""));
            frames.push(tcp(side, from, to, Segment::Ack, &vec![n as u8; 40 + 211 * usize::from(n % 6)]));
        }
        let (from, to) = ends(53);
        let datagram = udp(side, from, to, &[7; 900]);
        frames.extend(fragments(&datagram, 400, n));
        frames.push(datagram);
        let (from, to) = ends(25);
        let mail = tcp(side, from, to, Segment::Syn, b"");
        for wrap in [Wrap::tags([(0x8100, 100)]), Wrap::tags([(0x88a8, 7), (0x8100, 100)]), Wrap::session(n)]
        {
            frames.extend(wrap.around(&mail));
        }
        let mut cut = mail;
        cut.truncate(40);
        frames.push(cut);
    }
    frames.push(other(side, 0x88b5, &[1; 46]));
    frames
}

/// Whether what is asked is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answers {
    Always,
    /// It depends on what the others do.
    Sometimes,
    /// Not in this mode, or not now.
    Perhaps,
}

/// Asks by the control socket itself, one after the other, until told to stop; how many answers there were.
fn read(socket: &Path, (answers, requests): (Answers, &[&str]), stop: &AtomicBool) -> u64 {
    let mut stream = UnixStream::connect(socket).expect("the daemon listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket has timeouts");
    let mut lines = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
    let (mut count, mut line) = (0, String::new());
    for request in requests.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        writeln!(stream, "{{\"jsonrpc\":\"2.0\",\"id\":1,{request}}}").expect("the daemon reads");
        loop {
            line.clear();
            assert!(lines.read_line(&mut line).expect("the daemon answers") > 0, "it hung up: {request}");
            if line.contains("\"id\":1") {
                break;
            }
        }
        let is_answered = line.contains("\"result\"");
        assert!(is_answered || answers != Answers::Always, "{request}: {line}");
        count += u64::from(is_answered);
        thread::sleep(Duration::from_millis(20));
    }
    assert!(count > 0 || answers == Answers::Perhaps, "never answered: {requests:?}: {line}");
    count
}

/// A reader for every method; `reload` is the test's own.
const READERS: [(Answers, &[&str]); 16] = [
    (Answers::Always, &[r#""method":"status""#]),
    (Answers::Always, &[r#""method":"counters","params":{"workers":true}"#]),
    (Answers::Always, &[r#""method":"pools""#]),
    (Answers::Always, &[r#""method":"phases""#]),
    (Answers::Always, &[r#""method":"affected""#]),
    (Answers::Always, &[r#""method":"generations""#]),
    (Answers::Always, &[r#""method":"grants""#]),
    (
        Answers::Always,
        &[r#""method":"grant","params":{"address":"203.0.113.77","for":"1s","reason":"soak"}"#],
    ),
    (Answers::Sometimes, &[r#""method":"revoke","params":{"address":"203.0.113.77"}"#]),
    (Answers::Always, &[r#""method":"check""#]),
    (Answers::Always, &[r#""method":"reload","params":{"dry_run":true}"#]),
    (Answers::Sometimes, &[r#""method":"rollback""#]),
    (Answers::Perhaps, &[r#""method":"confirm""#]),
    (Answers::Perhaps, &[r#""method":"routes""#]),
    (
        Answers::Always,
        &[
            r#""method":"explain","params":{"source":"203.0.113.10","destination":"192.0.2.200","destination_port":25}"#,
        ],
    ),
    (
        Answers::Sometimes,
        &[
            r#""method":"capture","params":{"begin":{"denied":true}}"#,
            r#""method":"capture","params":{"next":{}}"#,
            r#""method":"capture","params":{"stop":{}}"#,
            r#""method":"capture","params":{"next":{}}"#,
        ],
    ),
];

/// What `subscribe` needs is that somebody reads on.
const SUBSCRIBER: (Answers, &[&str]) = (Answers::Always, &[r#""method":"subscribe""#]);

/// What the daemon has in memory, in KiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it is alive");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("every process has some");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

fn flap(lab: &Lab, sekisho: &Daemon<'_>, round: u64) {
    let up = |port: usize| {
        sekisho.await_status("the port is up", |status| status["ports"][port]["up"] == true);
    };
    match round % 3 {
        0 => {
            lab.internet.ip("link set inet0 down");
            thread::sleep(Duration::from_millis(300));
            lab.internet.ip("link set inet0 up");
            up(1);
        }
        1 => {
            lab.checkpoint.ip("link set access down");
            thread::sleep(Duration::from_millis(300));
            lab.checkpoint.ip("link set access up");
            up(0);
        }
        _ => {
            lab.cut("mail");
            sekisho.await_status("it is gone", |status| status["ports"][2]["up"] == false);
            lab.cable("mail");
            up(2);
        }
    }
}

#[test]
fn everything_at_once_for_a_while_and_all_is_accounted_for() {
    let wanted =
        env::var("LAB_SOAK_SECONDS").ok().map(|text| text.parse().expect("LAB_SOAK_SECONDS is a number"));
    let time = Duration::from_secs(wanted.unwrap_or(SECONDS));
    let lab = Lab::new();
    let phases = [Configuration::phase_1(), Configuration::phase_2()];
    let files = ["phase-1.toml", "phase-2.toml"].map(|name| lab.file(name));
    for (file, configuration) in files.iter().zip(&phases) {
        fs::write(file, configuration.to_toml()).expect("the lab's folder is writable");
    }
    let sekisho = lab.start(&phases[0]);
    let (stop, offered, answered) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let socket = lab.file("control.sock");
    let (mut early, mut reloads, mut flaps) = (None, 0u64, 0u64);
    thread::scope(|scope| {
        for (side, (namespace, device)) in
            [(Side::Customer, lab.far_end("access")), (Side::World, lab.far_end("core"))]
        {
            let (stop, offered) = (&stop, &offered);
            let mut sender = namespace.sender(device);
            scope.spawn(move || {
                let frames = mixed(side);
                for burst in frames.chunks(16).cycle() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    burst.iter().for_each(|frame| sender.send_if_up(frame));
                    offered.fetch_add(burst.len() as u64, Ordering::Relaxed);
                }
            });
        }
        let readers: Vec<_> = READERS
            .into_iter()
            .chain([SUBSCRIBER])
            .map(|reader| {
                let (socket, stop, answered) = (&socket, &stop, &answered);
                scope.spawn(move || answered.fetch_add(read(socket, reader, stop), Ordering::Relaxed))
            })
            .collect();
        let begun = Instant::now();
        // Whatever goes wrong here, the others are told to end.
        let meanwhile = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            while begun.elapsed() < time {
                let file = argument(&files[reloads as usize % 2]);
                sekisho.ask(&format!("reload {file}")).unwrap_or_else(|e| panic!("reload {reloads}: {e}"));
                reloads += 1;
                if reloads.is_multiple_of(5) {
                    flap(&lab, &sekisho, flaps);
                    flaps += 1;
                }
                if early.is_none() && begun.elapsed() > time / 3 {
                    early = Some(resident(sekisho.pid()));
                }
                thread::sleep(Duration::from_millis(100));
                assert!(!readers.iter().any(|reader| reader.is_finished()), "a reader has given up");
            }
        }));
        stop.store(true, Ordering::Relaxed);
        meanwhile.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let (early, late) = (early.expect("it took longer than a third"), resident(sekisho.pid()));
    if driver() == "xdp" {
        await_that("all frames are where they belong", || {
            let status = sekisho.ask("status").expect("it answers");
            status["workers"].as_array().is_some_and(|workers| {
                workers.iter().all(|worker| {
                    let frames = |what: &str| worker["frames"][what].as_u64().expect("driver xdp says it");
                    let is_home = [frames("held"), frames("sent"), frames("closing")] == [0; 3];
                    is_home && frames("free") + frames("filled") == frames("all")
                })
            })
        });
    }
    let counters = sekisho.end();
    println!(
        "{} s: {} frames offered, {} received, {} denied, {} lost by drivers; {reloads} reloads, {flaps} flaps, {} \
         answers; resident {early} KiB after a third, {late} KiB at the end",
        time.as_secs(),
        offered.load(Ordering::Relaxed),
        counters.total("received_packets"),
        counters.total("denied_packets"),
        counters.lost(),
        answered.load(Ordering::Relaxed),
    );
    assert!(counters.total("received_packets") > 10_000 && counters.total("denied_packets") > 1000);
    assert!(reloads > 10 && flaps > 2, "{reloads} reloads, {flaps} flaps");
    assert!(late <= early + GROWTH_KIB, "{early} KiB after a third of the time, {late} KiB at the end");
}
