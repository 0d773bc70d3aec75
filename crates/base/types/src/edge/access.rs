//! `[access]`: who may call a function. Secrets are never written here, only their hashes.

use super::jwt::Jwt;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Old and new tokens of a change, with room to spare.
const TOKENS_MAX: usize = 8;

/// How a caller shows who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// Everybody may call.
    Public,
    /// By a secret that all callers share.
    Token,
    /// By a JSON Web Token of an issuer (RFC 7519).
    Jwt,
    /// By an API key of this platform.
    Key,
}

/// One text or several.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(value_type = Vec<String>)]
pub struct Texts(pub Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a text or a list of texts")]
        enum OneOrMany {
            One(String),
            Many(Vec<String>),
        }
        Ok(Self(match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(texts) => texts,
        }))
    }
}

impl Texts {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Access {
    pub auth: Auth,
    /// `token`: SHA-256 of each token that is good, in hexadecimal.
    #[serde(default, skip_serializing_if = "Texts::is_empty")]
    pub token_sha256: Texts,
    /// `jwt`: whose tokens are good, and what they have to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<Jwt>,
}

type Wrong = (&'static str, String);

impl Access {
    /// # Errors
    /// The key and what is wrong with it.
    pub fn check(&self) -> Result<(), Wrong> {
        // A key that its `auth` does not read would be believed to protect something.
        let stray = |key| Err((key, "this `auth` does not read it".to_owned()));
        if self.auth != Auth::Token && !self.token_sha256.is_empty() {
            return stray("access.token_sha256");
        }
        match (self.auth, &self.jwt) {
            (Auth::Jwt, Some(jwt)) => jwt.check(),
            (Auth::Jwt, None) => Err(("access.jwt", "auth `jwt` needs a table [access.jwt]".to_owned())),
            (_, Some(_)) => stray("access.jwt"),
            (Auth::Public | Auth::Key, None) => Ok(()),
            (Auth::Token, None) => self.check_token(),
        }
    }

    fn check_token(&self) -> Result<(), Wrong> {
        let key = "access.token_sha256";
        if self.token_sha256.is_empty() || self.token_sha256.0.len() > TOKENS_MAX {
            let how = "the output of `printf %s TOKEN | sha256sum`";
            return Err((key, format!("auth `token` needs 1 to {TOKENS_MAX} hashes: {how}")));
        }
        match self.token_sha256.0.iter().find(|hash| hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit())) {
            // The value may be a secret by mistake: it is not repeated.
            Some(_) => Err((key, "one of them is no SHA-256 hash of 64 hexadecimal digits".to_owned())),
            None => Ok(()),
        }
    }
}
