//! `[tunnel]`: how long a connection that changed its protocol (a WebSocket) may stay.

use crate::unit::Millis;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A day, as the peers that have a limit have it at most.
const TIMEOUT_MAX: Millis = Millis::secs(24 * 3600);
const IDLE_MAX: Millis = Millis::secs(24 * 3600);

/// Limits of a tunnel. What is left out stays out of the spec, so that a revision keeps its identity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Tunnel {
    /// Of one tunnel from the switch on, at most `24h`; without it, the function's `timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "2h")]
    pub timeout: Option<Millis>,
    /// A tunnel through which nothing went for so long is ended; without it, none is for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "5m")]
    pub idle: Option<Millis>,
}

impl Tunnel {
    /// What is wrong with it, as key and sentence.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        for (key, value, max) in [("tunnel.timeout", self.timeout, TIMEOUT_MAX), ("tunnel.idle", self.idle, IDLE_MAX)] {
            if let Some(value) = value
                && (value.0 == 0 || value > max)
            {
                return Err((key, format!("{value} is outside 1ms to {max}")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::{Manifest, Millis};

    #[test]
    fn limits_of_tunnels_are_read_and_checked() {
        let parse = |table: &str| {
            Manifest::parse(&format!("name = 'a'\nruntime = 'nodejs'\ncontract = 'http'\ntimeout = '5s'\n{table}"))
        };
        for (table, want, longest) in [
            ("", None, 5),
            ("[tunnel]\nidle = '1m'", None, 5),
            ("[tunnel]\ntimeout = '2h'", Some(Millis::secs(7200)), 7200),
            ("[tunnel]\ntimeout = '1s'", Some(Millis::secs(1)), 5),
        ] {
            let spec = parse(table).unwrap().spec();
            assert_eq!(spec.tunnel.and_then(|tunnel| tunnel.timeout), want, "{table}");
            assert_eq!(spec.call_max(), Millis::secs(longest), "{table}");
        }
        assert!(!serde_json::to_string(&parse("").unwrap().spec()).unwrap().contains("tunnel"));
        for (table, part) in [
            ("[tunnel]\ntimeout = '25h'", "tunnel.timeout"),
            ("[tunnel]\nidle = '0s'", "tunnel.idle"),
            ("[tunnel]\nidel = '1s'", "idel"),
        ] {
            let fault = parse(table).unwrap_err();
            assert!(fault.detail.contains(part), "{table}: {fault}");
        }
        let handler = Manifest::parse("name = 'a'\nruntime = 'nodejs'\n[tunnel]\nidle = '1m'").unwrap_err();
        assert!(handler.detail.contains("contract `http`"), "{handler}");
    }
}
