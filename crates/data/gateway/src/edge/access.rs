//! Who may call: what a request brought, held against what the function's revisions ask for.

mod token;

use super::{
    issuer::{Issuer, Issuers},
    jwt::{self, Jwt},
    refusal::{Refusal, Wrong},
};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, header};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use token::Tokens;
use types::{
    ApiKey, FunctionName, Timestamp,
    edge::{self, Auth},
    key,
};
use wire::Caller;

const KEY: HeaderName = HeaderName::from_static(key::HEADER);

/// What one revision asks for.
#[derive(Clone, PartialEq)]
pub(super) enum Access {
    Tokens(Tokens),
    Jwt(Arc<Jwt>),
    Key,
    /// Of a record that asks for something and does not say what.
    Nobody,
}

impl Access {
    /// `None` lets everybody in. `last` is what the function asked for until now: what was learnt about its issuers stays.
    pub(super) fn of(access: &edge::Access, last: &[Self]) -> Option<Self> {
        Some(match (access.auth, &access.jwt) {
            (Auth::Public, _) => return None,
            (Auth::Token, _) => Self::Tokens(Tokens::new(access)),
            (Auth::Key, _) => Self::Key,
            (Auth::Jwt, None) => Self::Nobody,
            (Auth::Jwt, Some(jwt)) => {
                let known = last.iter().filter_map(|one| if let Self::Jwt(jwt) = one { Some(jwt) } else { None });
                Self::Jwt(Jwt::next(jwt, known))
            }
        })
    }
}

/// What is needed to judge a request.
pub(crate) struct Context<'a> {
    pub function: &'a FunctionName,
    pub now: Timestamp,
    pub issuers: &'a Issuers,
    /// An API key by its hash.
    pub key: &'a (dyn Fn(&[u8; 32]) -> Option<Arc<ApiKey>> + Sync),
}

/// Whom the request was let in as.
#[derive(Default)]
pub(crate) struct Verified {
    pub token: Option<Arc<jwt::Entry>>,
    pub key: Option<Arc<ApiKey>>,
    pub caller: Option<Caller>,
}

impl Verified {
    /// What dispatch and the agent hear about it.
    pub(crate) fn extensions(&self) -> Extensions {
        let mut extensions = Extensions::new();
        if let Some(token) = &self.token {
            extensions.insert(Arc::clone(&token.authorizer));
        }
        if let Some(caller) = self.caller {
            extensions.insert(caller);
        }
        extensions
    }
}

/// Why a request is not let in now.
pub(super) enum Stop {
    Refused(Box<Refusal>),
    /// The issuer may have keys that are not among those of this generation.
    Ask(Arc<Issuer>, u64),
}

impl From<Wrong> for Stop {
    fn from(wrong: Wrong) -> Self {
        Self::Refused(Box::new(wrong.into()))
    }
}

/// Checks the request against all, and takes off what the function has no use for.
pub(super) fn check(all: &[Access], headers: &mut HeaderMap, context: &Context<'_>) -> Result<Verified, Stop> {
    let mut verified = Verified::default();
    let mut secrets = Vec::new();
    for access in all {
        match access {
            Access::Tokens(tokens) => {
                verified.caller = Some(caller(&tokens.check(bearer(headers)?)?));
                secrets.push(header::AUTHORIZATION);
            }
            Access::Jwt(jwt) => {
                let entry = jwt.check(bearer(headers)?, context.issuers, context.now)?;
                verified.caller = Some(Caller(entry.caller));
                verified.token = Some(entry);
            }
            Access::Key => {
                let (name, sent) = sent_key(headers)?;
                let (key, caller) = known(sent, context)?;
                verified.key = Some(key);
                verified.caller = Some(caller);
                secrets.push(name);
            }
            Access::Nobody => return Err(Wrong::Missing("nobody may call this function").into()),
        }
    }
    for name in secrets {
        headers.remove(name);
    }
    Ok(verified)
}

/// The one credential of `Authorization: Bearer` (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Result<&str, Wrong> {
    let value = one(headers, &header::AUTHORIZATION)?.ok_or(Wrong::Missing("the request has no token"))?;
    let sent = value.to_str().ok().and_then(|text| text.split_once(' '));
    match sent.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) {
        Some((_, token)) => Ok(token.trim()),
        None => Err(Wrong::Missing("the `Authorization` header is not `Bearer TOKEN`")),
    }
}

/// Two of them may be read one way here and another way behind.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Wrong> {
    let mut sent = headers.get_all(name).iter();
    match (sent.next(), sent.next()) {
        (_, Some(_)) => Err(Wrong::Twice(name.clone())),
        (first, None) => Ok(first),
    }
}

/// The key, and the header that it came in.
fn sent_key(headers: &HeaderMap) -> Result<(HeaderName, &str), Wrong> {
    match one(headers, &KEY)? {
        Some(value) => Ok((KEY, value.to_str().unwrap_or("").trim())),
        None if headers.contains_key(header::AUTHORIZATION) => Ok((header::AUTHORIZATION, bearer(headers)?)),
        None => Err(Wrong::Missing("the request has no API key")),
    }
}

fn known(sent: &str, context: &Context<'_>) -> Result<(Arc<ApiKey>, Caller), Wrong> {
    let hash: [u8; 32] = Sha256::digest(sent).into();
    let key = (context.key)(&hash).ok_or(Wrong::Invalid("the API key is not one of this platform".into()))?;
    if key.is_expired(context.now) {
        return Err(Wrong::Invalid("the API key has expired".into()));
    }
    if !key.opens(context.function) {
        return Err(Wrong::Insufficient { detail: "the API key is not for this function".into(), scopes: None });
    }
    Ok((key, caller(&hash)))
}

/// Who has this secret: whom a token tells apart takes turns by it where calls wait, everybody else by the address.
fn caller(hash: &[u8; 32]) -> Caller {
    let [a, b, c, d, e, f, g, h, ..] = *hash;
    Caller(u64::from_ne_bytes([a, b, c, d, e, f, g, h]))
}
