//! Clients that are slow, silent, greedy or broken: they hurt nobody.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::host::{Client, Host, PATIENCE};

/// How long another client waits for an answer meanwhile, at most. Ample on a machine that is shared.
const SOON: Duration = Duration::from_secs(3);

fn is_served(client: &mut Client) {
    let begun = Instant::now();
    client.ask("status");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

/// Numbers that look like chance and are the same each time (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

#[test]
fn a_thousand_broken_requests_are_each_answered_or_closed_while_packets_are_forwarded() {
    let host = Host::new();
    let daemon = host.start();
    let mut watcher = host.client();
    let mut dice = Dice(25);
    let good = r#"{"jsonrpc":"2.0","id":1,"method":"explain","params":{"source":"203.0.113.7"}}"#;
    let (mut answered, mut closed) = (0, 0);
    for n in 0..1000 {
        let mut request = match n % 10 {
            0 => (0..dice.roll(300)).map(|_| dice.roll(256) as u8).collect(),
            1 => good.as_bytes()[..dice.roll(good.len())].to_vec(),
            2 => b"[".repeat(dice.roll(200_000)),
            3 => {
                format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{}\"}}", "x".repeat(dice.roll(300_000)))
                    .into_bytes()
            }
            4 => format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"check\",\"params\":{{\"toml\":\"{}\"}}}}",
                "[[pool]]\\n".repeat(dice.roll(200))
            )
            .into_bytes(),
            5 => b"\0".repeat(dice.roll(1000)),
            6 => good.replace("203", "\u{feff}\u{202e}").into_bytes(),
            7 => format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"status\"}}",
                "9".repeat(1 + dice.roll(2000))
            )
            .into_bytes(),
            8 => {
                let mut request = good.as_bytes().to_vec();
                let at = dice.roll(request.len());
                request[at] = dice.roll(256) as u8;
                request
            }
            _ => format!("[{good},{good}]").into_bytes(),
        };
        // The end of a line may be missing; then the connection ends in its place.
        let half_sent = n % 3 == 0;
        if !half_sent {
            request.push(b'\n');
        }
        let mut stream = UnixStream::connect(host.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let sent = stream.write_all(&request);
        if half_sent || sent.is_err() || n % 7 == 0 {
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
        let mut answer = [0; 4096];
        match stream.read(&mut answer) {
            Ok(0) => closed += 1,
            Ok(_) => answered += 1,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => closed += 1,
            // A line that is empty but for its end is no request, and no reason to part.
            Err(error) => panic!("request {n} was neither answered nor closed: {error}"),
        }
        if n % 100 == 0 {
            watcher.wait_for_traffic();
        }
    }
    assert_eq!(answered + closed, 1000);
    assert!(answered > 800, "{answered}");
    watcher.wait_for_traffic();
    assert_eq!(watcher.ask("status")["generation"], 1);
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn a_request_above_16_mib_is_told_so_and_closed() {
    let host = Host::new();
    let _daemon = host.start();
    let mut large = host.client();
    let chunk = vec![b'x'; 1 << 20];
    let writer = large.stream.get_ref().try_clone().unwrap();
    let sending = std::thread::spawn(move || (0..40).all(|_| (&writer).write_all(&chunk).is_ok()));
    let answer = large.line().expect("an error");
    assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(-32004), &json!(null)));
    assert!(large.line().is_none());
    assert!(!sending.join().unwrap(), "it was not let say all");
    // Just below it is a request like any other.
    let mut other = host.client();
    let comment = "#".repeat((16 << 20) - 200);
    let error = other.call("check", json!({ "toml": comment })).unwrap_err();
    assert_eq!(error["code"], -32002, "a configuration without ports");
    is_served(&mut other);
}

#[test]
fn a_client_that_takes_no_answers_costs_nobody_anything() {
    let host = Host::new();
    let _daemon = host.start();
    let mut slow = host.client();
    slow.stream.get_ref().set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let request = format!("{}\n", json!({ "jsonrpc": "2.0", "id": 1, "method": "counters" })).repeat(100);
    let mut others = host.client();
    let mut sent = 0;
    // It asks on and on and never reads: sooner or later it is not listened to any more.
    while slow.stream.get_mut().write_all(request.as_bytes()).is_ok() {
        sent += 100;
        is_served(&mut others);
        assert!(sent < 100_000, "it is still listened to after {sent} requests");
    }
    others.wait_for_traffic();
    let mut subscriber = host.client();
    subscriber.call("subscribe", json!({ "interval": 0.1 })).unwrap();
    is_served(&mut others);
}

