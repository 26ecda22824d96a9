//! Who only reads delays nobody who changes something, and nothing that happens by the clock.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::host::{Client, Host};

/// Readers at once.
const READERS: usize = 10;

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// The heaviest questions, by turns.
fn question(client: &mut Client, at: usize) {
    let packet = json!({ "source": "203.0.113.7", "destination": "192.0.2.200", "destination_port": 25,
                         "at": "2026-01-01T00:00:00Z" });
    let (method, params) = match at % 5 {
        0 => ("explain", packet),
        1 => ("reload", json!({ "dry_run": true })),
        2 => ("check", json!({})),
        3 => ("grants", json!({})),
        _ => ("affected", json!({ "limit": 10_000 })),
    };
    client.call(method, params).unwrap_or_else(|error| panic!("{method}: {error}"));
}

#[test]
fn ten_readers_who_ask_for_the_heaviest_answers_delay_no_grant_no_confirmation_and_no_rollback() {
    let host = Host::new();
    host.configure_many();
    let _daemon = host.start();
    let (mut client, mut subscriber) = (host.client(), host.client());
    subscriber.call("subscribe", json!({ "counters": false })).unwrap();
    let stop = AtomicBool::new(false);
    let read = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for reader in 0..READERS {
            let (host, stop, read) = (&host, &stop, &read);
            scope.spawn(move || {
                let mut client = host.client();
                for at in reader.. {
                    let begun = Instant::now();
                    question(&mut client, at);
                    read.lock().unwrap().push(begun.elapsed());
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        // A failed assertion must not leave the readers asking.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            client.wait_until("all read", |_| read.lock().unwrap().len() >= 2 * READERS);
            let mut grants: Vec<Duration> = (0..11)
                .map(|n| {
                    let begun = Instant::now();
                    let params = json!({ "address": format!("10.0.0.{n}"), "for": "30m", "reason": "r" });
                    client.call("grant", params).unwrap();
                    begun.elapsed()
                })
                .collect();
            let mut changes = Vec::new();
            for method in ["confirm", "rollback", "confirm", "rollback"] {
                client.call("reload", json!({ "confirm": "10m" })).unwrap();
                let begun = Instant::now();
                client.ask(method);
                changes.push(begun.elapsed());
            }
            client.call("reload", json!({ "confirm": "1s" })).unwrap();
            let event = |client: &mut Client, wanted: &str| loop {
                let event = client.line().unwrap()["params"].take();
                if event["event"] == wanted
                    && (wanted != "rolled-back" || event["why"].as_str().unwrap().contains("within"))
                {
                    return event["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
                }
            };
            let mut awaited = event(&mut subscriber, "confirmation-awaited");
            for _ in 0..4 {
                awaited = event(&mut subscriber, "confirmation-awaited");
            }
            let back = event(&mut subscriber, "rolled-back");
            let late = Duration::try_from(back.duration_since(awaited)).unwrap() - Duration::from_secs(1);
            (median(&mut grants), median(&mut changes), late)
        }));
        stop.store(true, Ordering::Relaxed);
        let (grant, change, late) = outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let reading = median(&mut read.lock().unwrap());
        let told =
            format!("grant {grant:?}, confirm or rollback {change:?}, late {late:?}, reading {reading:?}");
        assert!([grant, change, late].iter().all(|time| *time < reading / 4), "{told}");
    });
}
