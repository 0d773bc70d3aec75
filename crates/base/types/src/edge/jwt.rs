//! `[access.jwt]`: whose JSON Web Tokens let a caller in, and what they have to say.

use super::access::Texts;
use crate::unit::Millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

const AUDIENCES_MAX: usize = 16;
const CLAIMS_MAX: usize = 16;
const SCOPES_MAX: usize = 16;
/// More would hide a clock that is wrong.
const LEEWAY_MAX: Millis = Millis::secs(300);
/// What two clocks that are kept differ by at most, with room to spare.
const LEEWAY: Millis = Millis::secs(30);
/// A set of public keys has 1 to 4 KB.
const JWKS_MAX: usize = 32 << 10;

/// A signature algorithm (RFC 7518 §3.1, RFC 8037). There is no `none`, and none with a shared secret: a manifest holds no
/// secrets, and what knows no HS256 cannot take a public key for its secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    #[serde(alias = "Ed25519")]
    EdDSA,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    /// What `iss` has to be, to the letter.
    pub issuer: String,
    /// One of these has to be in `aud`.
    #[serde(default, skip_serializing_if = "Texts::is_empty")]
    pub audience: Texts,
    /// Where the issuer publishes its keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// The keys themselves, a JSON Web Key Set (RFC 7517).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// The algorithms that are accepted; all of them where left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub algorithms: Vec<Algorithm>,
    /// The token has to have each of these in `scope` (or `scp`).
    #[serde(default, skip_serializing_if = "Texts::is_empty")]
    pub scopes: Texts,
    /// Each of these claims has to have one of its values; a list of the token's has to contain one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, Vec<String>>)]
    pub claims: BTreeMap<String, Texts>,
    /// How far the issuer's clock may be off; 30 s where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "30s")]
    pub leeway: Option<Millis>,
}

type Wrong = (&'static str, String);

impl Jwt {
    pub fn leeway(&self) -> Millis {
        self.leeway.unwrap_or(LEEWAY)
    }

    /// # Errors
    /// The key and what is wrong with it.
    pub fn check(&self) -> Result<(), Wrong> {
        if self.issuer.is_empty() {
            return Err(("access.jwt.issuer", "write the issuer exactly as its tokens have it in `iss`".to_owned()));
        }
        if self.audience.is_empty() || self.audience.0.len() > AUDIENCES_MAX {
            let why = "without one, any token of the issuer would do";
            return Err(("access.jwt.audience", format!("1 to {AUDIENCES_MAX} are needed: {why}")));
        }
        match (&self.jwks_url, &self.jwks) {
            (Some(url), None) => check_url(url)?,
            (None, Some(jwks)) => check_jwks(jwks)?,
            _ => return Err(("access.jwt.jwks_url", "give either `jwks_url` or `jwks`".to_owned())),
        }
        let token = |scope: &String| !scope.is_empty() && scope.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
        if self.scopes.0.len() > SCOPES_MAX || !self.scopes.0.iter().all(token) {
            return Err(("access.jwt.scopes", format!("at most {SCOPES_MAX}, each one scope without spaces")));
        }
        if self.claims.len() > CLAIMS_MAX || self.claims.values().any(Texts::is_empty) {
            return Err(("access.jwt.claims", format!("at most {CLAIMS_MAX} claims, each with a value")));
        }
        match self.leeway {
            Some(leeway) if leeway > LEEWAY_MAX => Err(("access.jwt.leeway", format!("{leeway} is over {LEEWAY_MAX}"))),
            _ => Ok(()),
        }
    }
}

fn check_url(url: &str) -> Result<(), Wrong> {
    let uri: Option<http::Uri> = url.parse().ok();
    let good = uri.is_some_and(|uri| {
        let user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        matches!(uri.scheme_str(), Some("https" | "http")) && uri.host().is_some_and(|host| !host.is_empty()) && !user
    });
    // A password may stand in it: it is not repeated.
    let why = "write an https:// or http:// URL without a user";
    if good { Ok(()) } else { Err(("access.jwt.jwks_url", why.to_owned())) }
}

fn check_jwks(jwks: &str) -> Result<(), Wrong> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Map<String, serde_json::Value>>,
    }
    let key = "access.jwt.jwks";
    if jwks.len() > JWKS_MAX {
        return Err((key, format!("{} bytes are over the limit of {JWKS_MAX}", jwks.len())));
    }
    match serde_json::from_str::<Set>(jwks) {
        Ok(set) if set.keys.is_empty() => Err((key, "the set has no key".to_owned())),
        Ok(set) if set.keys.iter().any(|key| ["d", "p", "q", "k"].iter().any(|part| key.contains_key(*part))) => {
            Err((key, "it has a secret or private key: a manifest takes public ones".to_owned()))
        }
        Ok(_) => Ok(()),
        Err(error) => Err((key, format!("no JSON Web Key Set: {error}"))),
    }
}
