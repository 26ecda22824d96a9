//! Reads a configuration for a daemon that has one already.

use std::path::{Path, PathBuf};

use crate::config::{Config, ConfigError, KernelTables, LoadOptions};

/// Where a configuration comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The file that the daemon was started with.
    Start,
    /// Another file.
    Path(PathBuf),
    /// The text itself; files that it names are relative to the folder of the file that the daemon was started with.
    Text(String),
}

/// What stands in messages for a configuration that came as a text.
const TEXT: &str = "(request)";

impl Source {
    /// Its file, or what stands for it.
    pub(super) fn path(&self, start: &Path) -> PathBuf {
        match self {
            Source::Start => start.to_owned(),
            Source::Path(path) => path.clone(),
            Source::Text(_) => start.parent().unwrap_or(Path::new("")).join(TEXT),
        }
    }
}

/// Reads and checks a configuration. What `in_force` would lose by accident is refused, unless the options say so
/// (policy.md, section 5).
///
/// # Errors
/// As [`Config::load`].
pub(super) fn load(
    source: &Source,
    start: &Path,
    options: LoadOptions,
    in_force: &Config,
    kernel: &dyn KernelTables,
) -> Result<Config, ConfigError> {
    let path = source.path(start);
    match source {
        Source::Start | Source::Path(_) => Config::load_from(&path, options, Some(in_force), kernel),
        Source::Text(text) => Config::from_toml_from(text, &path, options, Some(in_force), kernel),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ThisHost;

    fn text(pool: &str, set: &str) -> String {
        format!(
            "[[port]]\nname = \"a\"\nrole = \"subscriber\"\npeer = \"b\"\ndriver = \"memory\"\n\
             [[port]]\nname = \"b\"\nrole = \"internet\"\npeer = \"a\"\ndriver = \"memory\"\n\
             [sets]\nmsa = [{set}]\n[[policy]]\nname = \"p\"\nallow = [\"msa\"]\n\
             [[pool]]\nname = \"q\"\npolicy = \"p\"\nprefixes = [{pool}]\n"
        )
    }

    #[test]
    fn what_becomes_empty_is_refused_and_what_is_empty_may_stay_so() {
        let (pool, set) = ("\"203.0.113.0/25\"", "\"192.0.2.25/32\"");
        let start = Path::new("/etc/s.toml");
        let strict = LoadOptions::default();
        let loose = LoadOptions { allow_empty: true, ..strict };
        let full = Config::from_toml(&text(pool, set), start).unwrap();
        for emptied in [text("", set), text(pool, "")] {
            let source = Source::Text(emptied);
            let error = load(&source, start, strict, &full, &ThisHost).unwrap_err();
            assert!(error.problems()[0].file.ends_with("(request)"), "{error}");
            let empty = load(&source, start, loose, &full, &ThisHost).unwrap();
            assert!(load(&source, start, strict, &empty, &ThisHost).is_ok(), "it was empty before");
            let both = Source::Text(text("", ""));
            assert!(load(&both, start, strict, &empty, &ThisHost).is_err(), "one more is empty");
            assert!(load(&Source::Text(text(pool, set)), start, strict, &empty, &ThisHost).is_ok());
        }
    }
}
