//! Metrics over HTTP: what is told, to whom, and that clients who are slow, silent or many hurt nobody.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::host::{Host, PATIENCE, TABLES};

const OPEN: &str = "application/openmetrics-text;version=1.0.0";

/// A host whose daemon serves metrics where the system finds room.
fn host() -> Host {
    let host = Host::new();
    host.configure(&format!("{TABLES}{}", listen("127.0.0.1:0")));
    host
}

fn listen(address: &str) -> String {
    format!("[metrics]\nlisten = \"{address}\"\n")
}

/// Where the daemon says that metrics are.
fn address(host: &Host) -> String {
    let status = host.client().ask("status");
    let url = status["metrics"].as_str().expect("a URL");
    url.strip_prefix("http://").and_then(|rest| rest.strip_suffix("/metrics")).unwrap().to_owned()
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Status, header and body.
fn ask(address: &str, request: &str) -> (u16, String, String) {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no header: {text}"));
    (head[9..12].parse().unwrap(), head.to_owned(), body.to_owned())
}

fn scrape(address: &str, accept: &str) -> String {
    let (status, head, body) =
        ask(address, &format!("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n"));
    assert_eq!(status, 200, "{head}");
    body
}

/// The value of a series.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
}

#[test]
fn metrics_say_what_counters_say() {
    let host = host();
    let _daemon = host.start();
    let address = address(&host);
    let mut client = host.client();
    client.wait_until("each kind of packet came", |client| client.received() > 9);
    let before = client.ask("counters");
    let text = scrape(&address, OPEN);
    let after = client.ask("counters");
    assert!(text.ends_with("# EOF\n"));
    let between = |pointer: &str, series: &str| {
        let (low, high) = (before.pointer(pointer).unwrap(), after.pointer(pointer).unwrap());
        let told = value(&text, series);
        assert!(
            told >= low.as_f64().unwrap() && told <= high.as_f64().unwrap(),
            "{series}: {low} {told} {high}"
        );
    };
    between("/ports/0/received_packets", "sekisho_received_packets_total{port=\"access\"}");
    between("/ports/0/received_bytes", "sekisho_received_bytes_total{port=\"access\"}");
    between("/ports/0/forwarded_packets", "sekisho_forwarded_packets_total{port=\"access\"}");
    between(
        "/ports/0/denied_packets",
        "sekisho_denied_packets_total{port=\"access\",reason=\"port25-egress\"}",
    );
    between("/ports/0/rejects_suppressed", "sekisho_rejects_suppressed_total{port=\"access\"}");
    between("/ports/1/transmitted_packets", "sekisho_transmitted_packets_total{port=\"core\"}");
    between("/totals/received_packets", "sekisho_worker_packets_total{worker=\"0\"}");
    assert!(value(&text, "sekisho_rejects_sent_total{port=\"access\"}") > 0.0);
    assert!(value(&text, "sekisho_pool_denied_packets_total{pool=\"flets\"}") > 0.0);
    assert_eq!(value(&text, "sekisho_generation"), 1.0);
    assert_eq!(value(&text, "sekisho_grants"), 0.0);
    assert_eq!(value(&text, "sekisho_port_up{port=\"access\"}"), 1.0);
    assert_eq!(value(&text, "sekisho_phase_begun{policy=\"dynamic\",phase=\"carriers\"}"), 1.0);
    let from = "sekisho_phase_start_time_seconds{policy=\"dynamic\",phase=\"carriers\"}";
    assert_eq!(value(&text, from), 1_129_561_200.0);
    assert_eq!(value(&text, "sekisho_table_prefixes{table=\"pools_v4\"}"), 2.0);
    assert_eq!(value(&text, "sekisho_reload_seconds_count"), 0.0);
    client.call("grant", json!({ "address": "203.0.113.9", "for": "30m", "reason": "test" })).unwrap();
    client.ask("reload");
    host.configure("nonsense");
    client.call("reload", json!({})).unwrap_err();
    client.wait_until("reloads are told", |_| {
        let text = scrape(&address, OPEN);
        value(&text, "sekisho_reload_seconds_count") == 1.0
            && value(&text, "sekisho_reload_seconds_bucket{le=\"+Inf\"}") == 1.0
            && value(&text, "sekisho_reloads_refused_total") == 1.0
            && value(&text, "sekisho_grants") == 1.0
            && value(&text, "sekisho_generation") == 2.0
    });
}

