//! What the gateway does for a function before and after its calls: who may call, how often, and from which
//! web pages. A part of the spec; a function without any of it pays nothing for it.

pub mod access;
pub mod cors;
pub mod rate;

pub use access::{Access, Auth, Texts};
pub use cors::Cors;
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
        }
        if let Some(cors) = &self.cors {
            cors.check()?;
        }
        Ok(())
    }
}
