//! HTTP to a handler and back: API Gateway's payload format 2.0.
//!
//! Source: "Working with AWS Lambda proxy integrations for HTTP APIs", payload format version 2.0, and the rules of
//! Lambda function URLs for answers without a `statusCode`.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, request::Parts};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
    time::SystemTime,
};
use types::{Code, Fault, FunctionName, InvocationId, Timestamp};
use wire::{Authorizer, Body, Matched};

/// Writes the event of a request into `out`.
pub(crate) fn write(
    out: &mut Vec<u8>,
    parts: &Parts,
    body: &[u8],
    id: InvocationId,
    function: &FunctionName,
    peer: Option<IpAddr>,
) {
    let path = parts.uri.path();
    let query = parts.uri.query().unwrap_or("");
    let mut json = Object::open(out);
    json.raw("version", r#""2.0""#);
    let matched = parts.extensions.get::<Matched>();
    let route_key = matched.map_or_else(|| "$default".to_owned(), |matched| matched.0.key());
    json.text("routeKey", &route_key);
    json.text("rawPath", path);
    json.text("rawQueryString", query);
    cookies(&mut json, &parts.headers);
    headers(&mut json, &parts.headers);
    query_parameters(&mut json, query);
    if let Some(matched) = matched.filter(|matched| matched.has_parameters()) {
        let decode = |text| percent_decode_str(text).decode_utf8_lossy();
        let all: BTreeMap<&str, _> = matched.parameters(path).map(|(name, value)| (name, decode(value))).collect();
        json.value("pathParameters", &all);
    }
    context(&mut json, parts, path, id, function, peer);
    match text_of(&parts.headers, body) {
        _ if body.is_empty() => json.raw("isBase64Encoded", "false"),
        Some(text) => {
            json.text("body", text);
            json.raw("isBase64Encoded", "false");
        }
        None => {
            json.text("body", &BASE64.encode(body));
            json.raw("isBase64Encoded", "true");
        }
    }
    json.close();
}

/// The body as text where its type says text and it is UTF-8; everything else travels as base64.
fn text_of<'a>(headers: &HeaderMap, body: &'a [u8]) -> Option<&'a str> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("text/plain");
    let kind = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let textual = kind.starts_with("text/")
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
        || matches!(
            kind.as_str(),
            "application/json" | "application/xml" | "application/javascript" | "application/x-ndjson"
        );
    if textual { std::str::from_utf8(body).ok() } else { None }
}

fn cookies(json: &mut Object<'_>, headers: &HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()).peekable();
    if cookies.peek().is_none() {
        return;
    }
    let list: Vec<&str> = cookies.flat_map(|value| value.split(';')).map(str::trim).filter(|c| !c.is_empty()).collect();
    json.value("cookies", &list);
}

/// Names in lower case; several values of a name are joined by commas.
fn headers(json: &mut Object<'_>, headers: &HeaderMap) {
    let mut inner = json.object("headers");
    for name in headers.keys().filter(|name| *name != header::COOKIE) {
        let mut values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let first = values.next().unwrap_or_default();
        let joined = values.fold(first, |all, next| Cow::Owned(format!("{all},{next}")));
        inner.text(name.as_str(), &joined);
    }
    inner.close();
}

fn query_parameters(json: &mut Object<'_>, query: &str) {
    if query.is_empty() {
        return;
    }
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value);
        all.entry(decode(name)).and_modify(|seen| *seen = format!("{seen},{value}")).or_insert(value);
    }
    json.value("queryStringParameters", &all);
}

