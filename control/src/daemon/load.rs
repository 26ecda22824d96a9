//! Reads a configuration for a daemon that has one already.

use std::path::{Path, PathBuf};

use crate::config::{Config, ConfigError, LoadOptions};

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

    fn read(&self, start: &Path, options: LoadOptions) -> Result<Config, ConfigError> {
        match self {
            Source::Start | Source::Path(_) => Config::load_with(&self.path(start), options),
            Source::Text(text) => Config::from_toml_with(text, &self.path(start), options),
        }
    }
}

/// Reads and checks a configuration. A pool or an `allow` set without prefixes is let pass if the options say so, or if
/// it is empty in force already (policy.md, section 5).
///
/// # Errors
/// As [`Config::load_with`].
pub(super) fn load(
    source: &Source,
    start: &Path,
    options: LoadOptions,
    in_force: &Config,
) -> Result<Config, ConfigError> {
    source.read(start, options).or_else(|error| {
        if options.allow_empty || !has_empty(in_force) {
            return Err(error);
        }
        let config = source.read(start, LoadOptions { allow_empty: true });
        config.ok().filter(|config| !empties_more(in_force, config)).ok_or(error)
    })
}

fn empty_pools(config: &Config) -> impl Iterator<Item = &str> {
    config.pools.iter().filter(|pool| pool.prefixes.is_empty()).map(|pool| pool.name.as_str())
}

fn empty_allowed(config: &Config) -> impl Iterator<Item = &str> {
    let allowed = config.policies.iter().flat_map(|policy| &policy.allow).map(|set| &config.sets[*set]);
    allowed.filter(|set| set.prefixes.is_empty()).map(|set| set.name.as_str())
}

fn has_empty(config: &Config) -> bool {
    empty_pools(config).chain(empty_allowed(config)).next().is_some()
}

fn empties_more(old: &Config, new: &Config) -> bool {
    empty_pools(new).any(|pool| !empty_pools(old).any(|other| other == pool))
        || empty_allowed(new).any(|set| !empty_allowed(old).any(|other| other == set))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let loose = LoadOptions { allow_empty: true };
        let full = Config::from_toml(&text(pool, set), start).unwrap();
        for emptied in [text("", set), text(pool, "")] {
            let source = Source::Text(emptied);
            let error = load(&source, start, strict, &full).unwrap_err();
            assert!(error.problems()[0].file.ends_with("(request)"), "{error}");
            let empty = load(&source, start, loose, &full).unwrap();
            assert!(load(&source, start, strict, &empty).is_ok(), "it was empty before");
            let both = Source::Text(text("", ""));
            assert!(load(&both, start, strict, &empty).is_err(), "one more is empty");
            assert!(load(&Source::Text(text(pool, set)), start, strict, &empty).is_ok());
        }
    }
}
