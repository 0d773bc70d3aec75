//! Units that a person can write: `256MiB`, `30s`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr, time::Duration};

/// Why a text is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("`{0}` is no size: write a number with its unit, as 256MiB (B, KiB, MiB, GiB, kB, MB, GB)")]
    Bytes(String),
    #[error("`{0}` is no duration: write a number with its unit, as 30s (ms, s, m, h)")]
    Duration(String),
}

/// A number of bytes. Written as `256MiB`; a bare number is refused, because its unit would be a guess.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub u64);

impl Bytes {
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }
}

const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl FromStr for Bytes {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::Bytes(text.to_owned());
        let (number, factor) =
            SIZES.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor))).ok_or_else(bad)?;
        let number: u64 = number.trim_end().parse().map_err(|_| bad())?;
        number.checked_mul(factor).map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = SIZES[..3]
            .iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor))
            .unwrap_or(&SIZES[6]);
        write!(f, "{}{unit}", self.0 / factor)
    }
}
impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A duration in whole milliseconds. Written as `30s`, `1m 30s`, `500ms`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

impl Millis {
    pub const fn secs(n: u64) -> Self {
        Self(n * 1000)
    }
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}
impl From<Duration> for Millis {
    fn from(d: Duration) -> Self {
        Self(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }
}
impl FromStr for Millis {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        // humantime reads a bare 0 as a duration; here each number has its unit.
        let has_unit = text.chars().any(|c| c.is_ascii_alphabetic());
        match humantime::parse_duration(text) {
            Ok(d) if has_unit => Ok(d.into()),
            _ => Err(Error::Duration(text.to_owned())),
        }
    }
}
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", humantime::format_duration(self.duration()))
    }
}
impl fmt::Debug for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A point in time: milliseconds since 1970-01-01T00:00:00Z. Written as RFC 3339.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = std::time::UNIX_EPOCH + Duration::from_millis(self.0.min(253_402_300_799_000));
        write!(f, "{}", humantime::format_rfc3339_millis(time))
    }
}
impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
impl From<std::time::SystemTime> for Timestamp {
    fn from(time: std::time::SystemTime) -> Self {
        Self(time.duration_since(std::time::UNIX_EPOCH).map_or(0, |d| Millis::from(d).0))
    }
}
impl FromStr for Timestamp {
    type Err = humantime::TimestampError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_rfc3339_weak(text).map(Self::from)
    }
}

macro_rules! as_text {
    ($name:ident, $what:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($what)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                d.deserialize_str(Visitor)
            }
        }
    };
}
as_text!(Bytes, "a size with its unit in quotes, as \"256MiB\"");
as_text!(Millis, "a duration with its unit in quotes, as \"30s\"");
as_text!(Timestamp, "a time as RFC 3339 writes it");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_write() {
        for (text, bytes, back) in [
            ("256MiB", 256 << 20, "256MiB"),
            ("1GiB", 1 << 30, "1GiB"),
            ("6MB", 6_000_000, "6000000B"),
            ("1536 KiB", 1536 << 10, "1536KiB"),
            ("0B", 0, "0B"),
        ] {
            let size: Bytes = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, back), "{text}");
        }
        for bad in ["256", "256Mi", "MiB", "-1MiB", "1.5GiB", "99999999999GiB", ""] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_read_and_write() {
        for (text, ms, back) in [("30s", 30_000, "30s"), ("90s", 90_000, "1m 30s"), ("500ms", 500, "500ms")] {
            let d: Millis = text.parse().unwrap();
            assert_eq!((d.0, d.to_string().as_str()), (ms, back));
        }
        for bad in ["30", "0", "s", "-1s", "30 parsecs", ""] {
            assert!(bad.parse::<Millis>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_reads_back() {
        let t = Timestamp(1_790_000_000_123);
        assert_eq!(t.to_string().parse::<Timestamp>().unwrap(), t);
    }
}
