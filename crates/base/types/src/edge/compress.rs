//! `[http]`: what the gateway does to answers on their way out. `compress = true`, or a table.

use crate::unit::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Below this the head outweighs what is saved, and a packet is sent either way (an Ethernet frame has 1,460 bytes of it).
const MIN: Bytes = Bytes::kib(1);
const MIN_MAX: Bytes = Bytes::mib(16);

/// The manifest's table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    #[serde(default, skip_serializing_if = "Option::is_none", with = "switch")]
    pub compress: Option<Compress>,
}

/// Answers of text-like types are compressed where the client takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Compress {
    /// Answers that are known to be shorter go as they are.
    #[serde(default = "Compress::usual_min")]
    #[schema(value_type = String, example = "1KiB")]
    pub min: Bytes,
}

impl Compress {
    const fn usual_min() -> Bytes {
        MIN
    }

    /// # Errors
    /// The key and what is wrong with it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        match self.min > MIN_MAX {
            true => Err(("http.compress.min", format!("{} is over {MIN_MAX}", self.min))),
            false => Ok(()),
        }
    }
}

/// `true`, `false` or the table.
mod switch {
    use super::Compress;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected true, false or a table as { min = \"1KiB\" }")]
    enum Switch {
        On(bool),
        Table(Compress),
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Compress>, D::Error> {
        Ok(match Switch::deserialize(deserializer)? {
            Switch::On(on) => on.then_some(Compress { min: Compress::usual_min() }),
            Switch::Table(table) => Some(table),
        })
    }

    pub fn serialize<S: Serializer>(compress: &Option<Compress>, serializer: S) -> Result<S::Ok, S::Error> {
        compress.serialize(serializer)
    }
}
