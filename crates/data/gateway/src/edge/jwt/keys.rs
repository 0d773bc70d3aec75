//! An issuer's public keys (RFC 7517, RFC 7518 §6, RFC 8037), and signatures by them.
//!
//! A key has one type and takes the algorithms of that type only, whatever a token says; shared secrets are no keys here.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use serde::Deserialize;
use serde_json::Value;
use types::edge::Algorithm;

/// Issuers publish two or three.
const KEYS_MAX: usize = 100;

#[derive(Debug, Default, PartialEq)]
pub(crate) struct KeySet(Vec<Key>);

#[derive(Debug, PartialEq)]
pub(super) struct Key {
    kid: Option<String>,
    /// What the issuer uses it for; any that fits its type where it does not say.
    algorithm: Option<Algorithm>,
    public: Public,
}

#[derive(Debug, PartialEq)]
enum Public {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// Why no key was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// The issuer may have a new one.
    Unknown,
    /// There is one of this name, and it takes another algorithm.
    Misfit,
    /// The token names none, and several would fit.
    Several,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Keys of other kinds are left out: issuers publish keys for encryption in the same set.
    ///
    /// # Errors
    /// Where it is no set, has too many keys or none that can be used.
    pub(crate) fn read(json: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = serde_json::from_slice(json).map_err(|error| format!("no JSON Web Key Set: {error}"))?;
        if set.keys.len() > KEYS_MAX {
            return Err(format!("the set has {} keys, {KEYS_MAX} are allowed", set.keys.len()));
        }
        let keys: Vec<Key> = set.keys.into_iter().filter_map(|key| read(serde_json::from_value(key).ok()?)).collect();
        if keys.is_empty() {
            Err("the set has no key for signatures that is known here".to_owned())
        } else {
            Ok(Self(keys))
        }
    }

    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&Key, Missing> {
        let mut fitting = self.0.iter().filter(|key| key.takes(algorithm));
        match kid {
            Some(_) => match fitting.find(|key| key.kid.as_deref() == kid) {
                Some(key) => Ok(key),
                None if self.0.iter().any(|key| key.kid.as_deref() == kid) => Err(Missing::Misfit),
                None => Err(Missing::Unknown),
            },
            None => match (fitting.next(), fitting.next()) {
                (Some(key), None) => Ok(key),
                (Some(_), Some(_)) => Err(Missing::Several),
                (None, _) => Err(Missing::Unknown),
            },
        }
    }
}

fn read(jwk: Jwk) -> Option<Key> {
    if jwk.usage.is_some_and(|usage| usage != "sig")
        || jwk.key_ops.is_some_and(|ops| !ops.iter().any(|op| op == "verify"))
    {
        return None;
    }
    let part = |part: &Option<String>| URL_SAFE_NO_PAD.decode(part.as_deref()?.trim_end_matches('=')).ok();
    let public = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => {
            let n = part(&jwk.n)?;
            // Leading zeros are no part of the number.
            let n = n.iter().position(|byte| *byte != 0).map(|first| n[first..].to_vec())?;
            // What ring takes: 2,048 to 8,192 bits.
            Some(Public::Rsa { n, e: part(&jwk.e)? })
                .filter(|key| matches!(key, Public::Rsa { n, e } if (256..=1024).contains(&n.len()) && e.len() <= 5))?
        }
        ("EC", Some("P-256")) => Public::P256(point(part(&jwk.x)?, part(&jwk.y)?, 32)?),
        ("EC", Some("P-384")) => Public::P384(point(part(&jwk.x)?, part(&jwk.y)?, 48)?),
        ("OKP", Some("Ed25519")) => Public::Ed25519(part(&jwk.x).filter(|x| x.len() == 32)?),
        _ => return None,
    };
    let algorithm = match jwk.alg {
        Some(name) => Some(serde_json::from_value(Value::String(name)).ok()?),
        None => None,
    };
    let key = Key { kid: jwk.kid, algorithm, public };
    // One that names an algorithm of another type would take none.
    key.algorithm.is_none_or(|algorithm| key.takes(algorithm)).then_some(key)
}

/// An uncompressed point (SEC 1 §2.3.3).
fn point(x: Vec<u8>, y: Vec<u8>, size: usize) -> Option<Vec<u8>> {
    (x.len() == size && y.len() == size).then(|| [vec![4], x, y].concat())
}

impl Key {
    fn takes(&self, algorithm: Algorithm) -> bool {
        use Algorithm as A;
        let fits = match self.public {
            Public::Rsa { .. } => matches!(algorithm, A::RS256 | A::RS384 | A::RS512 | A::PS256 | A::PS384 | A::PS512),
            Public::P256(_) => algorithm == A::ES256,
            Public::P384(_) => algorithm == A::ES384,
            Public::Ed25519(_) => algorithm == A::EdDSA,
        };
        fits && self.algorithm.is_none_or(|own| own == algorithm)
    }

    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], sent: &[u8]) -> bool {
        use Algorithm as A;
        let rsa = |parameters| match &self.public {
            Public::Rsa { n, e } => RsaPublicKeyComponents { n, e }.verify(parameters, message, sent).is_ok(),
            Public::P256(_) | Public::P384(_) | Public::Ed25519(_) => false,
        };
        let curve = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(message, sent).is_ok()
        };
        match (algorithm, &self.public) {
            (A::RS256, _) => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            (A::RS384, _) => rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            (A::RS512, _) => rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            (A::PS256, _) => rsa(&signature::RSA_PSS_2048_8192_SHA256),
            (A::PS384, _) => rsa(&signature::RSA_PSS_2048_8192_SHA384),
            (A::PS512, _) => rsa(&signature::RSA_PSS_2048_8192_SHA512),
            (A::ES256, Public::P256(point)) => curve(&signature::ECDSA_P256_SHA256_FIXED, point),
            (A::ES384, Public::P384(point)) => curve(&signature::ECDSA_P384_SHA384_FIXED, point),
            (A::EdDSA, Public::Ed25519(key)) => curve(&signature::ED25519, key),
            (A::ES256 | A::ES384 | A::EdDSA, _) => false,
        }
    }
}
