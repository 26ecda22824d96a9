//! A reload with a net: it comes back by itself unless it is confirmed, and earlier generations can be had again.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::host::{Client, Host, TABLES};

/// What becomes of a dynamic customer's mail to the carriers' set.
fn reason(client: &mut Client) -> String {
    let packet = json!({ "source": "203.0.113.7", "destination": "192.0.2.200", "destination_port": 25 });
    client.call("explain", packet).unwrap()["reason"].as_str().unwrap().to_owned()
}

/// A configuration that denies nothing: the carriers are always allowed.
fn open(host: &Host) -> String {
    host.whole(&TABLES.replace("allow = [\"own-msa\"]", "allow = [\"own-msa\", \"carriers\"]"))
}

/// A host with the file `open.toml`.
fn host() -> Host {
    let host = Host::new();
    host.write("open.toml", &open(&host));
    host
}

fn generation(client: &mut Client) -> u64 {
    client.ask("status")["generation"].as_u64().unwrap()
}

/// The next event of this kind.
fn event(subscriber: &mut Client, kind: &str) -> Value {
    loop {
        let line = subscriber.line().expect("events go on");
        if line["params"]["event"] == kind {
            return line["params"].clone();
        }
    }
}

#[test]
fn a_reload_that_nobody_confirms_comes_back_by_itself_also_when_its_command_is_killed() {
    let host = host();
    let daemon = host.start();
    let (mut client, mut subscriber) = (host.client(), host.client());
    subscriber.call("subscribe", json!({ "counters": false })).unwrap();
    let mut command = host.command(&["reload", "--confirm", "4s", "open.toml"]);
    let mut command = command.stdout(Stdio::null()).spawn().unwrap();
    client.wait_until("it is in force", |client| generation(client) == 2);
    command.kill().unwrap();
    command.wait().unwrap();
    let awaited = event(&mut subscriber, "confirmation-awaited");
    assert_eq!((&awaited["generation"], &awaited["previous"]), (&json!(2), &json!(1)), "{awaited}");
    let status = client.ask("status");
    let left = status["confirmation"]["seconds_left"].as_f64().unwrap();
    assert!(left > 0.0 && left <= 4.0, "{status}");
    assert_eq!(status["generations"][0]["state"], "awaits-confirmation", "{status}");
    assert_eq!(reason(&mut client), "allowed-destination");

    let back = event(&mut subscriber, "rolled-back");
    let at = |event: &Value| event["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let waited = at(&back).duration_since(at(&awaited)).as_secs_f64();
    assert!(waited > 3.5, "{waited} s");
    assert_eq!((&back["generation"], &back["left"], &back["restores"]), (&json!(3), &json!(2), &json!(1)));
    assert_eq!(reason(&mut client), "port25-egress");
    client.wait_for_traffic();
    let status = client.ask("status");
    assert_eq!((&status["generation"], &status["confirmation"]), (&json!(3), &Value::Null), "{status}");
    assert!(status["config"].as_str().unwrap().ends_with("/sekisho.toml"), "{status}");
    assert_eq!(status["generations"][0]["by"], "timer", "{status}");
    assert_eq!(status["generations"][1]["state"], "rolled-back", "{status}");
    let late = host.refused(&["confirm"]);
    assert!(late.contains("no reload awaits confirmation") && late.contains("generation 3"), "{late}");
    let late = host.refused(&["rollback"]);
    assert!(late.contains("no generation before this one"), "what was wrong does not come back: {late}");
    let ended = daemon.stop();
    assert!(ended.stderr.contains("rolled back from generation 2"), "{}", ended.stderr);
    assert!(ended.stderr.contains("not confirmed within 4s"), "{}", ended.stderr);
}

#[test]
fn what_is_confirmed_stays() {
    let host = host();
    let _daemon = host.start();
    let (mut client, mut subscriber) = (host.client(), host.client());
    subscriber.call("subscribe", json!({ "counters": false })).unwrap();
    let told = host.ok(&["reload", "--confirm", "2s", "open.toml"]);
    assert!(told.contains("without `sekisho confirm`, generation 1 comes back in 2 s"), "{told}");
    assert!(host.refused(&["confirm", "1"]).contains("generation 2 awaits confirmation, no other"));
    let told = host.ok(&["confirm", "2"]);
    assert!(told.starts_with("confirmed: generation 2 stays in force"), "{told}");
    let confirmed = event(&mut subscriber, "confirmed");
    assert_eq!(confirmed["uid"], rustix::process::geteuid().as_raw(), "{confirmed}");
    assert!(host.refused(&["confirm"]).contains("no reload awaits confirmation"));
    // Past the end of its time, and the thread that would go back has been asked something since.
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(reason(&mut client), "allowed-destination");
    assert_eq!(generation(&mut client), 2);
    assert_eq!(client.ask("generations")["generations"][0]["state"], "in-force");
}

#[test]
fn until_it_is_confirmed_or_taken_back_no_other_reload_is_accepted() {
    let host = host();
    let daemon = host.start();
    let mut client = host.client();
    host.ok(&["reload", "--confirm", "10m", "open.toml"]);
    let refused = host.refused(&["reload"]);
    for told in ["generation 2 awaits confirmation", "`sekisho confirm`", "`sekisho rollback`"] {
        assert!(refused.contains(told), "{refused}");
    }
    let error = client.call("reload", json!({ "confirm": "60s" })).unwrap_err();
    assert_eq!((&error["code"], &error["data"]["previous"]), (&json!(-32008), &json!(1)), "{error}");
    daemon.signal(Signal::HUP);
    client.wait_until("SIGHUP is refused", |client| client.ask("status")["reloads_refused"] == 3);
    assert!(host.ok(&["reload", "--dry-run"]).contains("generation 2 stays in force"));
    let status = host.ok(&["status"]);
    assert!(status.contains("awaits confirmation: without it, generation 1 comes back in 9 min"), "{status}");
    assert!(status.contains("before: 1 replaced (start)"), "{status}");

    let told = host.ok(&["rollback"]);
    assert!(told.contains("rolled back from generation 2: generation 3 is in force, as 1 was"), "{told}");
    assert!(told.contains("policies: 0 added, 0 removed, 1 changed\n"), "{told}");
    assert_eq!(reason(&mut client), "port25-egress");
    assert!(host.ok(&["reload", "open.toml"]).contains("generation 4 is in force"));
}

#[test]
fn grants_counters_and_phases_survive_the_way_back() {
    let host = host();
    host.configure(&TABLES.replace("2005-10-18T00:00:00+09:00", "2000-01-01T00:00:00Z"));
    // A phase that begins while the reload awaits its confirmation.
    let from = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2);
    let begins = host.whole(TABLES).replace(
        "\"carriers\", from = \"2005-10-18T00:00:00+09:00\"",
        &format!("\"new\", from = \"{from}\""),
    );
    host.write("begins.toml", &begins);
    let _daemon = host.start();
    let mut client = host.client();
    host.ok(&["grant", "203.0.113.9", "--for", "30m", "--reason", "before"]);
    host.ok(&["reload", "--confirm", "10m", "begins.toml"]);
    host.ok(&["grant", "203.0.113.7", "--for", "30m", "--reason", "while it waits"]);
    host.ok(&["revoke", "203.0.113.9"]);
    client.wait_until("the phase has begun", |client| client.ask("phases")["phases"][0]["begun"] == true);
    let before = client.ask("pools")["pools"][0]["packets"].as_u64().unwrap();
    host.ok(&["rollback"]);
    assert_eq!(reason(&mut client), "exempt-grant", "what was granted meanwhile holds");
    assert_eq!(client.ask("grants")["grants"].as_array().unwrap().len(), 1, "what was revoked does not");
    assert_eq!(client.ask("phases")["phases"][0]["begun"], true, "what had begun before is in force");
    client.wait_until("the pool's counters go on", |client| {
        client.ask("pools")["pools"][0]["packets"].as_u64().unwrap() > before
    });
    // The phase is remembered for when it comes again.
    host.ok(&["rollback", "2"]);
    assert_eq!(client.ask("phases")["phases"][0]["begun"], true);
    let state = std::fs::read_to_string(host.path("state/phases.json")).unwrap();
    assert!(state.contains("\"new\""), "{state}");
}

