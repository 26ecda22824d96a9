//! Phases by the clock, in a daemon that runs, and over its death.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use crate::host::{CUSTOMER, Client, Host, OUTSIDE, TABLES, tcp};

/// [`TABLES`] with a phase that begins so much later, or earlier, than now.
fn with_phase(seconds: i64) -> (String, String) {
    let from = Timestamp::now().checked_add(Duration::from_secs(seconds.unsigned_abs())).unwrap();
    let from = if seconds < 0 { "2020-01-01T00:00:00Z".to_owned() } else { from.to_string() };
    let phases = format!("phases = [\n  {{ name = \"soon\", from = \"{from}\", block = \"all\" }},\n]");
    let (start, end) = (TABLES.find("phases = [").unwrap(), TABLES.find("\n]").unwrap() + 2);
    (format!("{}{phases}{}", &TABLES[..start], &TABLES[end..]), from)
}

fn denied(client: &mut Client) -> u64 {
    client.ask("counters")["totals"]["reasons"]["port25-egress"]["reject"].as_u64().unwrap_or(0)
}

#[test]
fn a_phase_begins_at_its_instant_in_a_running_daemon_and_is_told() {
    let host = Host::new();
    let (tables, from) = with_phase(2);
    host.configure(&tables);
    let daemon = host.start();
    let mut client = host.client();
    let mut events = host.client();
    events.call("subscribe", json!({ "counters": false })).unwrap();
    client.wait_until("packets come", |client| client.received() > 6);
    let phases = client.ask("phases");
    assert_eq!(
        (&phases["phases"][0]["state"], &phases["phases"][0]["begun"]),
        (&json!("to come"), &json!(false))
    );
    assert_eq!(denied(&mut client), 0, "before its instant everything passes");
    assert_eq!(client.ask("status")["phases"]["next"]["phase"], "soon");
    let text = host.ok(&["phases"]);
    assert!(
        text.contains("to come   dynamic") && text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );

    // To be asked about an instant later on begins nothing.
    let later = host.ok(&["explain", "--at", "2099-01-01T00:00:00Z", "203.0.113.7", "192.0.2.200", "25"]);
    assert!(later.contains("deny: port25-egress"), "{later}");
    assert_eq!(client.ask("phases")["phases"][0]["begun"], false);

    let event = events.line().unwrap();
    assert_eq!((&event["method"], &event["params"]["event"]), (&json!("event"), &json!("phase-begun")));
    assert_eq!((&event["params"]["policy"], &event["params"]["phase"]), (&json!("dynamic"), &json!("soon")));
    let late =
        |at: &str| at.parse::<Timestamp>().unwrap().duration_since(from.parse().unwrap()).as_secs_f64();
    let late = late(event["params"]["at"].as_str().unwrap());
    assert!((0.0..1.0).contains(&late), "{late} s late");
    client.wait_until("packets are denied", |client| denied(client) > 2);
    assert_eq!(client.ask("phases")["phases"][0]["state"], "in force");
    assert_eq!(client.ask("status")["phases"], json!({ "begun": 1, "to_come": 0, "next": null }));
    client.wait_until("it is written down", |_| host.path("state/phases.json").exists());
    let ended = daemon.stop();
    assert!(ended.stderr.contains("phase soon of policy dynamic has begun"), "{}", ended.stderr);
}

#[test]
fn a_phase_begins_also_where_no_packet_comes() {
    let host = Host::new();
    host.configure(&with_phase(1).0);
    let frames = [tcp(CUSTOMER, OUTSIDE, 25), tcp(CUSTOMER, OUTSIDE, 25)];
    host.capture("traffic.pcap", frames.iter(), Duration::from_secs(200));
    let _daemon = host.start();
    let mut client = host.client();
    client.wait_until("it has begun", |client| client.ask("phases")["phases"][0]["begun"] == true);
    client.wait_until("it is written down", |_| host.path("state/phases.json").exists());
}

#[test]
fn a_phase_that_began_stays_begun_over_a_crash_although_the_clock_stepped_back() {
    let host = Host::new();
    // What a daemon wrote down whose clock was ahead of ours: the phase's instant is still to come for us.
    let (tables, from) = with_phase(3600);
    host.configure(&tables);
    fs::create_dir_all(host.path("state")).unwrap();
    let remembered =
        json!({ "version": 1, "begun": [{ "policy": "dynamic", "phase": "soon", "from": from }] });
    host.write("state/phases.json", &remembered.to_string());
    for _ in 0..2 {
        let daemon = host.start();
        let mut client = host.client();
        client.wait_until("packets are denied", |client| denied(client) > 1);
        assert_eq!(client.ask("phases")["phases"][0]["begun"], true);
        let explained = host.ok(&["explain", "203.0.113.7", "192.0.2.200", "25"]);
        assert!(explained.contains("soon from") && explained.contains("deny: port25-egress"), "{explained}");
        // A reload keeps it as well.
        client.ask("reload");
        assert_eq!(client.ask("phases")["phases"][0]["begun"], true);
        daemon.kill();
        assert!(host.socket().exists(), "a crash leaves the socket, and the next daemon replaces it");
    }
    // Offline, the clock alone decides, and what is remembered is not touched.
    let before = fs::read_to_string(host.path("state/phases.json")).unwrap();
    let offline = host.ok(&["explain", "-c", "sekisho.toml", "203.0.113.7", "192.0.2.200", "25"]);
    assert!(offline.contains("forward: not-in-scope"), "{offline}");
    assert_eq!(fs::read_to_string(host.path("state/phases.json")).unwrap(), before);
}

#[test]
fn a_phase_that_begins_while_the_daemon_runs_is_remembered_over_a_crash() {
    let host = Host::new();
    host.configure(&with_phase(1).0);
    let daemon = host.start();
    let mut client = host.client();
    client.wait_until("it is written down", |_| {
        fs::read_to_string(host.path("state/phases.json")).is_ok_and(|text| text.contains("soon"))
    });
    daemon.kill();
    let _daemon = host.start();
    assert_eq!(host.client().ask("phases")["phases"][0]["begun"], true);
}

#[test]
fn what_can_not_be_read_of_the_past_is_said_and_the_daemon_goes_on() {
    let host = Host::new();
    host.configure(&with_phase(-1).0);
    fs::create_dir_all(host.path("state")).unwrap();
    host.write("state/phases.json", "{\"version\":1,\"beg");
    let daemon = host.start();
    let mut client = host.client();
    client.wait_until("packets are denied", |client| denied(client) > 1);
    let ended = daemon.stop();
    assert!(ended.stderr.contains("warning") && ended.stderr.contains("phases.json"), "{}", ended.stderr);
    assert!(host.path("state/phases.json.refused").exists());
    assert!(
        fs::read_to_string(host.path("state/phases.json")).unwrap().contains("soon"),
        "it is written anew"
    );
}

#[test]
fn a_state_folder_that_can_not_be_written_is_said_and_the_daemon_goes_on() {
    let host = Host::new();
    host.configure(&with_phase(-1).0);
    host.write("state", "a file in the way");
    let daemon = host.start();
    host.client().wait_for_traffic();
    let ended = daemon.stop();
    assert!(ended.stderr.contains("can't be written down"), "{}", ended.stderr);
    assert_eq!(ended.code, Some(0));
}
