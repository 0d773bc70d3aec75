//! Names and ids: each is a type of its own, checked once where it enters.

use serde::{Deserialize, Serialize};
use std::{
    fmt,
    str::FromStr,
    sync::{Arc, LazyLock},
};

/// Why a text is no name or id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "`{0}` is no name: use 1 to 63 of a-z, 0-9 and '-', beginning with a letter and not ending with '-' (a DNS label)"
    )]
    Label(String),
    #[error("`{0}` is no digest: it is `sha256:` and 64 hexadecimal digits")]
    Digest(String),
    #[error("`{0}` is no revision: it is a function's name, '@' and a number, as hello@3")]
    Revision(String),
    #[error("`{0}` is no id")]
    Uuid(String),
}

/// A DNS label (RFC 1123, with a letter first as in RFC 1035), so that a name can be a host's part.
fn label(text: &str) -> Result<Arc<str>, Error> {
    let bytes = text.as_bytes();
    let ok = (1..=63).contains(&bytes.len())
        && bytes[0].is_ascii_lowercase()
        && bytes[bytes.len() - 1] != b'-'
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
    if ok { Ok(text.into()) } else { Err(Error::Label(text.to_owned())) }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $parse:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                $parse(text).map(Self)
            }
        }
        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self, Error> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// A function's name: a DNS label, unique in the whole platform.
    FunctionName, label
}
text_id! {
    /// A tenant's name: a DNS label.
    TenantName, label
}
text_id! {
    /// An alias's name: a DNS label, unique in its function. `live` takes the traffic by default.
    AliasName, label
}
text_id! {
    /// Content by its hash: `sha256:` and 64 lower-case hexadecimal digits.
    Digest, digest
}

impl Default for TenantName {
    /// The tenant that is always there: functions belong to it unless they say otherwise.
    fn default() -> Self {
        // One text for all: every function has one.
        static DEFAULT: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("default"));
        Self(Arc::clone(&DEFAULT))
    }
}

impl TenantName {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl AliasName {
    /// The alias that a function's routes point to unless they say otherwise.
    pub fn live() -> Self {
        Self("live".into())
    }
}

fn digest(text: &str) -> Result<Arc<str>, Error> {
    let hex = text.strip_prefix("sha256:").unwrap_or("");
    let ok = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if ok { Ok(text.into()) } else { Err(Error::Digest(text.to_owned())) }
}

impl Digest {
    /// From the 32 bytes that SHA-256 gives.
    pub fn from_sha256(hash: &[u8; 32]) -> Self {
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in hash {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        Self(text.into())
    }

    /// The 64 hexadecimal digits without the prefix: safe as a file's name.
    pub fn hex(&self) -> &str {
        &self.0[7..]
    }
}

/// A function's immutable revision: `hello@3`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RevisionId {
    pub function: FunctionName,
    /// Counts from 1.
    pub number: u32,
}

impl FromStr for RevisionId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::Revision(text.to_owned());
        let (name, number) = text.split_once('@').ok_or_else(bad)?;
        let number = number.parse().ok().filter(|n| *n > 0).ok_or_else(bad)?;
        Ok(Self { function: name.parse()?, number })
    }
}
impl TryFrom<String> for RevisionId {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}
impl From<RevisionId> for String {
    fn from(id: RevisionId) -> String {
        id.to_string()
    }
}
impl fmt::Display for RevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.function, self.number)
    }
}
impl fmt::Debug for RevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(uuid::Uuid);

        impl $name {
            /// A new random id (UUID version 4; unique, not secret).
            pub fn random() -> Self {
                Self(uuid::Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid())
            }
            /// Writes the id as text into `buffer`: no allocation.
            pub fn encode<'a>(&self, buffer: &'a mut [u8; 36]) -> &'a str {
                self.0.hyphenated().encode_lower(buffer)
            }
        }
        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                uuid::Uuid::try_parse(text).map(Self).map_err(|_| Error::Uuid(text.to_owned()))
            }
        }
        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self, Error> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.hyphenated(), f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

random_id! {
    /// One call.
    InvocationId
}
random_id! {
    /// One running copy of a revision.
    InstanceId
}
random_id! {
    /// One attempt to publish.
    DeploymentId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_dns_label() {
        for good in ["a", "hello", "a1", "thumb-nail-2", &"a".repeat(63)] {
            assert!(good.parse::<FunctionName>().is_ok(), "{good}");
        }
        for bad in ["", "1a", "-a", "a-", "Hello", "a_b", "a.b", "ä", "a b", "../x", &"a".repeat(64)] {
            assert!(bad.parse::<FunctionName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_revision_reads_back() {
        let id: RevisionId = "hello@3".parse().unwrap();
        assert_eq!((id.function.as_str(), id.number, id.to_string().as_str()), ("hello", 3, "hello@3"));
        for bad in ["hello", "hello@", "hello@0", "hello@x", "@1", "H@1"] {
            assert!(bad.parse::<RevisionId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_digest_is_sha256_in_hex() {
        let digest = Digest::from_sha256(&[0xab; 32]);
        assert_eq!(digest.hex(), "ab".repeat(32));
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!("sha256:12".parse::<Digest>().is_err());
        assert!(format!("sha256:{}", "../".repeat(21) + "a").parse::<Digest>().is_err());
    }
}
