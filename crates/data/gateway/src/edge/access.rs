//! Tokens: the gateway knows their hashes only.

use http::{HeaderMap, HeaderValue, header};
use sha2::{Digest, Sha256};
use std::{
    hash::{BuildHasher, RandomState},
    sync::LazyLock,
};
use types::{Code, Fault, edge::Access};

/// The hashes that are good for one revision.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tokens(Vec<[u8; 32]>);

impl Tokens {
    /// A hash that cannot be read is left out: it lets nobody in.
    pub(super) fn new(access: &Access) -> Self {
        let read = |hash: &String| {
            let mut bytes = [0; 32];
            hex::decode_to_slice(hash, &mut bytes).ok().map(|()| bytes)
        };
        Self(access.token_sha256.0.iter().filter_map(read).collect())
    }
}

/// Another key in each process: nobody chooses credentials that fall on somebody else's.
static CALLERS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Who has these credentials.
pub(super) fn caller(authorization: &HeaderValue) -> wire::Caller {
    wire::Caller(CALLERS.hash_one(authorization.as_bytes()))
}

/// Comparing hashes in any time tells nothing: who could choose them could break SHA-256.
pub(super) fn check(all: &[Tokens], headers: &HeaderMap) -> Result<(), Fault> {
    let refused = |detail: &'static str| Err(Fault::new(Code::AccessDenied, detail));
    let Some(value) = headers.get(header::AUTHORIZATION) else { return refused("the request has no token") };
    let sent = value.to_str().ok().and_then(|text| text.split_once(' '));
    let Some((_, token)) = sent.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) else {
        return refused("the `Authorization` header is not `Bearer TOKEN`");
    };
    let hash: [u8; 32] = Sha256::digest(token.trim()).into();
    match all.iter().all(|tokens| tokens.0.contains(&hash)) {
        true => Ok(()),
        false => refused("the token is not one of this function"),
    }
}
