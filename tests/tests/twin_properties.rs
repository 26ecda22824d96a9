//! The product against the twin: made-up frames through `sekisho replay`, line by line, frame by frame.
//!
//! A run is a few thousand frames, since state (fragments, budgets, phases) is what goes wrong. Where
//! product and twin disagree, the run is cut down to few frames, which stay in the target folder with their
//! configuration and command.

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use sekisho_tests::binary;
use sekisho_tests::frames::{self, Scene};
use sekisho_tests::replay::{Arrival, Replay};
use sekisho_tests::twin::{Outcome, Twin, TwinConfig};
use sekisho_tests::vectors;
use serde_json::{Map, Value};

/// Frames of a run.
const FRAMES: usize = 2000;

/// `PROPTEST_CASES` and `PROPTEST_RNG_SEED` ask for more runs, or others.
fn config(cases: u32) -> Config {
    let asked = |name| std::env::var_os(name).is_some();
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if !asked("PROPTEST_CASES") {
        config.cases = cases;
    }
    if !asked("PROPTEST_RNG_SEED") {
        config.rng_seed = RngSeed::Fixed(25);
    }
    config
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn replay_and_the_twin_agree_on_made_up_frames(seed in any::<u64>().no_shrink()) {
        let scene = frames::scene(seed, FRAMES);
        let folder = binary::scratch("properties");
        if let Some(difference) = difference(&scene, &folder) {
            let (scene, difference) = cut_down(scene, difference, &folder);
            prop_assert!(false, "{}", told(&scene, &difference, &folder));
        }
        std::fs::remove_dir_all(&folder).expect("a scratch folder can be removed");
    }
}

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn the_twin_judges_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0..7_usize) {
        let mut twin = Twin::new(TwinConfig::from_toml(&vectors::fixture()).expect("the fixture"));
        let mut frame = bytes;
        let types: [u16; 6] = [0x0800, 0x86dd, 0x8100, 0x8864, 0x8847, 0x88a8];
        if let (Some(kind), Some(field)) = (types.get(kind), frame.get_mut(12..14)) {
            field.copy_from_slice(&kind.to_be_bytes());
        }
        for port in ["access", "core", "mail", "filter"] {
            let outcome = twin.judge(port, 1_150_340_400_000_000, &frame);
            prop_assert_eq!(outcome.verdict == "forward", outcome.action.is_none());
        }
    }
}

/// Runs that reach nothing prove nothing.
#[test]
fn made_up_frames_reach_every_reason_and_action() {
    let mut reasons = BTreeSet::new();
    let mut would = BTreeSet::new();
    let mut actions = BTreeSet::new();
    let mut followed = BTreeSet::new();
    let mut suppressed = 0;
    for seed in 0..24 {
        let scene = frames::scene(seed, FRAMES);
        for outcome in twin_outcomes(&scene) {
            reasons.insert(outcome.reason);
            would.extend(outcome.would);
            actions.extend(outcome.action);
            suppressed += usize::from(outcome.suppressed);
            if outcome.reason == "fragment-follow" {
                followed.insert(outcome.action);
            }
        }
    }
    let all = [
        "allowed-destination",
        "bogon-source",
        "encap-depth",
        "exempt-grant",
        "exempt-pool",
        "fragment-follow",
        "fragment-orphan",
        "fragment-overlap",
        "header-chain",
        "inbound-mail",
        "malformed",
        "not-in-scope",
        "not-ip",
        "not-tcp",
        "opaque",
        "other-port",
        "port25-egress",
        "port25-mirror",
        "port25-quarantine",
        "port25-unknown-source",
        "return-allowed",
        "routed-header",
        "server-origin",
        "source-route",
        "spoofed-source",
        "submission",
        "tiny-fragment",
    ];
    assert_eq!(reasons.into_iter().collect::<Vec<_>>(), all);
    assert_eq!(
        Vec::from_iter(would),
        ["port25-egress", "port25-mirror", "port25-quarantine", "spoofed-source"]
    );
    assert_eq!(Vec::from_iter(actions), ["divert", "drop", "reject"]);
    assert_eq!(Vec::from_iter(followed), [None, Some("divert"), Some("drop")]);
    assert!(suppressed > 100, "{suppressed}");
}

/// Where product and twin disagree: on which frame first, and how.
#[derive(Clone, Debug)]
struct Difference {
    /// The index of the frame; the number of frames, if it is the run as a whole.
    frame: usize,
    what: Vec<String>,
}

