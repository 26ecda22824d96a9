//! The product against the twin: made-up frames through `sekisho replay`, line by line, frame by frame.
//!
//! A run is a few thousand frames, since state (fragments, budgets, phases) is what goes wrong. Where product and
//! twin disagree, the run is cut down to few frames, which stay in the target folder with their configuration and
//! command.

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


#[test]
fn explore() {
    let n: u64 = std::env::var("SEEDS").ok().and_then(|x| x.parse().ok()).unwrap_or(200);
    let off: u64 = std::env::var("OFFSET").ok().and_then(|x| x.parse().ok()).unwrap_or(0);
    let folder = binary::scratch("explore");
    let mut seen: std::collections::BTreeMap<String, usize> = Default::default();
    for seed in off..off+n {
        let scene = frames::scene(seed, FRAMES);
        // all differences of lines
        if let Some(d) = difference(&scene, &folder) {
            let key = d.what.join(" | ").chars().take(300).collect::<String>();
            let c = seen.entry(key.clone()).or_insert(0); *c += 1;
            if *c == 1 { let (s, d) = cut_down(scene, d, &folder); println!("==== seed {seed} KEY {key}\n{}", told(&s, &d, &folder)); }
        }
    }
    println!("{seen:#?}");
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
