//! What people see, at the sizes and with the data that break screens.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use unicode_width::UnicodeWidthStr;

use super::draw::{draw, si};
use super::history::GenerationRow;
use super::model::{PhaseRow, PoolRow, PortRow, ReasonRow, Screen, Sort, WorkerRow};
use super::text;
use crate::daemon::{Author, Awaited, Recorded, State};

fn screen() -> Screen {
    let mut screen = Screen::default();
    let scene = &mut screen.scene;
    scene.version = "0.1.0".into();
    scene.generation = 42;
    scene.since = "2026-06-01T00:00:00.123Z".into();
    scene.now = "2026-06-02T00:00:00.5Z".into();
    scene.uptime = 100_000.0;
    scene.reloads = 3;
    let port = |name: &str, role: &str| PortRow {
        name: name.into(),
        role: role.into(),
        received: 14_880_952.0,
        received_bits: 7.6e9,
        left: 12.0,
        left_bits: 9_999.0,
        ..PortRow::default()
    };
    scene.ports = vec![port("access", "subscriber"), port("core", "internet")];
    scene.ports[1].outage = Some("no carrier".into());
    scene.denies = vec![ReasonRow { reason: "port25-egress".into(), rate: 1_234.0, count: 99_999_999 }];
    scene.workers = vec![
        WorkerRow { worker: 0, core: 1, running: true, packets: 7e6, busy: Some(0.42) },
        WorkerRow { worker: 1, core: 2, running: false, packets: 0.0, busy: None },
    ];
    let pool = |name: &str, denied: f64, packets: f64| PoolRow {
        name: name.into(),
        title: "My-BフレッツF/M-Bファミリー・マンション".into(),
        denied,
        packets,
        ..PoolRow::default()
    };
    scene.pools = vec![pool("a", 1.0, 50.0), pool("b", 30.0, 40.0)];
    scene.phases = vec![
        PhaseRow { policy: "dynamic".into(), name: "all".into(), begun: false, seconds: 90_000.0 },
        PhaseRow { policy: "dynamic".into(), name: "mobile".into(), begun: true, seconds: 61.0 },
    ];
    let awaited = Awaited { generation: 42, previous: 41, seconds_left: 12.5 };
    scene.generations = (33..=42)
        .rev()
        .map(|generation| {
            let record = Recorded {
                generation,
                at: "2026-06-01T00:00:00.123Z".into(),
                author: Author::Peer { uid: 1000, pid: 4_194_304 },
                config: "/etc/sekisho/sekisho.toml".into(),
                restores: (generation == 40).then_some(38),
                difference: vec![
                    format!("~ pool p{generation}: 1 prefix → 2"),
                    "+ set s (9 prefixes)".into(),
                ],
                state: if generation == 42 { State::AwaitsConfirmation } else { State::Replaced },
                can_restore: true,
            };
            GenerationRow::of(&record, Some(awaited))
        })
        .collect();
    screen.arrange();
    screen
}

#[test]
fn ten_generations_fit_eighty_by_twenty_four_by_a_key_and_come_by_themselves_where_there_is_room() {
    let mut screen = screen();
    let pools = screen.scene.pools.clone();
    screen.scene.pools = pools.iter().cycle().take(20).cloned().collect();
    assert!(!text(&screen, 80, 24).contains("uid 1000"), "pools come first");
    screen.scene.pools = pools;
    let shown = text(&screen, 100, 30);
    assert!(
        shown.contains("pool, by denied") && shown.contains("        42  2026-06-01T00:00:00Z"),
        "{shown}"
    );
    screen.history = true;
    let shown = text(&screen, 80, 24);
    for told in [
        "generation  at                    by                      state",
        "        42  2026-06-01T00:00:00Z  uid 1000, process 41",
        "  12 s to confirm",
        "            ~ pool p42: 1 prefix → 2, and 1 more",
        "            back to 38: ~ pool p40",
        "        33  ",
        "p33",
        "g traffic",
    ] {
        assert!(shown.contains(told), "{told} in\n{shown}");
    }
    assert!(!shown.contains("port25-egress"), "{shown}");
    assert!(shown.lines().all(|line| line.width() <= 80), "{shown}");
}

