//! The text: OpenMetrics 1.0 as the encoder writes it, and from that the Prometheus text format 0.0.4.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use sekisho_dataplane::counters::WorkerCounters;

use super::families::Families;
use crate::compile::{self, Compiler};
use crate::config::Config;
use crate::daemon::{Books, InForce, Slot};

/// How the text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Plain,
}

impl Format {
    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// What an `Accept` field asks for: OpenMetrics where it is named and not refused, and preferred to plain text.
    pub fn accepted(accept: &str) -> Format {
        let (mut open, mut plain) = (0.0, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut known) = (1.0f64, true);
            for part in parts {
                match part.split_once('=').map(|(key, value)| (key.trim(), value.trim().trim_matches('"'))) {
                    Some(("q", value)) => quality = value.parse().unwrap_or(0.0),
                    Some(("version", value)) => known = matches!(value, "1.0.0" | "0.0.4" | "0.0.1"),
                    _ => {}
                }
            }
            match &*media {
                "application/openmetrics-text" if known => open = quality.max(open),
                "text/plain" | "text/*" | "*/*" if known => plain = quality.max(plain),
                _ => {}
            }
        }
        if open > 0.0 && open >= plain { Format::OpenMetrics } else { Format::Plain }
    }
}

/// A text younger than this is given again: however many ask, the books are read twenty times a second at most.
const FRESH: Duration = Duration::from_millis(50);

/// Makes the text.
#[derive(Debug)]
pub struct Exposition {
    registry: Registry,
    made: HashMap<Format, (Instant, Arc<str>)>,
}

impl Exposition {
    pub(crate) fn new(families: Families) -> Exposition {
        let mut registry = Registry::with_prefix("sekisho");
        registry.register_collector(Box::new(families));
        Exposition { registry, made: HashMap::new() }
    }

    /// What a daemon with this configuration would tell of workers that this process drives by itself.
    ///
    /// # Errors
    /// When the configuration can't become tables.
    pub fn beside(
        config: Config,
        counters: impl IntoIterator<Item = Arc<WorkerCounters>>,
    ) -> Result<Exposition, compile::Error> {
        let books = Books::of_counters(counters, config.ports.len());
        let compiled = Compiler::default().compile(&config, Vec::new())?;
        let slot = Slot::new(InForce::of(Arc::new(config), compiled).1);
        Ok(Exposition::new(Families::new(Arc::new(books), Arc::new(slot))))
    }

    /// The text, as the books stand.
    pub fn text(&self, format: Format) -> String {
        let mut text = String::new();
        // Only a label's or a value's own encoding can fail, and ours are words and numbers.
        let _ = encode(&mut text, &self.registry);
        match format {
            Format::OpenMetrics => text,
            Format::Plain => plain(&text),
        }
    }

    /// The text as it stood a moment ago at most.
    pub(super) fn recent(&mut self, format: Format, now: Instant) -> Arc<str> {
        if let Some((made, text)) = self.made.get(&format)
            && now.saturating_duration_since(*made) < FRESH
        {
            return Arc::clone(text);
        }
        let text: Arc<str> = self.text(format).into();
        self.made.insert(format, (now, Arc::clone(&text)));
        text
    }
}

/// What differs: the older format knows no units, infos or end; and a family of counters has the name of its samples.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            // The type, which the name depends on, comes after it.
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                other => ("", other),
            };
            if let Some((_, told)) = help.take() {
                plain.push_str(&format!("# HELP {name}{suffix} {told}\n"));
            }
            plain.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            plain.push_str(line);
            plain.push('\n');
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_given_to_who_asks_for_it_and_plain_text_to_everybody_else() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;\
                          q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
        for other in [
            "",
            "*/*",
            "text/html,*/*;q=0.8",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.3,text/plain;q=0.5",
            "application/openmetrics-text;version=2.0.0,text/plain",
            "application/openmetrics-text;q=nonsense",
        ] {
            assert_eq!(Format::accepted(other), Format::Plain, "{other}");
        }
        assert_eq!(Format::accepted("Application/OpenMetrics-Text ; version=\"1.0.0\""), Format::OpenMetrics);
    }

    #[test]
    fn the_older_format_names_families_by_their_samples_and_has_no_units() {
        let open = "# HELP s_a_bytes What.\n# TYPE s_a_bytes counter\n# UNIT s_a_bytes bytes\n\
                    s_a_bytes_total{port=\"x\"} 3\n# HELP s_build b\n# TYPE s_build info\ns_build_info{v=\"1\"} 1\n# EOF\n";
        let told = "# HELP s_a_bytes_total What.\n# TYPE s_a_bytes_total counter\ns_a_bytes_total{port=\"x\"} 3\n\
                    # HELP s_build_info b\n# TYPE s_build_info gauge\ns_build_info{v=\"1\"} 1\n";
        assert_eq!(plain(open), told);
    }
}
