//! The affected list of a running daemon: who is in it, by which name, in which form.

use std::time::Duration;

use serde_json::{Value, json};

use crate::host::{CUSTOMER, Client, Host, OUTSIDE, TABLES, tcp};

fn attempts(client: &mut Client) -> u64 {
    client.ask("affected")["accuracy"]["attempts"].as_u64().unwrap()
}

fn wait_for_attempts(client: &mut Client, least: u64) {
    client.wait_until("customers try", |client| attempts(client) >= least);
}

fn rows(list: &Value) -> &Vec<Value> {
    list["customers"].as_array().unwrap()
}

#[test]
fn who_is_denied_is_listed_and_nobody_else() {
    let host = Host::new();
    let daemon = host.start();
    let mut client = host.client();
    wait_for_attempts(&mut client, 3);
    // Several attempts can come in one burst, which has one instant.
    client.wait_until("it tries again later", |client| {
        let list = client.ask("affected");
        rows(&list)[0]["first_seen"].as_str() < rows(&list)[0]["last_seen"].as_str()
    });
    let list = client.ask("affected");
    let [row] = &rows(&list)[..] else { panic!("{list}") };
    assert_eq!(
        (&row["customer"], &row["pool"], &row["policy"]),
        (&json!("203.0.113.7"), &json!("flets"), &json!("dynamic"))
    );
    let attempts = row["attempts"].as_u64().unwrap();
    assert!(attempts >= 3);
    for same in ["attempts_at_most", "connections", "denied"] {
        assert_eq!(row[same], attempts, "{row}");
    }
    assert_eq!((&row["would_deny"], &row["answers"]), (&json!(0), &json!(0)));
    assert_eq!(row["destinations"], json!({ "own": 0, "listed": attempts, "other": 0 }));
    assert_eq!((&row["distinct_destinations"], &row["hint"]), (&json!(1), &json!("mail client")));
    assert!(row["first_seen"].as_str() < row["last_seen"].as_str(), "{row}");
    assert_eq!(list["privacy"], "off");
    assert_eq!(list["accuracy"]["displaced_customers"], 0);
    assert!(client.call("affected", json!({ "pool": "static" })).unwrap()["customers"] == json!([]));
    assert_eq!(rows(&client.call("affected", json!({ "pool": "flets", "limit": 1 })).unwrap()).len(), 1);
    // What was booked is what the counters say was denied, once nothing comes any more.
    let denied = client.ask("counters")["totals"]["reasons"]["port25-egress"].clone();
    let denied: u64 = denied.as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    client.wait_until("the list has what the counters had", |client| self::attempts(client) >= denied);
    drop(daemon);
}

#[test]
fn bad_wishes_are_refused_with_what_to_do() {
    let host = Host::new();
    let _daemon = host.start();
    let mut client = host.client();
    for (params, told) in [
        (json!({ "pool": "fletz" }), "there is no pool `fletz`"),
        (json!({ "limit": 0 }), "between 1 and 10000"),
        (json!({ "limit": 10_001 }), "between 1 and 10000"),
        (json!({ "pools": [] }), "unknown field"),
        (json!({ "after": 7 }), "invalid type"),
    ] {
        let error = client.call("affected", params).unwrap_err();
        assert_eq!(error["code"], -32602, "{error}");
        assert!(error["message"].as_str().unwrap().contains(told), "{error}");
    }
    assert!(host.refused(&["affected", "--pool", "fletz"]).contains("no pool `fletz`"));
    assert_eq!(host.run(&["affected", "--format", "xml"]).status.code(), Some(2));
}

