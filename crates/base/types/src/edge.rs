//! What the gateway does for a function before and after its calls: who may call, how often, and from which
//! web pages. A part of the spec; a function without any of it pays nothing for it.

pub mod access;
pub mod compress;
pub mod cors;
pub mod jwt;
pub mod rate;

pub use access::{Access, Auth, Texts};
pub use compress::{Compress, Http};
pub use cors::Cors;
pub use jwt::{Algorithm, Jwt};
pub use rate::{By, Each, Rate, Tempo};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The tables of the manifest, as far as it has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Edge {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compress: Option<Compress>,
}

impl Edge {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// # Errors
    /// The key and what is wrong with it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if let Some(access) = &self.access {
            access.check()?;
        }
        if let Some(rate) = &self.rate {
            rate.check()?;
            self.check_callers(rate)?;
        }
        if let Some(cors) = &self.cors {
            cors.check()?;
        }
        match &self.compress {
            Some(compress) => compress.check(),
            None => Ok(()),
        }
    }

    /// A limit by what callers do not have to show would put all of them into one bucket.
    fn check_callers(&self, rate: &Rate) -> Result<(), (&'static str, String)> {
        let auth = self.access.as_ref().map_or(Auth::Public, |access| access.auth);
        for each in &rate.each {
            let needs = match &each.by {
                By::Key if auth != Auth::Key => "key",
                By::Claim(_) if auth != Auth::Jwt => "jwt",
                By::Ip | By::Header(_) | By::Key | By::Claim(_) => continue,
            };
            let by = String::from(each.by.clone());
            return Err(("rate.each", format!("by `{by}` needs [access] with auth `{needs}`")));
        }
        Ok(())
    }
}