#[test]
fn no_counter_goes_back_between_scrapes() {
    let host = host();
    let _daemon = host.start();
    let address = address(&host);
    let mut before: Vec<(String, f64)> = Vec::new();
    for _ in 0..15 {
        // A text is given again for 50 ms.
        std::thread::sleep(Duration::from_millis(60));
        let text = scrape(&address, "*/*");
        for (series, earlier) in &before {
            assert!(value(&text, series) >= *earlier, "{series}");
        }
        let counters = text.lines().filter(|line| line.contains("_total") && !line.starts_with('#'));
        before = counters
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(series, value)| (series.to_owned(), value.parse().unwrap()))
            .collect();
    }
    assert!(before.len() > 50);
    let text = scrape(&address, "*/*");
    let time: f64 = ["busy", "idle", "asleep"]
        .iter()
        .map(|part| value(&text, &format!("sekisho_poll_{part}_seconds_total{{worker=\"0\"}}")))
        .sum();
    let uptime = host.client().ask("status")["uptime_seconds"].as_f64().unwrap();
    assert!(time <= uptime + 0.2, "{time} of {uptime}");
}

#[test]
fn get_and_head_of_one_path_are_answered_and_everything_else_refused() {
    let host = host();
    let _daemon = host.start();
    let address = address(&host);
    let (status, head, body) =
        ask(&address, &format!("HEAD /metrics HTTP/1.1\r\nHost: x\r\nAccept: {OPEN}\r\n\r\n"));
    assert_eq!((status, body.as_str()), (200, ""));
    assert!(
        head.contains("Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{head}"
    );
    let (_, head, _) = ask(&address, "GET /metrics HTTP/1.0\r\n\r\n");
    assert!(head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 404),
        ("GET /metrics/../x HTTP/1.1\r\n\r\n", 404),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
        ("nonsense\r\n\r\n", 400),
        (&format!("GET /metrics HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(20_000)), 431),
    ] {
        assert_eq!(ask(&address, request).0, status, "{request:.60}");
    }
}

#[test]
fn slow_silent_and_many_clients_keep_no_scrape_from_its_answer() {
    let host = host();
    let _daemon = host.start();
    let address = address(&host);
    let begun = Instant::now();
    let silent: Vec<TcpStream> = (0..100).map(|_| connect(&address)).collect();
    let mut slow: Vec<TcpStream> = (0..100).map(|_| connect(&address)).collect();
    for (n, stream) in slow.iter_mut().enumerate() {
        let request: &[u8] = if n % 2 == 0 { b"GET /metr" } else { b"GET /metrics HTTP/1.1\r\n\r\n" };
        let _ = stream.write_all(request);
    }
    for _ in 0..20 {
        assert!(scrape(&address, OPEN).ends_with("# EOF\n"));
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let mut stream = TcpStream::connect(&address).unwrap();
                    let _ = stream.write_all(&b"GET /metrics HTTP/1.1\r\n\r\n".repeat(100));
                }
            });
        }
        for _ in 0..20 {
            assert!(scrape(&address, OPEN).ends_with("# EOF\n"));
        }
    });
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    host.client().wait_for_traffic();
    drop((silent, slow));
}

#[test]
fn a_client_that_says_nothing_is_parted_with() {
    let host = host();
    let _daemon = host.start();
    let mut stream = connect(&address(&host));
    let begun = Instant::now();
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    assert!((8..25).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[test]
fn an_address_that_another_program_has_keeps_nothing_from_starting_and_is_served_when_it_is_free() {
    let host = Host::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    host.configure(&format!("{TABLES}{}", listen(&address)));
    let daemon = host.start();
    let (mut client, mut subscriber) = (host.client(), host.client());
    subscriber.call("subscribe", json!({ "counters": false })).unwrap();
    client.wait_for_traffic();
    let status = client.ask("status");
    assert_eq!(status["metrics"], Value::Null);
    let trouble = status["metrics_trouble"].as_str().expect("why there are none");
    assert!(trouble.contains(&address) && trouble.contains("another program listens there"), "{trouble}");
    let shown = host.ok(&["status"]);
    assert!(shown.contains(&format!("no metrics: {address}: another program")), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 100), "{shown}");

    drop(taken);
    let event = subscriber.line().unwrap()["params"].clone();
    let url = format!("http://{address}/metrics");
    assert_eq!((&event["event"], &event["url"]), (&json!("metrics-served"), &json!(url)), "{event}");
    let status = client.ask("status");
    assert_eq!((&status["metrics"], &status["metrics_trouble"]), (&json!(url), &Value::Null));
    assert!(scrape(&address, OPEN).contains("sekisho_received_packets_total"));
    let told = daemon.stop().stderr;
    assert_eq!(told.matches("metrics can't be served").count(), 1, "{told}");
}

#[test]
fn an_address_that_is_none_is_refused_and_a_change_needs_a_restart() {
    let host = Host::new();
    host.configure(&format!("{TABLES}{}", listen("127.0.0.1")));
    let told = host.refused(&["check", "-c", "sekisho.toml"]);
    assert!(told.contains("no address to listen on") && told.contains("sekisho.toml:"), "{told}");
    host.configure(TABLES);
    let _daemon = host.start();
    assert_eq!(host.client().ask("status")["metrics"], Value::Null);
    host.configure(&format!("{TABLES}{}", listen("127.0.0.1:0")));
    assert!(host.refused(&["reload"]).contains("[metrics] listen: none → 127.0.0.1:0"));
}

fn configs(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs").join(name)
}

/// Runs one of Prometheus' programs to its end; it must find nothing to complain of.
fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool, of the package prometheus");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {arguments:?}: {told}");
    if arguments.contains(&"metrics") {
        assert_eq!(told, "", "it warns");
    }
}

