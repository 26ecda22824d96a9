//! Grants at run time: given, extended, taken back, over, and over a reload and a restart.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::host::{Client, Host, TABLES};

const CUSTOMER: &str = "203.0.113.7";

/// What becomes of the customer's mail to outside.
fn reason(client: &mut Client) -> String {
    let packet = json!({ "source": CUSTOMER, "destination": "192.0.2.200", "destination_port": 25 });
    client.call("explain", packet).unwrap()["reason"].as_str().unwrap().to_owned()
}

fn counted(client: &mut Client, reason: &str) -> u64 {
    let done = client.ask("counters")["totals"]["reasons"][reason].clone();
    done.as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum()
}

fn wait_for_more(client: &mut Client, reason: &str) {
    let before = counted(client, reason);
    client.wait_until(reason, |client| counted(client, reason) > before + 1);
}

#[test]
fn a_prefix_that_is_no_customer_is_refused_and_one_that_is_wider_than_its_pools_names_them() {
    let host = Host::new();
    let daemon = host.start();
    let give = |prefix| ["grant", prefix, "--for", "30m", "--reason", "moving"];
    let refused = host.refused(&give("0.0.0.0/0"));
    assert!(refused.contains("0.0.0.0/0 is no customer: a grant is for /8 or longer"), "{refused}");
    assert!(host.refused(&give("2000::/3")).contains("/16 or longer"));
    let told = host.ok(&give("203.0.0.0/16"));
    assert!(told.contains("note: it holds customers of the pool") && told.contains("flets"), "{told}");
    assert!(!told.contains("pool: none"), "{told}");
    assert!(host.ok(&give("198.18.0.1")).contains("pool: none"));
    daemon.stop();
}

#[test]
fn a_grant_opens_port_25_at_once_until_it_is_revoked_or_over_and_keeps_the_generation() {
    let host = Host::new();
    let daemon = host.start();
    let (mut client, mut subscriber) = (host.client(), host.client());
    subscriber.call("subscribe", json!({ "counters": false })).unwrap();
    wait_for_more(&mut client, "port25-egress");
    let told = host.ok(&["grant", CUSTOMER, "--for", "30m", "--reason", "pop3:関"]);
    assert!(told.starts_with("granted: 203.0.113.7 until 20") && told.contains("pool: flets"), "{told}");
    assert_eq!(reason(&mut client), "exempt-grant");
    wait_for_more(&mut client, "exempt-grant");
    let denied = counted(&mut client, "port25-egress");
    wait_for_more(&mut client, "exempt-grant");
    assert_eq!(counted(&mut client, "port25-egress"), denied, "no packet is denied any more");

    let event = subscriber.line().unwrap()["params"].clone();
    assert_eq!((&event["event"], &event["extended"]), (&json!("granted"), &json!(false)), "{event}");
    assert_eq!((&event["address"], &event["reason"]), (&json!(CUSTOMER), &json!("pop3:関")));
    assert_eq!(event["uid"], rustix::process::geteuid().as_raw());
    let again: Value =
        serde_json::from_str(&host.ok(&["grant", CUSTOMER, "--for", "1h", "--reason", "b", "--json"]))
            .unwrap();
    assert_eq!(again["extended"], true, "{again}");
    let table = host.ok(&["grants"]);
    assert!(table.contains(CUSTOMER) && table.ends_with("1 of 65536\n"), "{table}");
    assert_eq!(client.ask("status")["grants"], 1);

    assert_eq!(host.ok(&["revoke", CUSTOMER]), "revoked: 203.0.113.7\n");
    assert_eq!(reason(&mut client), "port25-egress");
    wait_for_more(&mut client, "port25-egress");
    assert!(host.refused(&["revoke", CUSTOMER]).contains("no grant of 203.0.113.7"));

    host.ok(&["grant", "203.0.113.0/29", "--for", "2s", "--reason", "short"]);
    assert_eq!(reason(&mut client), "exempt-grant");
    assert!(host.refused(&["revoke", CUSTOMER]).contains("203.0.113.0/29 has one that holds it"));
    client.wait_until("it is over", |client| reason(client) == "port25-egress");
    client.wait_until("it has left the list", |client| client.ask("status")["grants"] == 0);
    assert_eq!(client.ask("status")["generation"], 1);
    let ended = daemon.stop();
    for line in [
        "granted 203.0.113.7 until",
        "extended 203.0.113.7",
        "revoked the grant of 203.0.113.7",
        "the grant of 203.0.113.0/29 is over",
    ] {
        assert_eq!(ended.stderr.matches(line).count(), 1, "{line} in {}", ended.stderr);
    }
}

