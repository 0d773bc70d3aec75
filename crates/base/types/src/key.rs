//! API keys: who may call functions with `[access] auth = "key"`. The key itself is shown once, when it is made; what is
//! kept is its SHA-256.

use crate::{id::FunctionName, unit::Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What every key begins with, so that people and scanners know one when they see it.
pub const PREFIX: &str = "mfk_";
/// The header that has the key of a call; `Authorization: Bearer` does as well.
pub const HEADER: &str = "x-api-key";

/// Longest name of a key.
pub const NAME_MAX: usize = 64;
/// Functions that one key names; who wants more gives it all of them.
pub const FUNCTIONS_MAX: usize = 100;

/// A key as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiKey {
    /// Ten hexadecimal digits, a part of the key: `mfk_ID_…`.
    #[schema(example = "0a1b2c3d4e")]
    pub id: String,
    /// Who or what has it.
    pub name: String,
    /// Functions that it opens; `null` is all, those of the future too.
    #[schema(value_type = Option<Vec<String>>)]
    pub functions: Option<Vec<FunctionName>>,
    #[schema(value_type = String)]
    pub created: Timestamp,
    /// From here on it opens nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub expires: Option<Timestamp>,
}

impl ApiKey {
    /// What may be shown of the key.
    pub fn prefix(&self) -> String {
        format!("{PREFIX}{}", self.id)
    }

    pub fn opens(&self, function: &FunctionName) -> bool {
        self.functions.as_ref().is_none_or(|functions| functions.contains(function))
    }

    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// A key to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    pub name: String,
    /// The functions that it opens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub functions: Vec<FunctionName>,
    /// It opens all functions, those of the future too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub expires: Option<Timestamp>,
}

impl KeyRequest {
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, now: Timestamp) -> Result<(), String> {
        if self.name.is_empty() || self.name.len() > NAME_MAX || self.name.chars().any(char::is_control) {
            return Err(format!("name: 1 to {NAME_MAX} printable characters are needed"));
        }
        if self.all != self.functions.is_empty() {
            return Err("functions: name at least one, or set `all`, and not both".to_owned());
        }
        if self.functions.len() > FUNCTIONS_MAX {
            return Err(format!("functions: at most {FUNCTIONS_MAX}"));
        }
        match self.expires {
            Some(expires) if expires <= now => Err(format!("expires: {expires} is over already")),
            _ => Ok(()),
        }
    }
}

/// A key that was just made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyCreated {
    #[serde(flatten)]
    pub key: ApiKey,
    /// The key itself. It is never shown again.
    pub secret: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyList {
    /// Newest first.
    pub keys: Vec<ApiKey>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_asked_for_one_way_or_the_other() {
        let now = Timestamp(1000);
        for (text, ok) in [
            (r#"{"name":"ci","all":true}"#, true),
            (r#"{"name":"ci","functions":["a","b"]}"#, true),
            (r#"{"name":"ci","functions":["a"],"all":true}"#, false),
            (r#"{"name":"ci"}"#, false),
            (r#"{"name":"","all":true}"#, false),
            (r#"{"name":"a\nb","all":true}"#, false),
            (r#"{"name":"ci","all":true,"expires":"1970-01-01T00:00:01Z"}"#, false),
            (r#"{"name":"ci","all":true,"expires":"1970-01-01T00:00:02Z"}"#, true),
        ] {
            let request: KeyRequest = serde_json::from_str(text).unwrap();
            assert_eq!(request.check(now).is_ok(), ok, "{text}");
        }
    }
}
