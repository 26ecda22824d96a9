//! Seeds for the fuzz targets, out of the vectors, captures and configurations of this project:
//! `cargo run --manifest-path fuzz/Cargo.toml --example seeds` fills `fuzz/corpus/`.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use sekisho_dataplane::frame::Link;
use sekisho_dataplane::port::pcap::{CaptureReader, CapturedFrame};
use sekisho_fuzz::stream;
use serde_json::Value;

/// Longer inputs are slow and say little more.
const LONGEST: usize = 4096;

/// The ports of the vectors' policy, in its order.
const PORTS: [&str; 5] = ["access", "core", "mail", "mail-up", "filter"];

fn main() -> Result<(), Box<dyn Error>> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR"));
    let project = fuzz.parent().ok_or("the project is the folder above")?;
    let seeds = |target: &str| -> Result<PathBuf, Box<dyn Error>> {
        let folder = fuzz.join("corpus").join(target);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    };
    let (parse, config, capture) = (seeds("parse")?, seeds("config")?, seeds("capture")?);

    let vectors = fs::read_to_string(project.join("tests/data/vectors/vectors.jsonl"))?;
    for line in vectors.lines() {
        let vector: Value = serde_json::from_str(line)?;
        let frames = vector["steps"].as_array().ok_or("a vector without steps")?.iter();
        let frames: Vec<_> =
            frames.filter_map(|step| Some((port(&step["port"])?, bytes(&step["frame"])?))).collect();
        let frames = frames.iter().map(|(port, frame)| (*port, &**frame));
        fs::write(
            parse.join(vector["id"].as_str().unwrap_or("vector")),
            stream::written(Link::Ethernet, frames),
        )?;
    }

    for path in files_below(&project.join("tests/data/pcaps"))? {
        let name = path.file_name().unwrap_or_default();
        if !path.extension().is_some_and(|extension| extension == "pcap" || extension == "pcapng") {
            continue;
        }
        if fs::metadata(&path)?.len() <= LONGEST as u64 {
            fs::copy(&path, capture.join(name))?;
        }
        if let Some(stream) = first_frames(&path) {
            fs::write(parse.join(name), stream)?;
        }
    }

    for path in files_below(&project.join("configs"))?
        .into_iter()
        .chain(files_below(&project.join("tests/data/vectors"))?)
    {
        if path.extension().is_some_and(|extension| extension == "toml") {
            fs::copy(&path, config.join(path.file_name().unwrap_or_default()))?;
        }
    }

    for folder in [parse, config, capture] {
        println!("{}: {} files", folder.display(), fs::read_dir(&folder)?.count());
    }
    Ok(())
}

fn port(name: &Value) -> Option<u8> {
    PORTS.iter().position(|port| name == port).map(|at| at as u8)
}

fn bytes(hex: &Value) -> Option<Vec<u8>> {
    let digits = hex.as_str()?.as_bytes().chunks_exact(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// The first frames of a capture as they would come by both sides.
fn first_frames(path: &Path) -> Option<Vec<u8>> {
    let mut reader = CaptureReader::open(path).ok()?;
    let (mut frame, mut frames, mut length) = (CapturedFrame::default(), Vec::new(), 1);
    let mut link = None;
    while reader.next(&mut frame).ok()? {
        length += 3 + frame.bytes.len();
        if length > LONGEST || *link.get_or_insert(frame.link) != frame.link {
            break;
        }
        frames.push(((frames.len() % 2) as u8, frame.bytes.clone()));
    }
    let frames = frames.iter().map(|(port, frame)| (*port, &**frame));
    Some(stream::written(link?.into(), frames))
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