#[test]
fn grants_survive_a_reload_and_a_restart_and_damage_is_told_and_not_fatal() {
    let host = Host::new();
    let daemon = host.start();
    host.ok(&["grant", CUSTOMER, "--for", "30m", "--reason", "x"]);
    host.ok(&["reload"]);
    let mut client = host.client();
    assert_eq!(reason(&mut client), "exempt-grant");
    let before = client.ask("grants");
    assert_eq!(daemon.stop().code, Some(0));
    let daemon = host.start();
    let mut client = host.client();
    assert_eq!(
        (&client.ask("grants")["grants"], reason(&mut client).as_str()),
        (&before["grants"], "exempt-grant")
    );
    wait_for_more(&mut client, "exempt-grant");
    // What was given and is on the disk survives a crash as well.
    host.ok(&["grant", "203.0.113.8", "--for", "30m", "--reason", "y"]);
    let file = host.path("state/grants.json");
    client.wait_until("it is written", |_| std::fs::read_to_string(&file).unwrap().contains("203.0.113.8"));
    daemon.kill();
    let daemon = host.start();
    assert_eq!(host.client().ask("grants")["grants"].as_array().unwrap().len(), 2);
    daemon.stop();
    host.write("state/grants.json", "{\"version\":1,");
    let daemon = host.start();
    let mut client = host.client();
    assert_eq!(
        (client.ask("status")["grants"].clone(), reason(&mut client)),
        (json!(0), "port25-egress".into())
    );
    let ended = daemon.stop();
    assert!(
        ended.stderr.contains("the grants from before are none now, they can't be read"),
        "{}",
        ended.stderr
    );
    assert!(host.path("state/grants.json.refused").exists());
}

#[test]
fn a_disk_that_hangs_holds_up_nobody_who_grants_and_what_it_missed_is_saved_later() {
    let host = Host::new();
    std::fs::create_dir(host.path("state")).unwrap();
    // Whoever opens it for writing waits until somebody reads it.
    let pipe = host.path("state/grants.json.new");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let daemon = host.start();
    let (mut client, mut subscriber) = (host.client(), host.client());
    subscriber.call("subscribe", json!({ "counters": false })).unwrap();
    for n in 0..5 {
        let params = json!({ "address": format!("203.0.113.{n}"), "for": "30m", "reason": "r" });
        let granted = client.call("grant", params).unwrap();
        assert_eq!(
            (&granted["survives_restart"], &granted["saved_within_seconds"]),
            (&json!(true), &json!(1.0))
        );
    }
    client.call("revoke", json!({ "address": "203.0.113.0" })).unwrap();
    client.ask("reload");
    assert_eq!(client.ask("grants")["saved"], false);
    assert!(!host.path("state/grants.json").exists());
    // A pipe can be written, and can't be brought to a disk.
    let read = std::fs::File::open(&pipe).unwrap();
    std::fs::remove_file(&pipe).unwrap();
    let told = loop {
        let event = subscriber.line().unwrap()["params"].take();
        if event["event"] == "grants-unwritable" {
            break event;
        }
    };
    assert!(told["why"].as_str().unwrap().contains("state/grants.json: "), "{told}");
    drop(read);
    client.wait_until("it is saved", |client| client.ask("grants")["saved"] == true);
    daemon.kill();
    let _daemon = host.start();
    assert_eq!(host.client().ask("grants")["found"], 4);
}

#[test]
fn what_is_out_of_bounds_is_refused_with_the_remedy() {
    let host = Host::new();
    host.configure(&format!("[limits]\ngrants = 2\n{TABLES}"));
    let _daemon = host.start();
    let grant =
        |address: &str, time: &str| ["grant", address, "--for", time, "--reason", "r"].map(str::to_owned);
    let refused = |address, time| host.refused(&grant(address, time).each_ref().map(String::as_str));
    assert!(refused("203.0.113.7/24", "30m").contains("write 203.0.113.0/24"));
    assert!(refused("customer", "30m").contains("no address"));
    assert!(refused(CUSTOMER, "soon").contains("30m"));
    assert!(refused(CUSTOMER, "32d").contains("31d"));
    assert!(host.refused(&["grant", CUSTOMER, "--for", "1m", "--reason", "a\nb"]).contains("one line"));
    for address in [CUSTOMER, "2001:db8:1::/64"] {
        host.ok(&grant(address, "30m").each_ref().map(String::as_str));
    }
    assert!(refused("203.0.113.9", "30m").contains("[limits] grants"));
    host.ok(&grant(CUSTOMER, "1h").each_ref().map(String::as_str));
    assert_eq!(host.client().ask("grants")["grants"].as_array().unwrap().len(), 2);
}

#[test]
fn a_grant_beside_100_000_prefixes_compiles_nothing() {
    let host = Host::new();
    host.configure_many();
    let _daemon = host.start();
    let mut client = host.client();
    let compiled = client.ask("reload")["seconds"]["compile"].as_f64().unwrap();
    let mut times: Vec<Duration> = (0..101u32)
        .map(|n| {
            let begun = Instant::now();
            let address = format!("10.0.{n}.7");
            client.call("grant", json!({ "address": address, "for": "30m", "reason": "r" })).unwrap();
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    let median = times[50].as_secs_f64();
    assert!(median < compiled / 4.0, "{median} s, and compiling takes {compiled} s");
}
