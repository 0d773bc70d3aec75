//! Judges one token: a pure function of the issuer's keys, what is asked for, and the time (RFC 7519 §7.2, RFC 8725).

use super::keys::{KeySet, Missing};
use crate::edge::refusal::Wrong;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::borrow::Cow;
use types::edge::{self, Algorithm};
use wire::Authorizer;

/// With a list of groups some have 8 KB.
const TOKEN_MAX: usize = 16 << 10;

/// What is asked for.
pub(super) struct Policy {
    asked: edge::Jwt,
    leeway: u64,
}

impl Policy {
    pub(super) fn new(asked: &edge::Jwt) -> Self {
        Self { asked: asked.clone(), leeway: asked.leeway().0 / 1000 }
    }
}

/// What a good token says.
#[derive(Debug)]
pub(super) struct Good {
    pub authorizer: Authorizer,
    /// In seconds since 1970, the leeway in it: from here on it is not good.
    pub until: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// It is signed by a key that is not known yet, or never will be.
    UnknownKey,
    Wrong(Wrong),
}

fn invalid<T>(detail: impl Into<Cow<'static, str>>) -> Result<T, Bad> {
    Err(Bad::Wrong(Wrong::Invalid(detail.into())))
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that have to be understood: none is.
    crit: Option<Value>,
}

/// `now` in seconds since 1970.
pub(super) fn verify(token: &str, keys: &KeySet, policy: &Policy, now: u64) -> Result<Good, Bad> {
    if token.len() > TOKEN_MAX {
        return invalid(format!("the token has {} bytes, {TOKEN_MAX} are allowed", token.len()));
    }
    let parts: Vec<&str> = token.splitn(4, '.').collect();
    let [header, claims, signature] = parts[..] else { return invalid("the token is no signed JWT") };
    let Some(decoded) = json::<Header>(header) else { return invalid("the token's header cannot be read") };
    if decoded.crit.is_some() {
        return invalid("the token asks for extensions that are not known here");
    }
    let algorithm = match serde_json::from_value::<Algorithm>(Value::String(decoded.alg.clone())) {
        Ok(algorithm) if policy.asked.algorithms.is_empty() || policy.asked.algorithms.contains(&algorithm) => {
            algorithm
        }
        _ => return invalid(format!("the token's algorithm `{:.16}` is not accepted", decoded.alg)),
    };
    let Some(said) = json::<Map<String, Value>>(claims) else { return invalid("the token's claims cannot be read") };
    // Before its key is looked for: what other issuers sign is no reason to ask this one.
    if said.get("iss").and_then(Value::as_str) != Some(&policy.asked.issuer) {
        return invalid("the token is of another issuer");
    }
    let key = match keys.find(decoded.kid.as_deref(), algorithm) {
        Ok(key) => key,
        Err(Missing::Unknown) => return Err(Bad::UnknownKey),
        Err(Missing::Misfit) => return invalid("the token's key takes another algorithm"),
        Err(Missing::Several) => return invalid("the token does not say by which of the issuer's keys it is signed"),
    };
    let Ok(sent) = URL_SAFE_NO_PAD.decode(signature) else { return invalid("the token's signature cannot be read") };
    if !key.verifies(algorithm, &token.as_bytes()[..header.len() + 1 + claims.len()], &sent) {
        return invalid("the token's signature is wrong");
    }
    let until = times(&said, policy.leeway, now)?;
    if !texts(said.get("aud")).any(|aud| policy.asked.audience.0.iter().any(|asked| asked == aud)) {
        return invalid("the token is for another audience");
    }
    let scopes = scopes(&said);
    enough(&said, &scopes, &policy.asked).map_err(Bad::Wrong)?;
    Ok(Good { authorizer: Authorizer { claims: said, scopes }, until })
}

fn json<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// `exp` and `nbf`; the time from which the token is not good. One that never ends is not taken: nobody could revoke it.
fn times(said: &Map<String, Value>, leeway: u64, now: u64) -> Result<u64, Bad> {
    // NumericDate may have a fraction (RFC 7519 §2): the whole second counts.
    let date = |value: &Value| value.as_f64().filter(|date| *date >= 0.0).map(|date| date as u64);
    let Some(exp) = said.get("exp").and_then(date) else { return invalid("the token has no `exp`") };
    let until = exp.saturating_add(leeway);
    if until <= now {
        return invalid("the token has expired");
    }
    match said.get("nbf").map(date) {
        Some(None) => invalid("the token's `nbf` is no time"),
        Some(Some(nbf)) if nbf > now.saturating_add(leeway) => invalid("the token is not good yet"),
        _ => Ok(until),
    }
}

/// A text, or the texts of a list.
fn texts(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let (one, many) = match value {
        Some(Value::String(text)) => (Some(text.as_str()), &[][..]),
        Some(Value::Array(list)) => (None, list.as_slice()),
        _ => (None, &[][..]),
    };
    one.into_iter().chain(many.iter().filter_map(Value::as_str))
}

/// `scope` (RFC 8693 §4.2), or what Entra ID and Okta have in its place.
fn scopes(said: &Map<String, Value>) -> Vec<String> {
    let all = texts(said.get("scope")).chain(texts(said.get("scp")));
    all.flat_map(|text| text.split(' ')).filter(|scope| !scope.is_empty()).map(str::to_owned).collect()
}

/// Good as it is, it may be too little for this function.
fn enough(said: &Map<String, Value>, scopes: &[String], asked: &edge::Jwt) -> Result<(), Wrong> {
    if let Some(lacking) = asked.scopes.0.iter().find(|scope| !scopes.contains(scope)) {
        let detail = format!("the token lacks the scope `{lacking}`").into();
        return Err(Wrong::Insufficient { detail, scopes: Some(asked.scopes.0.join(" ")) });
    }
    for (name, wanted) in &asked.claims {
        let is = |value: &Value| match value {
            Value::String(text) => wanted.0.contains(text),
            Value::Bool(_) | Value::Number(_) => wanted.0.contains(&value.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        };
        let has = match said.get(name) {
            Some(Value::Array(list)) => list.iter().any(is),
            Some(value) => is(value),
            None => false,
        };
        if !has {
            let detail = format!("the token's claim `{name}` is not one that this function takes").into();
            return Err(Wrong::Insufficient { detail, scopes: None });
        }
    }
    Ok(())
}
