//! Hostile tokens and good ones, signed here by ring and, in the end-to-end tests, by PyJWT.

use super::{
    keys::KeySet,
    token::{Bad, Policy, verify},
};
use crate::edge::refusal::Wrong;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair},
};
use serde_json::{Value, json};

const NOW: u64 = 1_800_000_000;

/// A key of these tests and of nothing else: `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -outform DER`.
const RSA: &[u8] = include_bytes!("tests/rsa.der");

/// An issuer with a key of each type.
pub(crate) struct Issuer {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

impl Issuer {
    pub(crate) fn new() -> Self {
        let random = SystemRandom::new();
        let ec = |kind| {
            let document = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
            EcdsaKeyPair::from_pkcs8(kind, document.as_ref(), &random).unwrap()
        };
        Self {
            rsa: RsaKeyPair::from_der(RSA).unwrap(),
            p256: ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            p384: ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            ed: Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&random).unwrap().as_ref()).unwrap(),
        }
    }

    fn modulus(&self) -> Vec<u8> {
        ring::rsa::PublicKeyComponents::<Vec<u8>>::from(self.rsa.public()).n
    }

    pub(crate) fn jwks(&self) -> String {
        let public = self.modulus();
        let part = |bytes: &[u8]| BASE64.encode(bytes);
        let ec = |pair: &EcdsaKeyPair, kid: &str, curve: &str| {
            let point = &pair.public_key().as_ref()[1..];
            let (x, y) = point.split_at(point.len() / 2);
            json!({"kty": "EC", "kid": kid, "crv": curve, "x": part(x), "y": part(y), "use": "sig"})
        };
        json!({"keys": [
            {"kty": "RSA", "kid": "rsa", "n": part(&public), "e": "AQAB"},
            ec(&self.p256, "p256", "P-256"),
            ec(&self.p384, "p384", "P-384"),
            {"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": part(self.ed.public_key().as_ref())},
            {"kty": "oct", "kid": "oct", "k": part(b"secret"), "alg": "HS256"},
            {"kty": "RSA", "kid": "enc", "use": "enc", "n": part(&public), "e": "AQAB"},
            {"kty": "EC", "kid": "odd", "crv": "secp256k1", "x": "AA", "y": "AA"},
            "no key at all",
        ]})
        .to_string()
    }

    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let head = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        let random = SystemRandom::new();
        let rsa = |padding: &'static dyn signature::RsaEncoding| {
            let mut out = vec![0; self.rsa.public().modulus_len()];
            self.rsa.sign(padding, &random, head.as_bytes(), &mut out).unwrap();
            out
        };
        let sent = match header["alg"].as_str().unwrap() {
            "RS256" => rsa(&signature::RSA_PKCS1_SHA256),
            "RS384" => rsa(&signature::RSA_PKCS1_SHA384),
            "RS512" => rsa(&signature::RSA_PKCS1_SHA512),
            "PS256" => rsa(&signature::RSA_PSS_SHA256),
            "PS384" => rsa(&signature::RSA_PSS_SHA384),
            "PS512" => rsa(&signature::RSA_PSS_SHA512),
            "ES256" => self.p256.sign(&random, head.as_bytes()).unwrap().as_ref().to_vec(),
            "ES384" => self.p384.sign(&random, head.as_bytes()).unwrap().as_ref().to_vec(),
            "EdDSA" => self.ed.sign(head.as_bytes()).as_ref().to_vec(),
            // The attack of RFC 8725 §2.1: the public key, as everybody has it, is the secret.
            "HS256" => {
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.modulus()), head.as_bytes()).as_ref().to_vec()
            }
            "none" => Vec::new(),
            other => panic!("{other}"),
        };
        format!("{head}.{}", BASE64.encode(sent))
    }
}

fn policy(more: Value) -> Policy {
    let mut asked = json!({"issuer": "https://issuer.example", "audience": ["api", "other"], "jwks_url": "https://issuer.example/"});
    asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Policy::new(&serde_json::from_value(asked).unwrap())
}

