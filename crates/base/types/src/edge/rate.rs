//! `[rate]`: how often a function may be called, in all and by each of its callers.

use crate::unit::Millis;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use utoipa::ToSchema;

/// Kinds of callers that one function counts.
const EACH_MAX: usize = 4;
const COUNT_MAX: u32 = 1_000_000;

/// So many in so much time: `100/s`, `30/m`, `1000/h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tempo {
    pub count: u32,
    pub per: Millis,
}

impl FromStr for Tempo {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is no rate: write a number and a time, as 100/s, 30/m or 1000/h");
        let (count, per) = text.split_once('/').ok_or_else(bad)?;
        let per = match per {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(bad()),
        };
        let count = count.parse().ok().filter(|count| (1..=COUNT_MAX).contains(count)).ok_or_else(bad)?;
        Ok(Self { count, per: Millis::secs(per) })
    }
}
impl TryFrom<String> for Tempo {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
impl From<Tempo> for String {
    fn from(tempo: Tempo) -> Self {
        tempo.to_string()
    }
}
impl fmt::Display for Tempo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = match self.per.0 {
            60_000 => 'm',
            3_600_000 => 'h',
            _ => 's',
        };
        write!(f, "{}/{per}", self.count)
    }
}

impl Tempo {
    /// What may come at once where nothing is said: a second's worth, at least one.
    pub fn usual_burst(self) -> u32 {
        let second = u64::from(self.count) * 1000 / self.per.0.max(1);
        u32::try_from(second).unwrap_or(u32::MAX).max(1)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Of all calls of the function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "500/s")]
    pub limit: Option<Tempo>,
    /// What may come at once; a second's worth where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Of each caller.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub each: Vec<Each>,
}

/// What tells callers apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum By {
    /// The client's address; of IPv6 its /64.
    Ip,
    /// A header of the request, in lower case.
    Header(String),
    /// The API key that the call was let in for.
    Key,
    /// A claim of the token that the call was let in for.
    Claim(String),
}

impl TryFrom<String> for By {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "ip" => Ok(Self::Ip),
            None if text == "key" => Ok(Self::Key),
            Some(("claim", name))
                if !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') =>
            {
                Ok(Self::Claim(name.to_owned()))
            }
            Some(("header", name)) if name.parse::<http::HeaderName>().is_ok() => {
                Ok(Self::Header(name.to_ascii_lowercase()))
            }
            _ => Err(format!("`{text}` tells nobody apart: write ip, key, claim:NAME or header:NAME")),
        }
    }
}
impl From<By> for String {
    fn from(by: By) -> Self {
        match by {
            By::Ip => "ip".to_owned(),
            By::Header(name) => format!("header:{name}"),
            By::Key => "key".to_owned(),
            By::Claim(name) => format!("claim:{name}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Each {
    #[schema(value_type = String, example = "ip")]
    pub by: By,
    #[schema(value_type = String, example = "10/s")]
    pub limit: Tempo,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

impl Each {
    pub fn burst(&self) -> u32 {
        self.burst.unwrap_or_else(|| self.limit.usual_burst())
    }
}

impl Rate {
    /// The limit of all calls with its burst.
    pub fn all(&self) -> Option<(Tempo, u32)> {
        self.limit.map(|limit| (limit, self.burst.unwrap_or_else(|| limit.usual_burst())))
    }

    /// # Errors
    /// The key and what is wrong with it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.limit.is_none() && self.each.is_empty() {
            return Err(("rate", "it limits nothing: give `limit`, or `[[rate.each]]`".to_owned()));
        }
        if self.limit.is_none() && self.burst.is_some() {
            return Err(("rate.burst", "it belongs to `limit`, which is not there".to_owned()));
        }
        if self.each.len() > EACH_MAX {
            return Err(("rate.each", format!("at most {EACH_MAX}")));
        }
        let bursts = self.each.iter().map(|each| each.burst).chain([self.burst]);
        if bursts.flatten().any(|burst| !(1..=COUNT_MAX).contains(&burst)) {
            return Err(("rate.burst", format!("outside 1 to {COUNT_MAX}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tempo_reads_back() {
        for (text, count, per, burst) in [("100/s", 100, 1, 100), ("30/m", 30, 60, 1), ("7200/h", 7200, 3600, 2)] {
            let tempo: Tempo = text.parse().unwrap();
            assert_eq!((tempo.count, tempo.per, tempo.usual_burst()), (count, Millis::secs(per), burst));
            assert_eq!(tempo.to_string(), text);
        }
        for bad in ["", "1", "0/s", "1/d", "/s", "-1/s", "1000001/s", "1.5/s"] {
            assert!(bad.parse::<Tempo>().is_err(), "{bad}");
        }
    }
}
