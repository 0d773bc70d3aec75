//! What the platform did about a function by itself, told to people: in the log and in `mayfly describe`.

use crate::{
    id::{InstanceId, RevisionId},
    unit::Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    /// An instance was much worse than its siblings and is replaced.
    Ejected,
    /// A call overran on an instance or it died: it is replaced.
    Replaced,
    CircuitOpened,
    CircuitClosed,
    /// An instance was started by the dispatcher, because the fleet was silent.
    EmergencyStart,
    CanaryStep,
    CanaryDone,
    /// Somebody moved the alias by hand meanwhile.
    CanaryEnded,
    RolledBack,
}

impl Happening {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ejected => "ejected",
            Self::Replaced => "replaced",
            Self::CircuitOpened => "circuit opened",
            Self::CircuitClosed => "circuit closed",
            Self::EmergencyStart => "emergency start",
            Self::CanaryStep => "canary",
            Self::CanaryDone => "canary done",
            Self::CanaryEnded => "canary ended",
            Self::RolledBack => "rolled back",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    #[schema(value_type = String)]
    pub time: Timestamp,
    #[schema(value_type = String, example = "hello@3")]
    pub revision: RevisionId,
    #[schema(value_type = Option<String>)]
    pub instance: Option<InstanceId>,
    pub what: Happening,
    /// Why: one sentence.
    pub text: String,
}