fn claims(more: Value) -> Value {
    let mut claims = json!({"iss": "https://issuer.example", "aud": "api", "sub": "alice", "exp": NOW + 60});
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

/// The status that the gateway answers with; 200 for a good one, 0 where the issuer would be asked.
fn judge(token: &str, keys: &KeySet, policy: &Policy) -> (u16, String) {
    match verify(token, keys, policy, NOW) {
        Ok(_) => (200, String::new()),
        Err(Bad::UnknownKey) => (0, String::new()),
        Err(Bad::Wrong(wrong @ (Wrong::Invalid(_) | Wrong::Insufficient { .. }))) => {
            let refusal = crate::edge::Refusal::from(wrong);
            (refusal.fault.code.status(), refusal.fault.detail.into_owned())
        }
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn each_algorithm_is_verified_by_a_key_of_its_type_only() {
    let issuer = Issuer::new();
    let keys = KeySet::read(issuer.jwks().as_bytes()).unwrap();
    let all = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
    let own = |alg: &str| match alg {
        "ES256" => "p256",
        "ES384" => "p384",
        "EdDSA" => "ed",
        _ => "rsa",
    };
    for alg in all {
        for kid in ["rsa", "p256", "p384", "ed"] {
            let token = issuer.sign(&json!({"alg": alg, "kid": kid, "typ": "JWT"}), &claims(json!({})));
            let want = if kid == own(alg) { 200 } else { 401 };
            assert_eq!(judge(&token, &keys, &policy(json!({}))).0, want, "{alg} {kid}");
        }
        // Without a name, the only key that fits is meant.
        let token = issuer.sign(&json!({"alg": alg}), &claims(json!({})));
        assert_eq!(judge(&token, &keys, &policy(json!({}))).0, 200, "{alg}");
        let others: Vec<_> = all.iter().filter(|other| **other != alg).collect();
        assert_eq!(judge(&token, &keys, &policy(json!({"algorithms": others}))).0, 401, "{alg} is not on the list");
        // One bit of what is signed, and one of the signature.
        let (head, sent) = token.rsplit_once('.').unwrap();
        let mut broken = BASE64.decode(sent).unwrap();
        broken[10] ^= 1;
        assert_eq!(judge(&format!("{head}.{}", BASE64.encode(broken)), &keys, &policy(json!({}))).0, 401, "{alg}");
        let other = issuer.sign(&json!({"alg": alg}), &claims(json!({"sub": "mallory"})));
        let swapped = format!("{}.{sent}", other.rsplit_once('.').unwrap().0);
        assert_eq!(judge(&swapped, &keys, &policy(json!({}))).0, 401, "{alg}");
    }
}

#[test]
fn hostile_tokens_are_refused() {
    let issuer = Issuer::new();
    let keys = KeySet::read(issuer.jwks().as_bytes()).unwrap();
    let (good, rs) = (claims(json!({})), json!({"alg": "RS256", "kid": "rsa"}));
    let sign = |more: Value| issuer.sign(&rs, &claims(more));
    let valid = issuer.sign(&rs, &good);
    let unsigned = issuer.sign(&json!({"alg": "none"}), &good);
    for (what, token, status, part) in [
        ("as it should be", valid.clone(), 200, ""),
        ("alg none", unsigned.clone(), 401, "`none`"),
        ("alg none, without its last dot", unsigned.trim_end_matches('.').to_owned(), 401, "no signed"),
        ("alg None", issuer.sign(&json!({"alg": "none"}), &good).replacen("bm9uZS", "Tm9uZS", 1), 401, ""),
        (
            "the public key as a shared secret",
            issuer.sign(&json!({"alg": "HS256", "kid": "rsa"}), &good),
            401,
            "`HS256`",
        ),
        ("a shared secret of the set", issuer.sign(&json!({"alg": "HS256", "kid": "oct"}), &good), 401, "`HS256`"),
        ("a key for encryption", issuer.sign(&json!({"alg": "RS256", "kid": "enc"}), &good), 0, ""),
        ("an unknown key", issuer.sign(&json!({"alg": "RS256", "kid": "other"}), &good), 0, ""),
        (
            "an unknown key of another issuer",
            issuer.sign(&json!({"alg": "RS256", "kid": "other"}), &claims(json!({"iss": "x"}))),
            401,
            "another issuer",
        ),
        (
            "its own key in the header",
            issuer.sign(
                &json!({"alg": "RS256", "kid": "other", "jwk": {"kty": "RSA"}, "jku": "https://evil.example"}),
                &good,
            ),
            0,
            "",
        ),
        (
            "unknown extensions",
            issuer.sign(&json!({"alg": "RS256", "kid": "rsa", "crit": ["b64"], "b64": false}), &good),
            401,
            "extensions",
        ),
        ("huge", format!("{valid}{}", "A".repeat(20_000)), 401, "bytes"),
        ("huge claims", sign(json!({"x": "a".repeat(20_000)})), 401, "bytes"),
        ("encrypted, five parts", format!("{valid}.a.b"), 401, "no signed"),
        ("nothing", String::new(), 401, "no signed"),
        ("dots", "..".to_owned(), 401, "header"),
        ("no base64", "a.b.c".to_owned(), 401, "header"),
        ("no JSON", format!("{0}.{0}.{0}", BASE64.encode("{")), 401, "header"),
        (
            "deep JSON",
            format!("{}.{}.AA", BASE64.encode(rs.to_string()), BASE64.encode("[".repeat(9_000))),
            401,
            "claims",
        ),
        ("expired", sign(json!({"exp": NOW - 31})), 401, "expired"),
        ("expired within the leeway", sign(json!({"exp": NOW - 29})), 200, ""),
        ("expires with a fraction", sign(json!({"exp": NOW as f64 + 0.5})), 200, ""),
        ("never expires", sign(json!({"exp": null})), 401, "no `exp`"),
        ("expires as a text", sign(json!({"exp": (NOW + 60).to_string()})), 401, "no `exp`"),
        ("expires before 1970", sign(json!({"exp": -1})), 401, "no `exp`"),
        ("not yet", sign(json!({"nbf": NOW + 31})), 401, "not good yet"),
        ("not yet within the leeway", sign(json!({"nbf": NOW + 29})), 200, ""),
        ("not before a text", sign(json!({"nbf": "now"})), 401, "no time"),
        ("another issuer", sign(json!({"iss": "https://issuer.example/"})), 401, "another issuer"),
        ("no issuer", sign(json!({"iss": null})), 401, "another issuer"),
        ("another audience", sign(json!({"aud": "web"})), 401, "audience"),
        ("a list of audiences", sign(json!({"aud": ["web", "other"]})), 200, ""),
        ("a list of other audiences", sign(json!({"aud": ["web", 7, null]})), 401, "audience"),
        ("an empty list of audiences", sign(json!({"aud": []})), 401, "audience"),
        ("no audience", sign(json!({"aud": null})), 401, "audience"),
        ("an audience as an object", sign(json!({"aud": {"api": "api"}})), 401, "audience"),
    ] {
        let (got, detail) = judge(&token, &keys, &policy(json!({})));
        assert_eq!(got, status, "{what}: {detail}");
        assert!(detail.contains(part), "{what}: {detail}");
    }
}

#[test]
fn what_is_too_little_is_forbidden() {
    let issuer = Issuer::new();
    let keys = KeySet::read(issuer.jwks().as_bytes()).unwrap();
    for (asked, said, status, part) in [
        (json!({"scopes": ["read"]}), json!({"scope": "write read"}), 200, ""),
        (json!({"scopes": ["read"]}), json!({"scp": ["read"]}), 200, ""),
        (json!({"scopes": ["read", "write"]}), json!({"scope": "read"}), 403, "`write`"),
        (json!({"scopes": ["read"]}), json!({"scope": "readme"}), 403, "`read`"),
        (json!({"scopes": ["read"]}), json!({}), 403, "`read`"),
        (json!({"claims": {"role": ["admin", "root"]}}), json!({"role": "root"}), 200, ""),
        (json!({"claims": {"role": "admin"}}), json!({"role": ["user", "admin"]}), 200, ""),
        (json!({"claims": {"role": "admin"}}), json!({"role": "administrator"}), 403, "`role`"),
        (json!({"claims": {"role": "admin"}}), json!({"role": {"admin": true}}), 403, "`role`"),
        (json!({"claims": {"verified": "true"}}), json!({"verified": true}), 200, ""),
        (json!({"claims": {"a": "1", "b": "2"}}), json!({"a": 1}), 403, "`b`"),
    ] {
        let token = issuer.sign(&json!({"alg": "EdDSA", "kid": "ed"}), &claims(said.clone()));
        let (got, detail) = judge(&token, &keys, &policy(asked.clone()));
        assert_eq!(got, status, "{asked} {said}: {detail}");
        assert!(detail.contains(part), "{detail}");
    }
}

#[test]
fn a_set_is_read_within_its_bounds() {
    let one = json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64.encode([7; 32])});
    let short = json!({"kty": "RSA", "n": BASE64.encode([255; 128]), "e": "AQAB"});
    for (set, ok) in [
        (json!({"keys": [one]}), true),
        (json!({"keys": vec![one.clone(); 100]}), true),
        (json!({"keys": vec![one.clone(); 101]}), false),
        (json!({"keys": []}), false),
        (json!({"keys": [short]}), false),
        (json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AA"}]}), false),
        (json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": BASE64.encode([7; 32]), "alg": "RS256"}]}), false),
        (json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": BASE64.encode([7; 32]), "key_ops": ["sign"]}]}), false),
        (json!([one]), false),
        (json!({"keys": one}), false),
    ] {
        assert_eq!(KeySet::read(set.to_string().as_bytes()).is_ok(), ok, "{set}");
    }
}