#[test]
fn promtool_finds_nothing_to_complain_of() {
    let host = host();
    let _daemon = host.start();
    host.client().wait_for_traffic();
    promtool(&["check", "metrics"], &scrape(&address(&host), "*/*"));
}

#[test]
fn the_alerts_are_valid_and_fire_when_they_should() {
    promtool(&["check", "rules", configs("alerts.yml").to_str().unwrap()], "");
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/alerts.test.yml");
    promtool(&["test", "rules", tests.to_str().unwrap()], "");
}

/// The names of ours in a text.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    words.filter(|word| word.starts_with("sekisho_")).map(str::to_owned).collect()
}

#[test]
fn the_dashboard_is_well_formed_and_names_no_metric_that_is_not_there() {
    let host = host();
    let _daemon = host.start();
    host.client().wait_for_traffic();
    let text = scrape(&address(&host), "*/*");
    let told: BTreeSet<String> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(str::to_owned)
        .collect();
    let dashboard = fs::read_to_string(configs("grafana.json")).unwrap();
    let alerts = fs::read_to_string(configs("alerts.yml")).unwrap();
    for (file, used) in [("grafana.json", names(&dashboard)), ("alerts.yml", names(&alerts))] {
        assert!(used.len() > 5, "{file}: {used:?}");
        let missing: Vec<_> = used.difference(&told).collect();
        assert!(missing.is_empty(), "{file} names {missing:?}, of {told:?}");
    }
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    assert!(dashboard["title"].is_string() && dashboard["schemaVersion"].as_u64() >= Some(36));
    let panels = dashboard["panels"].as_array().unwrap();
    let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
    let readme = fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let title = panel["title"].as_str().unwrap();
        assert!(readme.contains(title), "the panel {title:?} is listed in README.md");
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for cell in
            (at("y")..at("y") + at("h")).flat_map(|y| (at("x")..at("x") + at("w")).map(move |x| (y, x)))
        {
            assert!(cell.1 < 24 && places.insert(cell), "{title} lies over another panel");
        }
        for target in panel["targets"].as_array().unwrap() {
            assert!(!names(target["expr"].as_str().unwrap()).is_empty(), "{title}");
        }
    }
}

#[test]
fn a_real_prometheus_scrapes_it_and_answers_queries() {
    let host = host();
    let _daemon = host.start();
    let target = address(&host);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    host.write(
        "prometheus.yml",
        &format!(
            "global:\n  scrape_interval: 200ms\nrule_files: [\"{}\"]\nscrape_configs:\n  - job_name: sekisho\n    \
             static_configs:\n      - targets: [\"{target}\"]\n",
            configs("alerts.yml").display()
        ),
    );
    let mut prometheus = Command::new("prometheus")
        .arg("--config.file=prometheus.yml")
        .arg("--storage.tsdb.path=tsdb")
        .arg(format!("--web.listen-address={free}"))
        .current_dir(host.path(""))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("prometheus, of the package prometheus");
    let query = |query: &str| -> Option<f64> {
        let mut stream = TcpStream::connect(&free).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let request =
            format!("GET /api/v1/query?query={query} HTTP/1.0\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let answer: Value = serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()?;
        answer.pointer("/data/result/0/value/1")?.as_str()?.parse().ok()
    };
    let begun = Instant::now();
    let found = loop {
        let up = query("up");
        let received = query("sum(sekisho_received_packets_total)");
        let rate = query("sum(rate(sekisho_denied_packets_total%5B5s%5D))");
        if (up, received > Some(10.0), rate > Some(0.0)) == (Some(1.0), true, true) {
            break true;
        }
        if begun.elapsed() > PATIENCE {
            eprintln!("up {up:?}, received {received:?}, rate {rate:?}");
            break false;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let _ = prometheus.kill();
    let _ = prometheus.wait();
    assert!(found, "it scrapes, and its rates are above zero");
}
