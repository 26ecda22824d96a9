//! Lines in, requests out, and the other way round (JSON-RPC 2.0, sections 4 to 6).

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::Error;

/// A request's id: a string, a number or null, as it was written.
pub(crate) type Id = Box<RawValue>;

/// The longest id, in bytes: it comes back in the answer.
const LONGEST_ID: usize = 1024;

/// One request.
#[derive(Debug)]
pub(super) struct Request<'a> {
    /// None for a notification.
    pub(super) id: Option<Id>,
    pub(super) method: String,
    /// An object or an array, if anything.
    pub(super) params: Option<&'a RawValue>,
}

/// A line that is no request, with the id if it has one that can be told.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) id: Option<Id>,
    pub(super) error: Error,
}

/// The members of a request, whatever they are. Others are nobody's concern.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
}

/// A member that is there, `null` as well.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Takes a line apart, without a copy of its parameters.
pub(super) fn parse(line: &[u8]) -> Result<Request<'_>, Refused> {
    let refused = |code, message: String| Refused { id: None, error: Error::new(code, message) };
    let text =
        std::str::from_utf8(line).map_err(|error| refused(Error::PARSE, format!("not UTF-8: {error}")))?;
    let whole: &RawValue =
        serde_json::from_str(text).map_err(|error| refused(Error::PARSE, format!("not JSON: {error}")))?;
    match whole.get().as_bytes().first() {
        Some(b'{') => {}
        Some(b'[') => {
            let message = "batches are not taken; send each request on a line of its own";
            return Err(refused(Error::INVALID_REQUEST, message.into()));
        }
        _ => return Err(refused(Error::INVALID_REQUEST, "a request is an object".into())),
    }
    let members: Members<'_> = serde_json::from_str(whole.get())
        .map_err(|error| refused(Error::INVALID_REQUEST, format!("not a request: {error}")))?;

    let id = match members.id {
        None => None,
        Some(id) if is_id(id.get()) => Some(id.to_owned()),
        Some(_) => {
            let message = "`id` must be a number, null, or a string of at most 1 KiB";
            return Err(refused(Error::INVALID_REQUEST, message.into()));
        }
    };
    let invalid =
        |message: &str| Refused { id: id.clone(), error: Error::new(Error::INVALID_REQUEST, message) };
    let text = |member: Option<&RawValue>| serde_json::from_str::<String>(member?.get()).ok();
    if text(members.jsonrpc).as_deref() != Some("2.0") {
        return Err(invalid("`jsonrpc` must be \"2.0\""));
    }
    let Some(method) = text(members.method) else {
        return Err(invalid("`method` must be a string"));
    };
    if members.params.is_some_and(|params| !matches!(params.get().as_bytes().first(), Some(b'{' | b'['))) {
        return Err(invalid("`params` must be an object"));
    }
    Ok(Request { id, method, params: members.params })
}

fn is_id(text: &str) -> bool {
    text.len() <= LONGEST_ID && matches!(text.as_bytes().first(), Some(b'"' | b'-' | b'n' | b'0'..=b'9'))
}

/// The line of a response. Where the id can't be told, it is null (section 5).
pub(super) fn response(id: Option<&RawValue>, outcome: Result<&RawValue, &Error>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Response<'a> {
        jsonrpc: &'static str,
        id: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a Error>,
    }
    let (result, error) = match outcome {
        Ok(result) => (Some(result), None),
        Err(error) => (None, Some(error)),
    };
    line(&Response { jsonrpc: "2.0", id, result, error })
}

/// The line of a notification from the daemon.
pub(crate) fn notification(method: &str, params: &impl Serialize) -> Vec<u8> {
    #[derive(Serialize)]
    struct Notification<'a, P> {
        jsonrpc: &'static str,
        method: &'a str,
        params: &'a P,
    }
    line(&Notification { jsonrpc: "2.0", method, params })
}

/// A value of ours on a line of its own.
pub(super) fn line(value: &impl Serialize) -> Vec<u8> {
    // Ours are plain structs with names for keys: nothing of what can fail is in them.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(line: &str) -> (Option<String>, i64) {
        let Refused { id, error } = parse(line.as_bytes()).expect_err(line);
        (id.map(|id| id.get().to_owned()), error.code)
    }

    #[test]
    fn a_request_is_taken_apart() {
        let request = parse(br#" {"jsonrpc":"2.0","id":7,"method":"status","params":{"a":[1]}} "#).unwrap();
        assert_eq!(request.method, "status");
        assert_eq!(request.id.unwrap().get(), "7");
        assert_eq!(request.params.unwrap().get(), r#"{"a":[1]}"#);
        let null = parse(br#"{"id":null,"method":"x","jsonrpc":"2.0","more":true}"#).unwrap();
        assert_eq!((null.id.unwrap().get(), null.params.is_none()), ("null", true));
        assert!(parse(br#"{"jsonrpc":"2.0","method":"x"}"#).unwrap().id.is_none());
    }

    #[test]
    fn what_is_no_request_is_refused_by_its_kind() {
        for line in ["", "{", "nonsense", "{\"jsonrpc\":\"2.0\",", "\u{1}", &"[".repeat(100_000)] {
            assert_eq!(refused(line), (None, Error::PARSE), "{}", &line[..line.len().min(20)]);
        }
        assert_eq!(parse(b"\xff{}").unwrap_err().error.code, Error::PARSE);
        let good = r#"{"jsonrpc":"2.0","id":1,"method":"status"}"#;
        for line in
            ["[]", "7", "null", "\"x\"", "{}", &format!("[{good}]"), r#"{"jsonrpc":"2.0","jsonrpc":"2.0"}"#]
        {
            assert_eq!(refused(line), (None, Error::INVALID_REQUEST), "{line}");
        }
        for (old, new) in
            [("\"2.0\"", "2.0"), ("\"2.0\"", "\"1.0\""), ("\"status\"", "[]"), ("method", "methode")]
        {
            assert_eq!(refused(&good.replace(old, new)), (Some("1".into()), Error::INVALID_REQUEST));
        }
        assert_eq!(refused(&good.replace("1,", "[1],")).1, Error::INVALID_REQUEST);
        assert_eq!(
            refused(&good.replace("1,", &format!("\"{}\",", "x".repeat(2000)))),
            (None, Error::INVALID_REQUEST)
        );
        assert_eq!(refused(&good.replace("}", ",\"params\":3}")).1, Error::INVALID_REQUEST);
    }

    proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&line);
        }

        #[test]
        fn no_change_of_a_request_makes_the_parser_panic(at in 0usize..60, byte in any::<u8>()) {
            let mut line = br#"{"jsonrpc":"2.0","id":"seven","method":"status","params":{}}"#.to_vec();
            line[at] = byte;
            match parse(&line) {
                Ok(request) => prop_assert!(request.method.len() <= 12),
                Err(refused) => prop_assert!(refused.error.code <= -32600),
            }
        }
    }
}