#[test]
fn the_command_prints_a_table_a_file_for_spreadsheets_and_json() {
    let host = Host::new();
    let _daemon = host.start();
    wait_for_attempts(&mut host.client(), 3);

    let table = host.ok(&["affected"]);
    assert!(table.starts_with("1 affected customer since ") && table.contains("203.0.113.7 "), "{table}");
    assert!(table.contains("mail client") && table.contains(" to listed"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");

    let csv = host.ok(&["affected", "--format", "csv", "--pool", "flets"]);
    let lines: Vec<&str> = csv.split("\r\n").collect();
    assert!(lines[0].starts_with("customer,pool,policy,first_seen,last_seen,attempts,"), "{csv}");
    assert!(lines[1].starts_with("203.0.113.7,flets,dynamic,20") && lines[1].ends_with(",1,mail client"));
    assert_eq!(lines[2..], [""]);
    let nobody = host.ok(&["affected", "--format", "csv", "--pool", "static"]);
    assert_eq!(nobody.lines().count(), 1, "the header: {nobody}");

    for words in [&["affected", "--format", "json"][..], &["affected", "--json"]] {
        let list: Value = serde_json::from_str(&host.ok(words)).unwrap();
        assert_eq!(rows(&list)[0]["customer"], "203.0.113.7");
        assert_eq!(list["found"], 1);
    }
}

#[test]
fn lists_that_are_begun_anew_under_traffic_hold_every_attempt_together() {
    let host = Host::new();
    let frames = [tcp(CUSTOMER, OUTSIDE, 25)];
    host.capture("traffic.pcap", frames.iter().cycle().take(400_000), Duration::from_micros(100));
    let _daemon = host.start();
    let mut client = host.client();
    wait_for_attempts(&mut client, 50);
    let (mut listed, mut last) = (0, Value::Null);
    for _ in 0..20 {
        last = serde_json::from_str(&host.ok(&["affected", "--reset", "--json"])).unwrap();
        listed += last["accuracy"]["attempts"].as_u64().unwrap();
    }
    let former: Value = serde_json::from_str(&host.ok(&["affected", "--former", "--json"])).unwrap();
    assert_eq!(former, last, "it rests");
    assert_eq!(last["resets"], 20);
    let denied = |client: &mut Client| {
        let denied = client.ask("counters")["totals"]["reasons"]["port25-egress"].clone();
        denied.as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum::<u64>()
    };
    let before = denied(&mut client);
    let now = attempts(&mut client);
    let after = denied(&mut client);
    assert!(
        (before..=after).contains(&(listed + now)),
        "{before} to {after}, and {listed} + {now} are listed"
    );
}

#[test]
fn a_list_that_was_printed_can_be_forgotten() {
    let host = Host::new();
    let _daemon = host.start();
    let mut client = host.client();
    wait_for_attempts(&mut client, 50);
    let before = client.ask("affected");
    assert!(host.ok(&["affected", "--reset"]).contains("203.0.113.7"));
    let after = client.ask("affected");
    assert!(after["since"].as_str() > before["since"].as_str());
    assert!(after["accuracy"]["attempts"].as_u64() < before["accuracy"]["attempts"].as_u64(), "{after}");
    let since = after["since"].as_str().unwrap().to_owned();
    wait_for_attempts(&mut client, 1);
    let list = client.ask("affected");
    assert!(rows(&list)[0]["first_seen"].as_str().unwrap() >= since.as_str(), "{list}");
}

#[test]
fn addresses_are_hashed_from_the_next_reload_on_and_keep_their_names() {
    let host = Host::new();
    let _daemon = host.start();
    let mut client = host.client();
    wait_for_attempts(&mut client, 3);
    host.configure(&format!("{TABLES}\n[affected]\nprivacy = \"hash\"\n"));
    host.ok(&["reload"]);
    let name = |client: &mut Client| {
        let list = client.ask("affected");
        assert_eq!(list["privacy"], "hash");
        assert!(!list.to_string().contains("203.0.113"), "{list}");
        rows(&list)[0]["customer"].as_str().unwrap().to_owned()
    };
    let first = name(&mut client);
    assert!(first.starts_with("h-") && first.len() == 18, "{first}");
    assert_eq!(name(&mut client), first);
    assert!(!host.ok(&["affected", "--format", "csv"]).contains("203.0.113"));
}

#[test]
fn one_phase_is_enforced_while_the_next_is_watched() {
    let host = Host::new();
    // Carriers are denied to one pool; for the other, everything is only watched.
    let text = TABLES.replace(
        "kind = \"exempt\"",
        "action = \"monitor\"\nphases = [{ name = \"next\", from = \
                               \"2005-10-18T00:00:00+09:00\", block = \"all\" }]",
    );
    assert_ne!(text, TABLES);
    host.configure(&text);
    let _daemon = host.start();
    let mut client = host.client();
    let both = |client: &mut Client| rows(&client.ask("affected")).len() == 2;
    client.wait_until("both customers are listed", both);
    let list = client.ask("affected");
    let of = |pool: &str| rows(&list).iter().find(|row| row["pool"] == pool).unwrap();
    let (enforced, watched) = (of("flets"), of("static"));
    assert_eq!((&enforced["denied"], &enforced["would_deny"]), (&enforced["attempts"], &json!(0)));
    assert_eq!((&watched["denied"], &watched["would_deny"]), (&json!(0), &watched["attempts"]));
    assert_eq!(watched["customer"], "198.51.100.7");
}

#[test]
fn nobody_is_booked_where_that_is_not_wanted() {
    let host = Host::new();
    host.configure(&format!("{TABLES}\n[affected]\ncustomers = 0\n"));
    let _daemon = host.start();
    let told = host.refused(&["affected"]);
    assert!(told.contains("[affected] customers = 0"), "{told}");
    let mut client = host.client();
    client.wait_for_traffic();
    host.configure(TABLES);
    assert!(host.refused(&["reload"]).contains("[affected] customers: 0 → 32768"));
}