fn twin(scene: &Scene) -> Twin {
    let mut config = TwinConfig::from_table(vectors::overridden(&scene.overrides)).expect("a configuration");
    for (addr, given, lasts) in &scene.grants {
        config.grant(addr, given, lasts).expect("a grant");
    }
    config.down.clone_from(&scene.down);
    Twin::new(config)
}

fn twin_outcomes(scene: &Scene) -> Vec<Outcome> {
    let mut twin = twin(scene);
    scene.arrivals.iter().map(|a| twin.judge(&a.port, a.at, &a.frame)).collect()
}

fn difference(scene: &Scene, folder: &Path) -> Option<Difference> {
    let replay = Replay {
        config: &vectors::overridden(&scene.overrides),
        arrivals: &scene.arrivals,
        grants: scene.grants.iter().map(|(addr, given, lasts)| format!("{addr}={given}/{lasts}")).collect(),
        down: &scene.down,
    };
    let as_a_whole = |what: Vec<String>| Some(Difference { frame: scene.arrivals.len(), what });
    let replayed = match replay.run(folder) {
        Ok(replayed) => replayed,
        Err(faults) => return as_a_whole(faults),
    };
    let outcomes = twin_outcomes(scene);
    for (frame, (outcome, line)) in outcomes.iter().zip(&replayed.lines).enumerate() {
        let what = vectors::differences(&expectation(outcome), line);
        if !what.is_empty() {
            return Some(Difference { frame, what });
        }
    }
    let strays = replayed.strays(&scene.arrivals, |index| Some(outcomes[index].reply.clone()));
    if let Some((frame, what)) = strays.into_iter().next() {
        return Some(Difference { frame, what: vec![what] });
    }
    if replayed.faults.is_empty() { None } else { as_a_whole(replayed.faults) }
}

/// What a line has to say, as far as the documents say it.
fn expectation(outcome: &Outcome) -> Map<String, Value> {
    let mut expect = vectors::line(0, "", outcome);
    for key in ["n", "port"] {
        expect.remove(key);
    }
    expect.insert("suppressed".to_owned(), outcome.suppressed.into());
    // A later fragment follows its first: whose phase, and what would have been, is nowhere said.
    if outcome.reason == "fragment-follow" {
        expect.remove("phase");
        expect.remove("would");
    }
    // A malformed packet may have addresses or not.
    if outcome.reason == "malformed" {
        expect.remove("pool");
        expect.remove("policy");
    }
    expect
}

/// Takes frames away as long as a difference is left, and leaves the last run in the folder.
fn cut_down(scene: Scene, difference: Difference, folder: &Path) -> (Scene, Difference) {
    let mut best = (scene, difference);
    best.0.arrivals.truncate(best.1.frame + 1);
    let mut size = best.0.arrivals.len().div_ceil(2);
    while size > 0 {
        let mut end = best.0.arrivals.len();
        while end > 0 {
            let from = end.saturating_sub(size);
            let mut fewer = best.0.clone();
            fewer.arrivals.drain(from..end);
            if !fewer.arrivals.is_empty()
                && let Some(found) = self::difference(&fewer, folder)
            {
                fewer.arrivals.truncate(found.frame + 1);
                best = (fewer, found);
            }
            end = from.min(best.0.arrivals.len());
        }
        size /= 2;
    }
    for key in best.0.overrides.keys().cloned().collect::<Vec<_>>() {
        let mut fewer = best.0.clone();
        fewer.overrides.remove(&key);
        if let Some(found) = self::difference(&fewer, folder) {
            best = (fewer, found);
        }
    }
    // Once more, so that the folder holds this run.
    let _ = self::difference(&best.0, folder);
    best
}

fn told(scene: &Scene, difference: &Difference, folder: &Path) -> String {
    let outcomes = twin_outcomes(scene);
    let mut text = format!(
        "{}\nthe run is in {}\noverrides {:?}, grants {:?}, down {:?}\n",
        difference.what.join("\n"),
        folder.display(),
        scene.overrides,
        scene.grants,
        scene.down
    );
    for (Arrival { port, at, frame }, outcome) in scene.arrivals.iter().zip(&outcomes).take(40) {
        let hex: String = frame.iter().map(|b| format!("{b:02x}")).collect();
        text.push_str(&format!("{at} {port} {hex}\n  the twin: {outcome:?}\n"));
    }
    text
}
