//! Requests, as far as a scrape needs them: a line and header fields, read by httparse (RFC 9112).

use super::exposition::Format;

/// The longest request, in bytes.
pub(super) const LONGEST: usize = 8 << 10;
/// The most header fields.
const FIELDS: usize = 64;

/// What a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The metrics, in a format; `body` is false for HEAD.
    Metrics { format: Format, body: bool },
    /// Something else: a status line and a sentence.
    Refused(&'static str, &'static str),
}

/// What a request asks for; none if it is not whole yet.
pub(super) fn read(bytes: &[u8]) -> Option<Asked> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if bytes.len() < LONGEST => return None,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            let status = "431 Request Header Fields Too Large";
            return Some(Asked::Refused(status, "the request is too long"));
        }
        Err(_) => return Some(Asked::Refused("400 Bad Request", "this is no HTTP request")),
    }
    let path = request.path.unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let body = match (path, request.method) {
        ("/metrics", Some("GET")) => true,
        ("/metrics", Some("HEAD")) => false,
        ("/metrics", _) => {
            return Some(Asked::Refused("405 Method Not Allowed\r\nAllow: GET, HEAD", "GET and HEAD only"));
        }
        _ => return Some(Asked::Refused("404 Not Found", "metrics are at /metrics")),
    };
    let accept = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("accept"));
    let accept: Vec<_> = accept.map(|field| String::from_utf8_lossy(field.value)).collect();
    Some(Asked::Metrics { format: Format::accepted(&accept.join(",")), body })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn status(request: &str) -> &'static str {
        match read(request.as_bytes()) {
            Some(Asked::Refused(status, _)) => &status[..3],
            Some(Asked::Metrics { .. }) => "200",
            None => "more",
        }
    }

    #[test]
    fn metrics_are_given_for_get_and_head_and_nothing_else() {
        assert_eq!(status("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), "200");
        assert_eq!(status("GET /metrics?name=x HTTP/1.0\r\n\r\n"), "200");
        assert_eq!(
            read(b"HEAD /metrics HTTP/1.1\r\nACCEPT: application/openmetrics-text\r\n\r\n"),
            Some(Asked::Metrics { format: Format::OpenMetrics, body: false })
        );
        assert_eq!(status("POST /metrics HTTP/1.1\r\n\r\n"), "405");
        for path in ["/", "/metrics/", "/metricss", "/../etc/passwd", "*", "http://x/metrics"] {
            assert_eq!(status(&format!("GET {path} HTTP/1.1\r\n\r\n")), "404", "{path}");
        }
    }

    #[test]
    fn what_is_not_whole_is_waited_for_and_what_is_too_long_or_broken_refused() {
        assert_eq!(status("GET /metrics HTTP/1.1\r\nHost: x\r\n"), "more");
        assert_eq!(status(""), "more");
        assert_eq!(status("\u{16}\u{3}\u{1}\r\n\r\n"), "400");
        assert_eq!(status("GET /metrics HTTP/9\r\n\r\n"), "400");
        assert_eq!(status(&format!("GET /metrics HTTP/1.1\r\nx: {}", "y".repeat(LONGEST))), "431");
        assert_eq!(status(&format!("GET /metrics HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100))), "431");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }
    }
}
