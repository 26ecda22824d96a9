//! `sekisho generate`, for who makes packages: man pages and completions, written by the program that they are about.
//! So neither can lag behind it, and no tool is needed to make them.

use std::fs;
use std::path::PathBuf;

use clap::{CommandFactory, ValueEnum};
use clap_complete::{Shell, generate_to};

use super::{Failure, manual};

/// What `generate` is asked to do.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What
    #[arg(value_enum)]
    what: What,
    /// The folder to write to
    folder: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// Man pages, sections 1 and 5
    Man,
    /// Completions for bash, zsh and fish
    Completions,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let failed = |error| Failure::refused(format!("{}: {error}", arguments.folder.display()));
    let mut command = manual::with_manual(super::Arguments::command());
    match arguments.what {
        What::Man => manual::man_pages(command, &arguments.folder).map_err(failed),
        What::Completions => {
            fs::create_dir_all(&arguments.folder).map_err(failed)?;
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                generate_to(shell, &mut command, "sekisho", &arguments.folder).map_err(failed)?;
            }
            Ok(())
        }
    }
}
