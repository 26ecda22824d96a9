//! `sekisho check`: validates and compiles a configuration and prints what it says.

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use super::Failure;
use crate::clock;
use crate::compile::Compiler;
use crate::config::{Config, LoadOptions, Problem};
use crate::outline::Outline;

/// What `check` is asked to do.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Accept pools and `allow` sets without prefixes
    #[arg(long)]
    allow_empty: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Refusal<'a> {
    ok: bool,
    problems: &'a [Problem],
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    let options = LoadOptions { allow_empty: arguments.allow_empty, ..LoadOptions::default() };
    let config = match Config::load_with(&arguments.config, options) {
        Ok(config) => config,
        Err(error) => {
            if arguments.json {
                write_json(out, &Refusal { ok: false, problems: error.problems() })?;
            }
            return Err(error.into());
        }
    };
    let compiled = Compiler::default().compile(&config, Vec::new())?;
    let now = clock::now();
    let outline = Outline::new(&config, &compiled.generation, |_, phase| phase.from_micros <= now);
    match arguments.json {
        true => write_json(out, &outline)?,
        false => outline.print(out, &arguments.config.display().to_string())?,
    }
    out.flush()?;
    for warning in &outline.warnings {
        let _ = writeln!(std::io::stderr(), "sekisho: warning: {warning}");
    }
    Ok(())
}

fn write_json(out: &mut impl Write, value: &impl Serialize) -> Result<(), Failure> {
    serde_json::to_writer(&mut *out, value).map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(())
}