fn context(
    json: &mut Object<'_>,
    parts: &Parts,
    path: &str,
    id: InvocationId,
    function: &FunctionName,
    peer: Option<IpAddr>,
) {
    let header = |name: HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let now = Timestamp::from(SystemTime::now());
    let mut inner = json.object("requestContext");
    inner.raw("accountId", r#""anonymous""#);
    inner.text("apiId", function.as_str());
    if let Some(token) = parts.extensions.get::<Arc<Authorizer>>() {
        authorizer(&mut inner, token);
    }
    inner.text("domainName", header(header::HOST));
    inner.text("domainPrefix", header(header::HOST).split(['.', ':']).next().unwrap_or(""));
    let mut http = inner.object("http");
    http.text("method", parts.method.as_str());
    http.text("path", path);
    http.raw("protocol", r#""HTTP/1.1""#);
    http.text("sourceIp", &peer.map(|ip| ip.to_string()).unwrap_or_default());
    http.text("userAgent", header(header::USER_AGENT));
    http.close();
    inner.text("requestId", id.encode(&mut [0; 36]));
    let matched = parts.extensions.get::<Matched>();
    inner.text("routeKey", &matched.map_or_else(|| "$default".to_owned(), |matched| matched.0.key()));
    inner.raw("stage", r#""$default""#);
    inner.text("time", &common_log_time(now));
    inner.raw("timeEpoch", &now.0.to_string());
    inner.close();
}

/// The token that the call was let in for. Claims are texts, as API Gateway's JWT authorizers give them; a list is `[a b]`.
fn authorizer(json: &mut Object<'_>, token: &Authorizer) {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            let texts: Vec<_> =
                list.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect();
            format!("[{}]", texts.join(" "))
        }
        other => other.to_string(),
    };
    let claims: BTreeMap<&str, String> =
        token.claims.iter().map(|(name, value)| (name.as_str(), text(value))).collect();
    let mut outer = json.object("authorizer");
    let mut jwt = outer.object("jwt");
    jwt.value("claims", &claims);
    jwt.value("scopes", &Some(&token.scopes).filter(|scopes| !scopes.is_empty()));
    jwt.close();
    outer.close();
}

/// `24/Nov/2026:13:46:59 +0000`, as the Common Log Format writes it.
fn common_log_time(time: Timestamp) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let rfc = time.to_string();
    let part = |range: std::ops::Range<usize>| rfc.get(range).unwrap_or("");
    let month = part(5..7).parse::<usize>().ok().and_then(|n| MONTHS.get(n.checked_sub(1)?)).unwrap_or(&"Jan");
    format!("{}/{month}/{}:{} +0000", part(8..10), part(0..4), part(11..19))
}

/// Writes a JSON object member by member: no tree is built for what is written once.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Object<'a> {
    fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }
    fn key(&mut self, key: &str) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.put(key);
        self.out.push(b':');
    }
    /// Writing into a Vec cannot fail, and neither can texts and maps of texts.
    fn put<T: serde::Serialize + ?Sized>(&mut self, value: &T) {
        let _ = serde_json::to_writer(&mut *self.out, value);
    }
    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.put(value);
    }
    fn value<T: serde::Serialize>(&mut self, key: &str, value: &T) {
        self.key(key);
        self.put(value);
    }
    fn raw(&mut self, key: &str, json: &str) {
        self.key(key);
        self.out.extend_from_slice(json.as_bytes());
    }
    fn object(&mut self, key: &str) -> Object<'_> {
        self.key(key);
        Object::open(self.out)
    }
    fn close(self) {
        self.out.push(b'}');
    }
}

/// A JSON string, borrowed where it has no escapes.
#[derive(Deserialize, PartialEq, Eq, Hash)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// An answer as handlers write it. Unknown members are the function's own business.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(rename = "statusCode", default, borrow)]
    status: Option<&'a RawValue>,
    #[serde(default, borrow)]
    headers: Option<HashMap<Text<'a>, &'a RawValue>>,
    #[serde(default, borrow)]
    cookies: Option<Vec<Text<'a>>>,
    #[serde(default, borrow)]
    body: Option<&'a RawValue>,
    #[serde(rename = "isBase64Encoded", default)]
    base64: Option<bool>,
}