#[test]
fn a_flood_of_requests_leaves_room_for_everybody_else() {
    let host = Host::new();
    let _daemon = host.start();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for line in [r#"{"jsonrpc":"2.0","id":1,"method":"status"}"#, "nonsense", ""] {
            let (host, stop) = (&host, &stop);
            scope.spawn(move || {
                let flood = host.client();
                let mut reader = flood.stream.get_ref().try_clone().unwrap();
                reader.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
                let lines = format!("{line}\n").repeat(500);
                let mut sink = [0; 65536];
                flood.stream.get_ref().set_write_timeout(Some(Duration::from_millis(20))).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    let _ = flood.stream.get_ref().write(lines.as_bytes());
                    let _ = reader.read(&mut sink);
                }
            });
        }
        let mut other = host.client();
        for _ in 0..10 {
            is_served(&mut other);
            other.wait_for_traffic();
        }
        assert_eq!(other.ask("reload")["generation"], 2);
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn more_silent_clients_than_there_is_room_for_keep_nobody_out() {
    let host = Host::new();
    let _daemon = host.start();
    let mut subscriber = host.client();
    subscriber.call("subscribe", json!({ "counters": false })).unwrap();
    let silent: Vec<Client> = (0..200).map(|_| host.client()).collect();
    let mut half: Vec<Client> = (0..20).map(|_| host.client()).collect();
    for client in &mut half {
        let _ = client.stream.get_mut().write_all(b"{\"jsonrpc\":");
    }
    let mut other = host.client();
    is_served(&mut other);
    assert!(other.ask("status")["clients"].as_u64().unwrap() <= 64);
    other.ask("reload");
    // Who is subscribed is not sent away for silence.
    assert_eq!(subscriber.line().unwrap()["params"]["event"], "reload-begun");
    assert_eq!(subscriber.line().unwrap()["params"]["event"], "reload");
    drop(silent);
}

#[test]
fn a_request_that_never_ends_is_closed_after_a_while() {
    let host = Host::new();
    let _daemon = host.start();
    let mut client = host.client();
    let begun = Instant::now();
    client.stream.get_mut().write_all(b"{\"jsonrpc\":\"2.0\",").unwrap();
    let answer = client.line().unwrap();
    assert_eq!(answer["error"]["code"], -32005, "{answer}");
    assert!(client.line().is_none());
    assert!((4..20).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[test]
fn subscribers_get_counters_at_their_pace_and_every_event() {
    let host = Host::new();
    let _daemon = host.start();
    let (mut one, mut two) = (host.client(), host.client());
    assert_eq!(one.call("subscribe", json!({ "interval": 0.1 })).unwrap()["interval"], 0.1);
    two.call("subscribe", json!({ "interval": 3600 })).unwrap();
    let ticks: Vec<_> = (0..5).map(|_| one.line().unwrap()).collect();
    let received = |tick: &serde_json::Value| tick["params"]["totals"]["received_packets"].as_u64().unwrap();
    assert!(ticks.iter().all(|tick| tick["method"] == "counters" && tick["params"]["missed"] == 0));
    assert!(received(&ticks[4]) > received(&ticks[0]), "counters move");
    assert_eq!(two.line().unwrap()["method"], "counters", "the first comes at once");
    host.client().ask("reload");
    let kind = two.line().unwrap()["params"].clone();
    assert_eq!(kind["event"], "reload-begun");
    let done = two.line().unwrap()["params"].clone();
    assert_eq!((&done["event"], &done["generation"]), (&json!("reload"), &json!(2)));
    // A subscriber may ask as well, and ends its subscription by wanting nothing.
    two.send(r#"{"jsonrpc":"2.0","id":9,"method":"subscribe","params":{"counters":false,"events":false}}"#);
    assert_eq!(two.line().unwrap()["result"]["subscribed"], false);
    host.client().ask("reload");
    two.send(r#"{"jsonrpc":"2.0","id":10,"method":"status"}"#);
    assert_eq!(two.line().unwrap()["id"], 10);
}
