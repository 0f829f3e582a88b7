//! Durations as Kubernetes APIs write them (GEP-2257). Pure.

use std::{fmt, time};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What GEP-2257 allows; the CRD checks it, `parse` checks it again.
const PATTERN: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";
/// Longest string that fits the pattern: four times five digits and two letters.
const MAX_LENGTH: usize = 28;
/// Most components.
const MAX_COMPONENTS: usize = 4;
/// Most digits of a component.
const MAX_DIGITS: usize = 5;

/// A duration such as `30s`, `1m30s` or `1h`: whole numbers of at most five digits, each with the unit `h`, `m`, `s` or
/// `ms`, at most four of them (GEP-2257).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Duration(pub String);

/// A string is no GEP-2257 duration.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "not a duration such as 30s, 1m30s or 500ms: whole numbers of at most five digits with h, m, s or ms, at most four of them"
)]
pub struct InvalidDuration;

impl Duration {
    /// The time that the string says.
    pub fn parse(&self) -> Result<time::Duration, InvalidDuration> {
        let mut rest = self.0.as_str();
        let mut total = time::Duration::ZERO;
        for _ in 0..MAX_COMPONENTS {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            if digits > MAX_DIGITS {
                return Err(InvalidDuration);
            }
            let number: u64 = number.parse().map_err(|_| InvalidDuration)?;
            // `ms` first: it begins like `m`.
            let (millis, tail) = if let Some(tail) = tail.strip_prefix("ms") {
                (1, tail)
            } else if let Some(tail) = tail.strip_prefix('s') {
                (1_000, tail)
            } else if let Some(tail) = tail.strip_prefix('m') {
                (60_000, tail)
            } else if let Some(tail) = tail.strip_prefix('h') {
                (3_600_000, tail)
            } else {
                return Err(InvalidDuration);
            };
            // Five digits of hours, four times, are far from an overflow.
            total += time::Duration::from_millis(number * millis);
            if tail.is_empty() {
                return Ok(total);
            }
            rest = tail;
        }
        Err(InvalidDuration)
    }
}

/// The shortest form, `1m30s`. What is below a millisecond is dropped; more than 99999 hours become 99999 hours and the
/// rest that fits, which GEP-2257 can say.
impl From<time::Duration> for Duration {
    fn from(duration: time::Duration) -> Self {
        const LONGEST: u128 = 99_999 * 3_600_000 + 3_599_999;
        let millis = duration.as_millis().min(LONGEST);
        let parts = [
            (millis / 3_600_000, "h"),
            (millis / 60_000 % 60, "m"),
            (millis / 1_000 % 60, "s"),
            (millis % 1_000, "ms"),
        ];
        let mut text = String::new();
        for (number, unit) in parts.into_iter().filter(|(number, _)| *number > 0) {
            text.push_str(&number.to_string());
            text.push_str(unit);
        }
        if text.is_empty() {
            text.push_str("0s");
        }
        Self(text)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": MAX_LENGTH, "pattern": PATTERN })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<u128> {
        Duration(text.to_owned())
            .parse()
            .ok()
            .map(|duration| duration.as_millis())
    }

    #[test]
    fn parses_what_gep_2257_allows() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("1h", 3_600_000),
            ("1h2m3s4ms", 3_723_004),
            ("4ms3s2m1h", 3_723_004),
            ("1s1s", 2_000),
            ("00010s", 10_000),
            ("99999h99999h99999h99999h", 4 * 99_999 * 3_600_000),
        ] {
            assert_eq!(parse(text), Some(millis), "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "5",
            "s",
            "1d",
            "-1s",
            "+1s",
            "1.5s",
            "1 s",
            " 1s",
            "1s ",
            "1h1m1s1ms1s",
            "100000s",
            "1us",
            "1S",
            "1msx",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn formats_the_shortest_form() {
        for (millis, text) in [
            (0, "0s"),
            (1, "1ms"),
            (90_000, "1m30s"),
            (3_600_000, "1h"),
            (3_600_500, "1h500ms"),
            (90_061_001, "25h1m1s1ms"),
        ] {
            assert_eq!(Duration::from(time::Duration::from_millis(millis)).0, text);
        }
        assert_eq!(Duration::from(time::Duration::from_micros(999)).0, "0s");
        assert_eq!(Duration::from(time::Duration::MAX).0, "99999h59m59s999ms");
    }

    proptest::proptest! {
        #[test]
        fn what_is_formatted_parses_to_the_same(millis in 0u64..99_999 * 3_600_000) {
            let duration = time::Duration::from_millis(millis);
            proptest::prop_assert_eq!(Duration::from(duration).parse(), Ok(duration));
        }
    }
}
