//! A tenant: who owns functions, and what they may do together.

use crate::{edge::Tempo, id::TenantName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most tenants of a platform, besides `default`: it bounds the metrics that have their names.
pub const TENANTS_MAX: usize = 1000;

/// What a tenant's functions may do together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantLimits {
    /// Most calls at once, in flight and waiting; 0 stops all its functions. `None` is no limit.
    #[serde(default)]
    pub calls_max: Option<u32>,
    /// Most calls in a time. `None` is no limit.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "1000/s")]
    pub rate: Option<Tempo>,
}

impl TenantLimits {
    /// Where this says nothing, what `other` says: the limits of `default`, over the options of the platform.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { calls_max: self.calls_max.or(other.calls_max), rate: self.rate.or(other.rate) }
    }
}

/// A tenant with the limits that hold now, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tenant {
    #[schema(value_type = String, example = "acme")]
    pub name: TenantName,
    #[serde(default)]
    pub calls_max: Option<u32>,
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "1000/s")]
    pub rate: Option<Tempo>,
    /// How many functions it owns.
    pub functions: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TenantList {
    /// By name; `default` is always there.
    pub tenants: Vec<Tenant>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_record_goes_before_the_options_field_by_field() {
        let rate: Option<Tempo> = Some("5/s".parse().unwrap());
        let limits = |calls_max, rate| TenantLimits { calls_max, rate };
        for (record, options, holds) in [
            (limits(None, None), limits(Some(9), rate), limits(Some(9), rate)),
            (limits(Some(0), None), limits(Some(9), rate), limits(Some(0), rate)),
            (limits(Some(7), rate), limits(None, None), limits(Some(7), rate)),
        ] {
            assert_eq!(record.or(options), holds);
        }
    }

    #[test]
    fn the_default_tenant_is_not_written() {
        let function = r#"{"name":"a","created":"2026-01-01T00:00:00.000Z","updated":"2026-01-01T00:00:00.000Z"}"#;
        let old: crate::Function = serde_json::from_str(function).unwrap();
        assert!(old.tenant.is_default());
        assert_eq!(serde_json::to_string(&old).unwrap(), function);
        let acme = crate::Function { tenant: "acme".parse().unwrap(), ..old };
        let read: crate::Function = serde_json::from_str(&serde_json::to_string(&acme).unwrap()).unwrap();
        assert_eq!(read, acme);
    }
}