#[test]
fn everything_that_matters_is_on_eighty_by_twenty_four() {
    for (width, height) in [(80, 24), (100, 30)] {
        let shown = text(&screen(), width, height);
        for told in [
            "generation 42 since 2026-06-01T00:00:00Z",
            "14.9 M",
            "7.60 G",
            "no carrier",
            "port25-egress",
            "1.23 k",
            "████░░░░░░",
            "42 %",
            "ended",
            "in 1 d 1 h",
            "since 1 min 1 s",
            "My-Bフレッツ",
            "pool, by denied",
            "q quit",
        ] {
            assert!(shown.contains(told), "{told} at {width} columns in\n{shown}");
        }
        assert!(shown.lines().all(|line| line.width() <= usize::from(width)), "{shown}");
        assert!(shown.find("\nb ") < shown.find("\na "), "the pool with more denies is first\n{shown}");
    }
}

#[test]
fn what_is_to_be_confirmed_is_on_top_with_its_time() {
    let mut screen = screen();
    screen.scene.awaited = Some(Awaited { generation: 42, previous: 41, seconds_left: 12.5 });
    let shown = text(&screen, 80, 24);
    assert!(shown.contains("generation 42 awaits `sekisho confirm`: 41 comes back in 12 s"), "{shown}");
}

#[test]
fn no_size_and_no_data_make_it_panic() {
    let mut awkward = screen();
    let scene = &mut awkward.scene;
    scene.pools = (0..3000)
        .map(|n| PoolRow {
            name: format!("プール{n}{}", "長".repeat(60)),
            title: "\u{200d}\u{301}👩‍👩‍👧‍👦\u{202e}".repeat(9),
            packets: f64::MAX,
            denied: 1.8e19,
            packet_count: u64::MAX,
            ..PoolRow::default()
        })
        .collect();
    scene.ports = (0..40).map(|n| PortRow { name: n.to_string(), ..PortRow::default() }).collect();
    scene.workers = vec![WorkerRow { busy: Some(7.0), running: true, ..WorkerRow::default() }; 128];
    scene.phases = vec![PhaseRow { seconds: f64::MAX, ..PhaseRow::default() }; 50];
    scene.denies = vec![ReasonRow { rate: f64::NAN, ..ReasonRow::default() }; 27];
    awkward.gone = Some("x".repeat(500));
    let mut helped = screen();
    helped.help = true;
    let mut with_history = screen();
    with_history.history = true;
    with_history.scene.generations[0].change = "長\u{301}".repeat(300);
    with_history.scene.generations[1].seconds_left = Some(f64::MAX);
    for screen in [Screen::default(), screen(), awkward, helped, with_history] {
        for width in [0, 1, 2, 5, 20, 49, 50, 51, 79, 80, 100, 250] {
            for height in [0, 1, 2, 3, 5, 11, 12, 13, 24, 30, 80] {
                let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
                terminal.draw(|frame| draw(&screen, frame.area(), frame.buffer_mut())).unwrap();
            }
        }
    }
}

#[test]
fn what_is_missing_is_said() {
    let mut screen = Screen::default();
    let shown = text(&screen, 80, 24);
    for told in ["no pools", "nothing denied", "none"] {
        assert!(shown.contains(told), "{told} in\n{shown}");
    }
    screen.gone = Some("no daemon answers there".into());
    assert!(text(&screen, 80, 24).contains("does not answer, looking for it: no daemon answers there"));
    assert!(text(&screen, 30, 5).contains("make the window larger"));
}

#[test]
fn pools_are_sorted_by_what_is_asked_for() {
    let mut screen = screen();
    let first = |screen: &Screen| screen.scene.pools[0].name.clone();
    assert_eq!((screen.sort, first(&screen).as_str()), (Sort::Denied, "b"));
    screen.sort_by_next();
    assert_eq!((screen.sort, first(&screen).as_str()), (Sort::Packets, "a"));
    screen.sort_by_next();
    screen.sort_by_next();
    assert_eq!((screen.sort, first(&screen).as_str()), (Sort::Name, "a"));
    screen.sort_by_next();
    assert_eq!(screen.sort, Sort::Denied);
}

#[test]
fn numbers_have_three_digits_and_a_unit() {
    for (number, told) in [
        (-0.0, "0"),
        (0.0, "0"),
        (0.25, "0.2"),
        (5.0, "5"),
        (999.0, "999"),
        (999.6, "1.00 k"),
        (12_345.0, "12.3 k"),
        (999_999.0, "1.00 M"),
        (148_809_523.0, "149 M"),
        (1.8e19, "18.0 E"),
    ] {
        assert_eq!(si(number), told);
    }
}
