//! `[cors]`: which web pages may call a function from a browser (the Fetch standard's CORS protocol).

use super::access::Texts;
use crate::unit::Millis;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const ORIGINS_MAX: usize = 64;
/// Browsers keep an answer for two hours (Chromium) or a day (Firefox) at most.
const MAX_AGE_MAX: Millis = Millis::secs(86_400);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Cors {
    /// `https://app.example.com`, `https://*.example.com` for all below it, or `*` for every page.
    pub origins: Texts,
    /// Methods that a page may use; without it those of REST.
    #[serde(default = "Cors::usual_methods")]
    pub methods: Vec<String>,
    /// Headers that a page may send; `*` is every one.
    #[serde(default = "Cors::every")]
    pub headers: Vec<String>,
    /// Headers of the answer that a page may read, besides the harmless ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expose: Vec<String>,
    /// The browser sends cookies and shows the page the answer.
    #[serde(default)]
    pub credentials: bool,
    /// How long a browser may remember what it was allowed.
    #[serde(default = "Cors::usual_age")]
    #[schema(value_type = String, example = "10m")]
    pub max_age: Millis,
}

impl Cors {
    fn usual_methods() -> Vec<String> {
        ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"].map(str::to_owned).into()
    }
    fn every() -> Vec<String> {
        vec!["*".to_owned()]
    }
    const fn usual_age() -> Millis {
        Millis::secs(600)
    }

    /// # Errors
    /// The key and what is wrong with it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let origins = &self.origins.0;
        if origins.is_empty() || origins.len() > ORIGINS_MAX {
            return Err(("cors.origins", format!("1 to {ORIGINS_MAX} are needed")));
        }
        for origin in origins {
            if origin != "*" && !is_origin(origin) {
                let how = "write https://app.example.com, without a path, or *";
                return Err(("cors.origins", format!("`{origin}` is no origin: {how}")));
            }
        }
        if self.credentials && origins.iter().any(|origin| origin == "*") {
            let why = "every page on the web could act as its visitor here: name the origins";
            return Err(("cors.credentials", why.to_owned()));
        }
        if let Some(method) = self.methods.iter().find(|method| !is_token(method)) {
            return Err(("cors.methods", format!("`{method}` is no method")));
        }
        if let Some(name) = self.headers.iter().chain(&self.expose).find(|name| !is_token(name)) {
            return Err(("cors.headers", format!("`{name}` is no header's name")));
        }
        match self.max_age > MAX_AGE_MAX {
            true => Err(("cors.max_age", format!("{} is over {MAX_AGE_MAX}", self.max_age))),
            false => Ok(()),
        }
    }
}

fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let name = host.strip_prefix("*.").unwrap_or(host);
    matches!(scheme, "https" | "http")
        && !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b':' | b'[' | b']'))
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
