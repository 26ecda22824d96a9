//! Real captures through `sekisho replay`, against the answers beside them and against the twin.

use std::path::Path;

use sekisho_tests::answers::{self, AT, Answered, Wanted};
use sekisho_tests::capture::{self, Capture, ETHERNET};
use sekisho_tests::twin::{self, Twin, TwinConfig};
use sekisho_tests::{binary, replay};
use serde_json::Value;

fn config() -> String {
    answers::configuration("drop")
}

#[test]
fn the_copies_are_those_of_the_manifest() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/pcaps");
    let manifest = std::fs::read_to_string(folder.join("MANIFEST.tsv")).expect("a manifest");
    let rows: Vec<Vec<&str>> = manifest.lines().skip(1).map(|line| line.split('\t').collect()).collect();
    assert!(rows.len() > 500, "{} captures", rows.len());
    let captures = answers::captures();
    for row in &rows {
        let path = folder.join(row[0]);
        let size = std::fs::metadata(&path).expect("a capture of the manifest").len();
        assert_eq!(size.to_string(), row[3], "{}", row[0]);
        assert!(captures.iter().any(|capture| capture.path == path), "{} has no answers", row[0]);
        assert!(!row[5].contains("GPL"), "{}: {}", row[0], row[5]);
    }
    let copies = captures.iter().filter(|capture| capture.path.starts_with(&folder)).count();
    assert_eq!(copies, rows.len(), "a capture that the manifest does not name");
}