#[test]
fn an_older_generation_comes_back_by_its_number_and_the_last_ten_are_kept() {
    let host = host();
    let daemon = host.start();
    let mut client = host.client();
    let me = rustix::process::geteuid().as_raw();
    host.ok(&["reload", "open.toml"]);
    daemon.signal(Signal::HUP);
    client.wait_until("the third is in force", |client| generation(client) == 3);
    let list = host.ok(&["rollback", "--list"]);
    for told in [" start ", " SIGHUP ", &format!(" uid {me}, process "), "~ policy dynamic: allow: "] {
        assert!(list.contains(told), "{told} in {list}");
    }
    assert!(list.lines().all(|line| line.chars().count() <= 100), "{list}");

    // What is restored is what was in force, whatever its file says by now.
    host.write("open.toml", "nonsense");
    let told = host.ok(&["rollback", "2"]);
    assert!(told.contains("rolled back from generation 3: generation 4 is in force, as 2 was"), "{told}");
    assert_eq!(reason(&mut client), "allowed-destination");
    host.ok(&["rollback"]);
    assert_eq!(reason(&mut client), "port25-egress", "the one before the second");
    let json: Value = serde_json::from_str(&host.ok(&["rollback", "--list", "--json"])).unwrap();
    assert_eq!(
        (&json["generations"][0]["restores"], &json["generations"][0]["uid"]),
        (&json!(1), &json!(me)),
        "{json}"
    );
    assert!(host.refused(&["rollback"]).contains("no generation before this one"), "and not the one left");
    for _ in 0..8 {
        host.ok(&["reload"]);
    }
    let list = client.ask("generations")["generations"].clone();
    let numbers: Vec<u64> =
        list.as_array().unwrap().iter().map(|entry| entry["generation"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (4..=13).rev().collect::<Vec<_>>());
    assert!(host.refused(&["rollback", "3"]).contains("generation 3 is not among the last 10"));
    assert!(host.refused(&["rollback", "13"]).contains("in force already"));
    host.ok(&["rollback", "4"]);
    assert_eq!(reason(&mut client), "allowed-destination");
    client.wait_for_traffic();
}

#[test]
fn a_time_that_is_none_and_a_first_generation_are_told_what_to_do() {
    let host = host();
    let _daemon = host.start();
    assert!(host.refused(&["rollback"]).contains("no generation before this one"));
    assert!(host.refused(&["reload", "--confirm", "soon"]).contains("such as 60s"));
    assert!(host.refused(&["reload", "--confirm", "2d"]).contains("between 1s and 1d"));
    let mut client = host.client();
    let both = json!({ "confirm": "60s", "dry_run": true });
    assert_eq!(client.call("reload", both).unwrap_err()["code"], -32602);
    assert_eq!(host.run(&["reload", "--confirm", "60s", "--dry-run"]).status.code(), Some(2));
    assert_eq!(generation(&mut client), 1);
}

#[test]
fn a_set_or_a_pool_that_lost_more_than_half_is_refused_with_the_remedy_until_it_is_said_to_be_meant() {
    let host = Host::new();
    let carriers = "\"192.0.2.192/28\", \"192.0.2.208/28\", \"192.0.2.224/28\"";
    let tables = TABLES.replace("\"192.0.2.192/26\"", carriers);
    host.configure(&tables);
    let daemon = host.start();
    let mut client = host.client();
    host.configure(&tables.replace(carriers, "\"192.0.2.192/28\""));
    for arguments in [&["reload"][..], &["reload", "--dry-run"], &["reload", "--confirm", "60s"]] {
        let told = host.refused(arguments);
        assert!(told.contains("set `carriers` loses 2 of its 3 prefixes in force"), "{told}");
        assert!(told.contains("sekisho.toml:") && told.contains("--allow-shrink"), "{told}");
    }
    daemon.signal(Signal::HUP);
    client.wait_until("SIGHUP is refused", |client| client.ask("status")["reloads_refused"] == 3);
    assert_eq!(generation(&mut client), 1);
    client.wait_for_traffic();
    assert!(host.ok(&["reload", "--allow-shrink"]).contains("generation 2 is in force"));
    assert!(host.ok(&["reload"]).contains("generation 3 is in force"), "nothing is lost any more");

    // A list written anew in other pieces, or moved to another pool, has lost nothing.
    let split = "\"203.0.113.0/26\", \"203.0.113.64/26\", \"2001:db8:1::/48\"";
    let tables = tables.replace(carriers, "\"192.0.2.192/26\"");
    host.configure(&tables.replace("\"203.0.113.0/25\", \"2001:db8:1::/48\"", split));
    host.ok(&["reload"]);
    host.configure(&tables.replace("name = \"flets\"", "name = \"hikari\""));
    host.ok(&["reload"]);
    // A pool that is gone, and whose customers are in none.
    let gone = tables.split("[[pool]]").take(2).collect::<Vec<_>>().join("[[pool]]");
    host.configure(&gone.replace("name = \"flets\"", "name = \"hikari\""));
    assert!(host.refused(&["reload"]).contains("pool `static` is gone"));
    host.ok(&["reload", "--allow-shrink"]);
}

#[test]
fn going_back_from_100_000_prefixes_compiles_nothing() {
    let host = Host::new();
    host.configure_many();
    let _daemon = host.start();
    let mut client = host.client();
    let mut ratios: Vec<f64> = (0..5)
        .map(|_| {
            let reloaded = client.call("reload", json!({ "confirm": "10m" })).unwrap();
            assert_eq!(reloaded["still_held"], 0);
            let back = client.ask("rollback");
            assert_eq!(back["still_held"], 0);
            let seconds = |value: &Value| value.as_f64().unwrap();
            seconds(&back["seconds"]) / seconds(&reloaded["seconds"]["compile"])
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    assert!(ratios[2] < 0.25, "of the time that compiling takes: {ratios:?}");
}
