//! `capture`: what is denied, out of the checkpoint and into tcpdump.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use sekisho_tests::lab::address::{DYNAMIC, WORLD};
use sekisho_tests::lab::configuration::Configuration;
use sekisho_tests::lab::daemon::{Daemon, argument};
use sekisho_tests::lab::frame::{SERVICE_TAG, Segment, Side, TAG, Wrap, tcp};
use sekisho_tests::lab::{Lab, await_some, await_that};
use sekisho_tests::{binary, capture};

/// Starts a capture and waits until the daemon says that it has begun.
fn start(lab: &Lab, sekisho: &mut Daemon<'_>, arguments: &[&str], stdout: Stdio) -> Child {
    let socket = lab.file("control.sock");
    let mut command = lab.checkpoint.command(argument(binary::sekisho()));
    command.args(["capture", "--socket", argument(&socket)]).args(arguments);
    let child = command.stdout(stdout).stderr(Stdio::piped()).spawn().expect("sekisho capture starts");
    sekisho.await_printed("capture begun: ");
    child
}

/// SYNs from both customers, plain and wrapped, to one port.
fn attempts(port: u16) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for (customer, server) in DYNAMIC.into_iter().zip(WORLD) {
        let (from, to) = ((customer, 40_000).into(), (server, port).into());
        let plain = tcp(Side::Customer, from, to, Segment::Syn, b"every byte of it");
        let wraps =
            [Wrap::tags([(TAG, 100)]), Wrap::tags([(SERVICE_TAG, 200), (TAG, 300)]), Wrap::session(77)];
        frames.extend(wraps.iter().map(|wrap| wrap.around(&plain).expect("IP can be wrapped")));
        frames.push(plain);
    }
    frames
}

/// What tcpdump makes of a capture: its lines, and the frames that it writes again.
fn tcpdump(lab: &Lab, file: &Path) -> (String, Vec<Vec<u8>>) {
    let again = file.with_extension("again");
    let file = argument(file);
    let printed = lab.checkpoint.run("tcpdump", ["-Z", "root", "-nn", "-e", "-r", file]);
    lab.checkpoint.run("tcpdump", ["-Z", "root", "-r", file, "-w", argument(&again)]);
    let bytes = fs::read(&again).expect("tcpdump has written it");
    let frames = capture::read(&bytes).expect("a capture").frames;
    (printed, frames.into_iter().map(|frame| frame.bytes).collect())
}

#[test]
fn what_is_denied_on_port_25_is_captured_and_tcpdump_reads_the_very_bytes() {
    let lab = Lab::new();
    let mut sekisho = lab.start(&Configuration::phase_2());
    let file = lab.file("denies.pcapng");
    let child =
        start(&lab, &mut sekisho, &["--drops", "--port", "access", "-w", argument(&file)], Stdio::null());
    let mut customer = lab.subscriber.sender("sub0");
    let denied = attempts(25);
    for frame in attempts(587).iter().chain(&denied) {
        customer.send(frame);
    }
    sekisho.await_counters("all have come", |counters| {
        counters.reason("port25-egress") >= 8 && counters.reason("submission") >= 8
    });
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a child's number");
    kill_process(pid, Signal::INT).expect("a child can be sent a signal");
    let output = child.wait_with_output().expect("a child can be waited for");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "8 captured, 0 lost\n");
    assert!(output.status.success(), "{output:?}");
    let (printed, frames) = tcpdump(&lab, &file);
    assert_eq!(frames, denied, "{printed}");
    assert_eq!(
        printed.lines().filter(|line| line.contains(".25: ") && line.contains("[S]")).count(),
        8,
        "{printed}"
    );
    // Options of pcapng, which tcpdump does not show.
    let bytes = fs::read(&file).expect("it is there");
    let text = String::from_utf8_lossy(&bytes);
    assert_eq!(text.matches("verdict=deny reason=port25-egress action=").count(), 8);
    assert_eq!(text.matches("phase=all-operators generation=1").count(), 8);
    let counters = sekisho.end();
    assert_eq!(counters.lost(), 0, "{counters}");
}

#[test]
fn a_capture_is_piped_into_tcpdump_while_it_goes_on_and_ends_when_tcpdump_has_enough() {
    let lab = Lab::new();
    let mut sekisho = lab.start(&Configuration::phase_2().action("drop"));
    let filter = format!("tcp dst port 25 and host {}", WORLD[0]);
    let arguments = ["--reason", "port25-egress", "--filter", &filter, "-w", "-"];
    let mut capturing = start(&lab, &mut sekisho, &arguments, Stdio::piped());
    let seen = lab.file("seen.txt");
    let stdout = fs::File::create(&seen).expect("the lab's folder is writable");
    let mut reader = lab
        .checkpoint
        .command("tcpdump")
        .args(["-Z", "root", "-nn", "-l", "-c", "8", "-r", "-"])
        .stdin(capturing.stdout.take().expect("it is piped"))
        .stdout(stdout)
        .stderr(Stdio::null())
        .spawn()
        .expect("tcpdump starts");
    let lines = || fs::read_to_string(&seen).unwrap_or_default().matches("[S]").count();
    let mut customer = lab.subscriber.sender("sub0");
    // Of these, four go to that server.
    attempts(25).iter().for_each(|frame| customer.send(frame));
    await_that("tcpdump has shown the first four, with more to come", || lines() == 4);
    attempts(25).iter().for_each(|frame| customer.send(frame));
    await_some("tcpdump has enough", || reader.try_wait().expect("a child can be waited for"));
    assert_eq!(lines(), 8);
    // Only what is written finds out that nobody reads.
    await_some("the capture has ended as well", || {
        attempts(25).iter().for_each(|frame| customer.send(frame));
        capturing.try_wait().expect("a child can be waited for")
    });
    let output = capturing.wait_with_output().expect("a child can be waited for");
    assert!(output.status.success(), "{output:?}");
    sekisho.await_printed("capture ended: ");
    sekisho.end();
}