#[test]
fn the_twin_gives_every_capture_its_answers() {
    let mut captures = answers::captures();
    captures.retain(|answered| !is_huge(answered));
    let failures: Vec<String> = captures.iter().flat_map(twin_failures).collect();
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn replay_gives_every_capture_its_answers() {
    let captures = answers::captures();
    let folder = binary::scratch("captures");
    let failures = binary::failures_of_all(&captures, |answered| {
        let folder = folder.join(answered.name.replace('/', "-"));
        let failures = replay_failures(answered, &folder);
        if failures.is_empty() {
            std::fs::remove_dir_all(&folder).expect("a scratch folder can be removed");
        }
        told(answered, failures)
    });
    assert!(
        failures.is_empty(),
        "{} differences, runs in {}:\n{}",
        failures.len(),
        folder.display(),
        failures.join("\n")
    );
    std::fs::remove_dir_all(&folder).expect("a scratch folder can be removed");
}

#[test]
fn replay_refuses_other_link_types_by_name() {
    let folder = binary::scratch("link-types");
    std::fs::write(folder.join("config.toml"), config()).expect("a scratch folder is writable");
    // LINKTYPE_ numbers, and what the message has to contain of the name.
    for (link, name) in [(9, "ppp"), (105, "802"), (127, "802"), (189, "usb"), (195, "802"), (220, "usb")] {
        capture::write(&folder.join("in.pcap"), link, [(0, [0x45; 60].as_slice())])
            .expect("a scratch folder is writable");
        let finished = binary::run(
            &folder,
            ["replay", "-c", "config.toml", "--in", "customers=in.pcap", "--at", AT, "--json"],
        );
        assert_eq!(finished.broke(), Vec::<String>::new());
        assert_eq!(finished.code, Some(1), "link type {link}: {}", finished.stderr);
        assert!(finished.stderr.to_lowercase().contains(name), "link type {link}: {}", finished.stderr);
        assert_eq!(finished.stdout, "", "link type {link}");
    }
    std::fs::remove_dir_all(&folder).expect("a scratch folder can be removed");
}

/// Frames in a capture of which the twin alone would take its time.
fn is_huge(answered: &Answered) -> bool {
    std::fs::metadata(&answered.path).expect("a capture").len() > 1 << 20
}

fn read(answered: &Answered) -> (Vec<u8>, Capture) {
    let bytes = answered.bytes().expect("a capture");
    let capture = capture::read(&bytes).unwrap_or_else(|| panic!("{} is no capture", answered.name));
    (bytes, capture)
}

/// Verdict and reason of the twin for every frame; `None`: a link type that it does not know.
fn twins(capture: &Capture) -> Vec<Option<(&'static str, &'static str)>> {
    let mut twin = Twin::new(TwinConfig::from_toml(&config()).expect("the twin reads the configuration"));
    let now = twin::instant(AT).expect("an instant");
    let mut judge = |frame: &[u8]| {
        let outcome = twin.judge("customers", now, frame);
        (outcome.verdict, outcome.reason)
    };
    capture.frames.iter().map(|frame| answers::as_ethernet(frame).map(|ethernet| judge(&ethernet))).collect()
}

fn twin_failures(answered: &Answered) -> Vec<String> {
    let (_, capture) = read(answered);
    let verdicts = twins(&capture);
    let known = verdicts.iter().map(|verdict| verdict.unwrap_or(("forward", "not-ip")));
    let verdicts = known.map(|(verdict, reason)| (verdict.to_owned(), reason.to_owned()));
    told(answered, unexplained(answered, &capture, verdicts))
}

/// The first failures of a capture, with its name: what is wrong with one frame is often wrong with all.
fn told(answered: &Answered, mut failures: Vec<String>) -> Vec<String> {
    let more = failures.len().saturating_sub(5);
    failures.truncate(5);
    if more > 0 {
        failures.push(format!("and {more} more"));
    }
    failures.into_iter().map(|failure| format!("{}: {failure}", answered.name)).collect()
}

/// Frames whose verdict is not the wanted one, unless a rule explains it.
fn unexplained(
    answered: &Answered,
    capture: &Capture,
    verdicts: impl Iterator<Item = (String, String)>,
) -> Vec<String> {
    let answers = answered.answers().expect("answers");
    let mut failures = Vec::new();
    // A file that ends badly may have a row more, for what is left of its last frame.
    if answers.len() != capture.frames.len() && !(capture.cut && answers.len() == capture.frames.len() + 1) {
        failures.push(format!("{} answers for {} frames", answers.len(), capture.frames.len()));
    }
    for (index, (answer, (verdict, reason))) in answers.iter().zip(verdicts).enumerate() {
        let wanted = match answer.wanted {
            Wanted::Drop => verdict == "deny",
            Wanted::Forward => verdict == "forward",
            Wanted::Any => true,
        };
        if !wanted && answers::explained(answer, &verdict, &reason).is_none() {
            let wanted = (answer.wanted, answer.reason());
            failures.push(format!("frame {}: wanted {wanted:?}, got {verdict} {reason}", index + 1));
        }
    }
    failures
}

fn replay_failures(answered: &Answered, folder: &Path) -> Vec<String> {
    let (bytes, capture) = read(answered);
    let ethernet = capture.frames.iter().all(|frame| frame.link == ETHERNET);
    std::fs::create_dir_all(folder).expect("a scratch folder is writable");
    std::fs::write(folder.join("config.toml"), config()).expect("a scratch folder is writable");
    std::fs::write(folder.join("in"), bytes).expect("a scratch folder is writable");
    let mut arguments = vec!["replay", "-c", "config.toml", "--in", "customers=in", "--at", AT, "--json"];
    // A classic capture can hold no instant after 2106.
    let last = capture.frames.iter().map(|frame| frame.at).max().unwrap_or(0);
    let classic = last < (1 << 32) * 1_000_000;
    let (out, back) = if classic { ("out.pcap", "back.pcap") } else { ("out.pcapng", "back.pcapng") };
    let outs = [format!("core={out}"), format!("customers={back}")];
    if ethernet {
        arguments.extend(["--out", &outs[0], "--out", &outs[1]]);
    }
    let finished = binary::run(folder, arguments);

    let mut failures = finished.broke();
    // A file that ends badly: the whole frames, and a word about it.
    let good_end = if capture.cut { matches!(finished.code, Some(0 | 1)) } else { finished.code == Some(0) };
    if !good_end {
        failures.push(format!("exit code {:?}: {}", finished.code, finished.stderr.trim()));
        return failures;
    }
    if capture.cut && finished.stderr.trim().is_empty() {
        failures.push("not a word about a file that ends inside a frame".to_owned());
    }
    let replay::Output { lines, faults } = match replay::output(&finished.stdout) {
        Ok(output) => output,
        Err(fault) => return vec![fault],
    };
    failures.extend(faults);
    if lines.len() != capture.frames.len() {
        failures.push(format!("{} lines for {} frames", lines.len(), capture.frames.len()));
        return failures;
    }
    let word = |line: &serde_json::Map<String, Value>, key| {
        line.get(key).and_then(Value::as_str).unwrap_or("").to_owned()
    };
    let verdicts: Vec<(String, String)> =
        lines.iter().map(|line| (word(line, "verdict"), word(line, "reason"))).collect();
    for (index, line) in lines.iter().enumerate() {
        if line.get("n").and_then(Value::as_u64) != Some(index as u64 + 1)
            || word(line, "port") != "customers"
        {
            failures.push(format!("line {}: {line:?}", index + 1));
            return failures;
        }
    }
    failures.extend(unexplained(answered, &capture, verdicts.iter().cloned()));
    for (index, (twin, got)) in twins(&capture).into_iter().zip(&verdicts).enumerate() {
        if let Some(twin) = twin
            && twin != (got.0.as_str(), got.1.as_str())
        {
            failures.push(format!("frame {}: the twin says {twin:?}, replay {got:?}", index + 1));
        }
    }
    if ethernet {
        let kept = capture.frames.iter().zip(&verdicts).filter(|(_, (verdict, _))| verdict == "forward");
        let kept: Vec<&[u8]> = kept.map(|(frame, _)| frame.bytes.as_slice()).collect();
        failures.extend(leaves(&folder.join(out), &kept).err());
        failures.extend(leaves(&folder.join(back), &[]).err());
    }
    failures
}

/// Whether a capture holds exactly these frames.
fn leaves(path: &Path, wanted: &[&[u8]]) -> Result<(), String> {
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    let bytes = std::fs::read(path).map_err(|e| format!("{name}: {e}"))?;
    let capture = capture::read(&bytes).ok_or_else(|| format!("{name} is no capture"))?;
    let got: Vec<&[u8]> = capture.frames.iter().map(|frame| frame.bytes.as_slice()).collect();
    if let Some(index) = (0..got.len().max(wanted.len())).find(|index| got.get(*index) != wanted.get(*index))
    {
        return Err(format!("{name}: frame {} is another one than was forwarded", index + 1));
    }
    Ok(())
}