/// Reads a handler's result as an HTTP response.
///
/// An object with `statusCode` is a response; anything else is the body itself, 200 and `application/json`.
///
/// # Errors
/// `response_invalid` with what was read.
pub(crate) fn read(result: Bytes) -> Result<Response<Body>, Fault> {
    match answer(&result)? {
        Some((answer, status)) => respond(&result, &answer, status),
        None => {
            serde_json::from_slice::<&RawValue>(&result)
                .map_err(|error| invalid(format!("the result is no JSON: {error}")))?;
            let mut response = Response::new(Body::from(result));
            response.headers_mut().insert(header::CONTENT_TYPE, JSON);
            Ok(response)
        }
    }
}

/// The result as an answer with its status; `None` where it has no `statusCode` at its top level.
fn answer(result: &[u8]) -> Result<Option<(Answer<'_>, &RawValue)>, Fault> {
    let may_be =
        result.trim_ascii_start().first() == Some(&b'{') && memchr::memmem::find(result, b"statusCode").is_some();
    if !may_be {
        return Ok(None);
    }
    match serde_json::from_slice::<Answer<'_>>(result) {
        Ok(answer) => Ok(answer.status.map(|status| (answer, status))),
        // Another function's object may have a `body` of its own shape: only who says `statusCode` has to keep the rules.
        Err(_) if !has_status(result) => Ok(None),
        Err(error) => Err(invalid(format!("the result cannot be read: {error}"))),
    }
}

fn has_status(result: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Probe {
        #[serde(rename = "statusCode")]
        _status: serde::de::IgnoredAny,
    }
    serde_json::from_slice::<Probe>(result).is_ok()
}

fn respond(result: &Bytes, answer: &Answer<'_>, raw_status: &RawValue) -> Result<Response<Body>, Fault> {
    let mut response = Response::new(body(result, answer)?);
    *response.status_mut() = status(raw_status)?;
    let headers = response.headers_mut();
    for (name, value) in answer.headers.iter().flatten() {
        let (name, value) = header_of(&name.0, value)?;
        headers.insert(name, value);
    }
    for Text(cookie) in answer.cookies.iter().flatten() {
        let value =
            HeaderValue::try_from(&**cookie).map_err(|_| invalid(format!("cookie `{cookie}` is no header value")))?;
        headers.append(header::SET_COOKIE, value);
    }
    headers.entry(header::CONTENT_TYPE).or_insert(JSON);
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRANSFER_ENCODING);
    Ok(response)
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

fn status(raw: &RawValue) -> Result<StatusCode, Fault> {
    let text = raw.get().trim_matches('"');
    let code = text.parse().ok().filter(|code| (100..600).contains(code));
    code.and_then(|code: u16| StatusCode::from_u16(code).ok())
        .ok_or_else(|| invalid(format!("statusCode {} is none of 100 to 599", raw.get())))
}

fn body(result: &Bytes, answer: &Answer<'_>) -> Result<Body, Fault> {
    let Some(raw) = answer.body.filter(|raw| raw.get() != "null") else { return Ok(Body::Empty) };
    let Text(text) = serde_json::from_str(raw.get())
        .map_err(|_| invalid("`body` is no string: turn objects into JSON text first".to_owned()))?;
    if answer.base64 == Some(true) {
        let bytes = BASE64.decode(text.as_bytes());
        return bytes.map(Body::from).map_err(|error| invalid(format!("`body` is no base64: {error}")));
    }
    Ok(match text {
        // A part of the result itself: nothing is copied.
        Cow::Borrowed(text) => Body::from(result.slice_ref(text.as_bytes())),
        Cow::Owned(text) => Body::from(text),
    })
}

/// Values may be strings, numbers or booleans.
fn header_of(name: &str, raw: &RawValue) -> Result<(HeaderName, HeaderValue), Fault> {
    let text: Cow<'_, str> = match raw.get().as_bytes().first() {
        Some(b'"') => {
            serde_json::from_str::<Text<'_>>(raw.get()).map_err(|error| invalid(format!("header {name}: {error}")))?.0
        }
        Some(b'{' | b'[') => return Err(invalid(format!("header {name} is no string"))),
        _ => Cow::Borrowed(raw.get()),
    };
    let value = HeaderValue::try_from(&*text).map_err(|_| invalid(format!("header {name} has the value `{text}`")));
    let name = HeaderName::try_from(name).map_err(|_| invalid(format!("`{name}` is no header's name")));
    Ok((name?, value?))
}

