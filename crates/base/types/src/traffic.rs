//! `[traffic]` of a manifest: how calls are spread over revisions and instances.

use crate::{
    fault::{Code, Fault},
    unit::Millis,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Hedging sooner than this doubles the load of every function; later than this nobody waits for it.
const HEDGE_MIN: Millis = Millis(1);
const HEDGE_MAX: Millis = Millis::secs(60);
const NAME_MAX: usize = 64;

/// How calls are spread.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// Between the two revisions of an alias: callers with the same value of this get the same revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// A caller that keeps cookies stays with its instance, while that is there and has a free slot.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub affinity: bool,
    /// `GET` and `HEAD` without an answer after this long are sent to a second instance too; the first answer counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "50ms")]
    pub hedge: Option<Millis>,
}

/// Where the value is that a caller sticks by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Sticky {
    Header(String),
    Cookie(String),
}

impl Traffic {
    /// # Errors
    /// `manifest_invalid`.
    pub fn check(&self) -> Result<(), Fault> {
        let invalid =
            |key: &str, detail: String| Err(Fault::new(Code::ManifestInvalid, format!("traffic.{key}: {detail}")));
        if let Some(Sticky::Header(name) | Sticky::Cookie(name)) = &self.sticky
            && !is_token(name)
        {
            return invalid(
                "sticky",
                format!("`{name}` is no name of a header or cookie: 1 to {NAME_MAX} of A-Z, a-z, 0-9, '-' and '_'"),
            );
        }
        match self.hedge {
            Some(hedge) if !(HEDGE_MIN..=HEDGE_MAX).contains(&hedge) => {
                invalid("hedge", format!("{hedge} is outside {HEDGE_MIN} to {HEDGE_MAX}"))
            }
            _ => Ok(()),
        }
    }
}

/// A part of RFC 9110's `token` that is a header's and a cookie's name alike.
fn is_token(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_checked() {
        for (text, fault) in [
            ("", None),
            ("sticky = { header = 'x-user' }", None),
            ("sticky = { cookie = 'session' }\naffinity = true\nhedge = '50ms'", None),
            ("sticky = { header = 'x user' }", Some("x user")),
            ("hedge = '2m'", Some("outside")),
        ] {
            let traffic: Traffic = toml::from_str(text).unwrap();
            let found = traffic.check().err().map(|fault| fault.detail.into_owned());
            match (fault, found) {
                (None, None) => {}
                (Some(part), Some(detail)) if detail.contains(part) => {}
                (want, found) => panic!("{text}: {found:?}, want {want:?}"),
            }
        }
        for text in ["sticky = { ip = 'x' }", "sticky = 'x'", "affinty = true"] {
            assert!(toml::from_str::<Traffic>(text).is_err(), "{text}");
        }
    }
}
