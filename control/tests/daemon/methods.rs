//! Every method, and every way to ask for none.

use serde_json::{Value, json};

use crate::host::Host;

#[test]
fn status_tells_the_daemon_at_a_glance() {
    let host = Host::new();
    let daemon = host.start();
    let mut client = host.client();
    client.wait_for_traffic();
    let slept = |client: &mut crate::host::Client| client.ask("status")["workers"][0]["sleeps"] != 0;
    client.wait_until("poll is interrupt", slept);
    let status = client.ask("status");
    assert_eq!(status["pid"], daemon.pid());
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&status["generation"], &status["reloads"]), (&json!(1), &json!(0)));
    assert!(status["start_config"].as_str().unwrap().ends_with("/sekisho.toml"), "an absolute path");
    let access = &status["ports"][0];
    assert_eq!(
        (&access["name"], &access["role"], &access["peer"]),
        (&json!("access"), &json!("subscriber"), &json!("core"))
    );
    assert_eq!(access["up"], true);
    assert!(access["received_packets"].as_u64().unwrap() > 0);
    assert_eq!(status["workers"].as_array().unwrap().len(), 1);
    assert_eq!(status["workers"][0]["running"], true);
    assert_eq!(status["phases"], json!({ "begun": 1, "to_come": 0, "next": null }));
    assert!(status["memory_bytes"].as_u64().unwrap() > 0);

    let text = host.ok(&["status"]);
    assert!(text.contains("generation 1 in force") && text.contains("phases: 1 begun, 0 to come"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let json: Value = serde_json::from_str(&host.ok(&["status", "--json"])).unwrap();
    assert_eq!(json["pid"], status["pid"]);
}

#[test]
fn pools_and_counters_tell_what_became_of_the_traffic() {
    let host = Host::new();
    let _daemon = host.start();
    let mut client = host.client();
    client.wait_until("each kind of packet came", |client| client.received() > 6);
    let pools = client.ask("pools");
    let [flets, fixed] = &pools["pools"].as_array().unwrap()[..] else { panic!("{pools}") };
    assert_eq!(
        (&flets["name"], &flets["policy"], &flets["kind"]),
        (&json!("flets"), &json!("dynamic"), &json!("restrict"))
    );
    assert_eq!((&flets["prefixes_v4"], &flets["prefixes_v6"]), (&json!(1), &json!(1)));
    assert!(flets["denied"].as_u64() > Some(0) && flets["packets"].as_u64() > flets["denied"].as_u64());
    assert!(fixed["packets"].as_u64() > Some(0));
    assert_eq!(fixed["denied"], 0);

    let counters = client.call("counters", json!({ "workers": true })).unwrap();
    let totals = &counters["totals"];
    for reason in ["port25-egress", "submission", "exempt-pool"] {
        assert!(totals["reasons"].get(reason).is_some(), "{totals}");
    }
    assert!(totals["reasons"]["port25-egress"]["reject"].as_u64().unwrap() > 0);
    assert_eq!(counters["ports"].as_array().unwrap().len(), 2);
    assert_eq!(counters["workers"][0]["ports"][0]["port"], "access");
    assert!(client.ask("counters").get("workers").is_none());

    for command in [&["pools"][..], &["counters"], &["counters", "--workers"]] {
        let text = host.ok(command);
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }
    assert!(host.ok(&["pools"]).contains("My-BフレッツF/M-B"));
    assert!(host.ok(&["counters"]).contains("port25-egress"));
}

#[test]
fn explain_answers_as_it_does_offline() {
    let host = Host::new();
    let _daemon = host.start();
    let at = "2026-01-01T00:00:00Z";
    for packet in [
        &["203.0.113.7", "192.0.2.200", "25"][..],
        &["203.0.113.7", "192.0.2.25", "25"],
        &["198.51.100.7", "192.0.2.200", "25", "--sport", "1234"],
        &["192.0.2.200", "203.0.113.7", "1025", "--in", "core", "--sport", "25"],
        &["2001:db8:1::1", "2001:db8:9::9", "25", "--proto", "udp"],
    ] {
        for form in [&["--at", at][..], &["--at", at, "--json"]] {
            let online = host.ok(&[&["explain"][..], packet, form].concat());
            let offline = host.ok(&[&["explain", "-c", "sekisho.toml"][..], packet, form].concat());
            assert_eq!(online, offline);
        }
    }
    let now: Value =
        serde_json::from_str(&host.ok(&["explain", "--json", "203.0.113.7", "192.0.2.200", "25"])).unwrap();
    assert_eq!((&now["reason"], &now["phase"]), (&json!("port25-egress"), &json!("carriers")));
    let told = host.refused(&["explain", "203.0.113.7", "::1", "25"]);
    assert!(told.contains("different address families"), "{told}");
    let told = host.refused(&["explain", "--in", "nowhere", "203.0.113.7", "192.0.2.200", "25"]);
    assert!(told.contains("--in nowhere: no such port; there are access, core"), "{told}");
    let mut client = host.client();
    let packet = json!({ "source": "203.0.113.7", "destination": "192.0.2.200", "destination_port": 25, "at": "soon" });
    assert_eq!(client.call("explain", packet).unwrap_err()["code"], -32602);
}

#[test]
fn check_tells_of_the_configuration_in_force_and_of_another() {
    let host = Host::new();
    let _daemon = host.start();
    let mut client = host.client();
    let own = client.ask("check");
    let offline: Value = serde_json::from_str(&host.ok(&["check", "-c", "sekisho.toml", "--json"])).unwrap();
    assert_eq!(own, offline);
    let other = host.whole(
        "[[policy]]\nname = \"p\"\n[[pool]]\nname = \"q\"\npolicy = \"p\"\nprefixes = [\"10.0.0.0/8\"]\n",
    );
    let text = client.call("check", json!({ "toml": other })).unwrap();
    assert_eq!(text["pools"][0]["name"], "q");
    let path = host.write("other.toml", &other);
    assert_eq!(client.call("check", json!({ "path": path })).unwrap(), text);
    assert_eq!(client.call("check", json!({ "path": "other.toml" })).unwrap_err()["code"], -32602);
    assert_eq!(client.call("check", json!({ "path": path, "toml": "" })).unwrap_err()["code"], -32602);
    let refused = client.call("check", json!({ "toml": "[[port]]\nnam = 1\n" })).unwrap_err();
    assert_eq!(refused["code"], -32002);
    assert!(refused["data"]["problems"].as_array().unwrap().len() > 1, "{refused}");
}

#[test]
fn what_is_no_request_is_answered_with_the_error_that_it_is() {
    let host = Host::new();
    let _daemon = host.start();
    let mut client = host.client();
    for (line, code) in [
        ("nonsense", -32700),
        ("{\"jsonrpc\":\"2.0\",\"id\":1", -32700),
        ("[]", -32600),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"status"}]"#, -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"status"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":{},"method":"status"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"statsu"}"#, -32601),
        (r#"{"jsonrpc":"2.0","id":1,"method":"status","params":{"all":true}}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"status","params":[1]}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"reload","params":{"dry_run":"yes"}}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"subscribe","params":{"interval":0}}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"explain"}"#, -32602),
    ] {
        let answer = client.say(line);
        assert_eq!(answer["error"]["code"], code, "{line}: {answer}");
        assert!(answer.get("id").is_some(), "{answer}");
    }
    assert_eq!(client.say(r#"{"jsonrpc":"2.0","id":"x","method":"status","params":[]}"#)["id"], "x");
}

#[test]
fn a_notification_is_carried_out_and_not_answered() {
    let host = Host::new();
    let _daemon = host.start();
    let mut client = host.client();
    client.send(r#"{"jsonrpc":"2.0","method":"reload"}"#);
    client.send(r#"{"jsonrpc":"2.0","method":"no-such"}"#);
    client.wait_until("the generation is there", |client| client.ask("status")["generation"] == 2);
}

#[test]
fn a_client_that_has_said_all_and_closed_its_side_is_still_answered() {
    let host = Host::new();
    let _daemon = host.start();
    let mut client = host.client();
    client.send(r#"{"jsonrpc":"2.0","id":1,"method":"check"}"#);
    use std::io::Write;
    let last = br#"{"jsonrpc":"2.0","id":2,"method":"status"}"#;
    client.stream.get_mut().write_all(last).unwrap();
    client.stream.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.line().unwrap()["id"], 1);
    assert_eq!(client.line().unwrap()["id"], 2, "the last line needs no end");
    assert!(client.line().is_none());
}

#[test]
fn a_daemon_that_is_not_there_is_named_with_what_to_do() {
    let host = Host::new();
    for command in [
        &["status"][..],
        &["pools"],
        &["phases"],
        &["counters"],
        &["reload"],
        &["explain", "::1", "::2", "25"],
    ] {
        let told = host.refused(command);
        assert!(told.contains("no daemon answers there; start it with `sekisho run`"), "{told}");
    }
    let elsewhere = host.path("elsewhere.sock");
    let told = host.refused(&["status", "--socket", elsewhere.to_str().unwrap()]);
    assert!(told.contains("elsewhere.sock"), "{told}");
}