fn invalid(detail: String) -> Fault {
    Fault::new(Code::ResponseInvalid, detail)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn event(request: http::Request<&[u8]>) -> Value {
        let (parts, body) = request.into_parts();
        let mut out = Vec::new();
        write(&mut out, &parts, body, InvocationId::default(), &"hello".parse().unwrap(), Some([127, 0, 0, 1].into()));
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_request_becomes_an_event() {
        let request = http::Request::post("/a%20b/c?x=1&x=2&y=a+b&z")
            .header("Host", "api.example:8080")
            .header("X-Many", "1")
            .header("X-Many", "2")
            .header("Cookie", "a=1; b=2")
            .header("User-Agent", "curl")
            .header("Content-Type", "application/json")
            .body(&b"{\"q\":\"\\u00e9\"}"[..])
            .unwrap();
        let event = event(request);
        assert_eq!(event["version"], "2.0");
        assert_eq!((&event["rawPath"], &event["rawQueryString"]), (&json!("/a%20b/c"), &json!("x=1&x=2&y=a+b&z")));
        assert_eq!(event["queryStringParameters"], json!({"x": "1,2", "y": "a b", "z": ""}));
        assert_eq!(event["cookies"], json!(["a=1", "b=2"]));
        assert_eq!(event["headers"]["x-many"], "1,2");
        assert!(event["headers"].get("cookie").is_none());
        assert_eq!(event["requestContext"]["http"]["method"], "POST");
        assert_eq!(event["requestContext"]["http"]["sourceIp"], "127.0.0.1");
        assert_eq!(event["requestContext"]["domainPrefix"], "api");
        assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!("{\"q\":\"\\u00e9\"}"), &json!(false)));
    }

    #[test]
    fn a_routes_key_and_parameters_reach_the_handler() {
        let mut request = http::Request::get("/users/a%20b/posts").body(&b""[..]).unwrap();
        let route: types::Route = serde_json::from_value(json!({
            "path": "/users/{id}/posts", "methods": ["GET"], "function": "hello", "alias": "live",
        }))
        .unwrap();
        request.extensions_mut().insert(Matched(std::sync::Arc::new(route)));
        let event = event(request);
        assert_eq!(event["pathParameters"], json!({"id": "a b"}));
        assert_eq!(event["routeKey"], "GET /users/{id}/posts");
        assert_eq!(event["requestContext"]["routeKey"], "GET /users/{id}/posts");
    }

    #[test]
    fn a_verified_token_reaches_the_handler_as_api_gateway_has_it() {
        let mut request = http::Request::get("/").body(&b""[..]).unwrap();
        let claims = json!({"sub": "alice", "exp": 1_800_000_000, "aud": ["a", "b"], "admin": true, "org": {"id": 1}});
        let Value::Object(claims) = claims else { panic!() };
        let authorizer = Authorizer { claims, scopes: vec!["read".to_owned()] };
        request.extensions_mut().insert(Arc::new(authorizer.clone()));
        let told = event(request);
        let want = json!({"sub": "alice", "exp": "1800000000", "aud": "[a b]", "admin": "true", "org": "{\"id\":1}"});
        assert_eq!(told["requestContext"]["authorizer"], json!({"jwt": {"claims": want, "scopes": ["read"]}}));
        let mut request = http::Request::get("/").body(&b""[..]).unwrap();
        request.extensions_mut().insert(Arc::new(Authorizer { scopes: Vec::new(), ..authorizer }));
        assert!(event(request)["requestContext"]["authorizer"]["jwt"]["scopes"].is_null());
        assert!(event(http::Request::get("/").body(&b""[..]).unwrap())["requestContext"].get("authorizer").is_none());
    }

    #[test]
    fn bodies_that_are_no_text_travel_as_base64() {
        for (kind, body, want, base64) in [
            ("image/png", &b"\x89PNG"[..], json!("iVBORw=="), true),
            ("text/plain", b"\xff\xfe", json!("//4="), true),
            ("text/plain; charset=utf-8", "h\u{e9}".as_bytes(), json!("h\u{e9}"), false),
            ("application/problem+json", b"{}", json!("{}"), false),
            ("application/x-www-form-urlencoded", b"a=b", json!("YT1i"), true),
        ] {
            let event = event(http::Request::post("/").header("content-type", kind).body(body).unwrap());
            assert_eq!((&event["body"], &event["isBase64Encoded"]), (&want, &json!(base64)), "{kind}");
        }
        assert!(event(http::Request::get("/").body(&b""[..]).unwrap()).get("body").is_none());
    }

    #[test]
    fn a_time_in_common_log_format() {
        let time = "2026-11-24T13:46:59.123Z".parse().unwrap();
        assert_eq!(common_log_time(time), "24/Nov/2026:13:46:59 +0000");
    }

    fn answer(result: &str) -> Result<(u16, HeaderMap, Vec<u8>), Code> {
        let response = read(Bytes::copy_from_slice(result.as_bytes())).map_err(|fault| fault.code)?;
        let (parts, body) = response.into_parts();
        let body = match body {
            Body::Full(bytes) => bytes.to_vec(),
            Body::Empty => Vec::new(),
            other => panic!("{other:?}"),
        };
        Ok((parts.status.as_u16(), parts.headers, body))
    }

    #[test]
    fn answers_follow_the_rules() {
        for (result, status, kind, body) in [
            (r#"{"statusCode":201,"body":"made"}"#, 201, "application/json", "made"),
            (r#"{"statusCode":"404"}"#, 404, "application/json", ""),
            (
                r#"{"statusCode":200,"headers":{"Content-Type":"text/html","x-n":1},"body":"<p>"}"#,
                200,
                "text/html",
                "<p>",
            ),
            (r#"{"statusCode":200,"isBase64Encoded":true,"body":"aGk="}"#, 200, "application/json", "hi"),
            (r#"{"statusCode":200,"body":null}"#, 200, "application/json", ""),
            (r#"{"message":"statusCode"}"#, 200, "application/json", r#"{"message":"statusCode"}"#),
            (r#"{"deep":{"statusCode":500}}"#, 200, "application/json", r#"{"deep":{"statusCode":500}}"#),
            (r#""hello""#, 200, "application/json", r#""hello""#),
            ("[1,2]", 200, "application/json", "[1,2]"),
            ("null", 200, "application/json", "null"),
        ] {
            let (got, headers, bytes) = answer(result).unwrap();
            assert_eq!((got, headers["content-type"].to_str().unwrap()), (status, kind), "{result}");
            assert_eq!(String::from_utf8(bytes).unwrap(), body, "{result}");
        }
        let (_, headers, _) = answer(r#"{"statusCode":200,"cookies":["a=1","b=2; Path=/"]}"#).unwrap();
        assert_eq!(headers.get_all("set-cookie").iter().count(), 2);
    }

    #[test]
    fn answers_that_break_the_rules_are_the_functions_fault() {
        for result in [
            "",
            "nonsense",
            "{",
            r#"{"statusCode":99}"#,
            r#"{"statusCode":"ok"}"#,
            r#"{"statusCode":200,"body":{"a":1}}"#,
            r#"{"statusCode":200,"isBase64Encoded":true,"body":"*"}"#,
            r#"{"statusCode":200,"headers":{"a b":"1"}}"#,
            r#"{"statusCode":200,"headers":{"a":"x\ny"}}"#,
            r#"{"statusCode":200,"headers":{"a":["x"]}}"#,
        ] {
            assert_eq!(answer(result).unwrap_err(), Code::ResponseInvalid, "{result}");
        }
    }
}
