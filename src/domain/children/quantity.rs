//! Equality of quantities: `100m` and `0.1`, `1` and `1000m`. Pure.
//!
//! The format is the one of `k8s.io/apimachinery/pkg/api/resource`: a decimal number and a suffix, decimal (`n` to `E`),
//! binary (`Ki` to `Ei`) or an exponent.

use serde_json::Value;

/// Whether two values are the same quantity; values that aren't quantities are compared as they are.
#[must_use]
pub(super) fn equal(one: &Value, other: &Value) -> bool {
    match (nano(one), nano(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// The quantity in units of 10⁻⁹, the API's finest, rounded up as the API does; `None`: not a quantity, or beyond the
/// 2⁶³ that the API can hold.
fn nano(value: &Value) -> Option<i128> {
    match value {
        Value::String(text) => parse(text),
        Value::Number(number) => parse(&number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn parse(text: &str) -> Option<i128> {
    let text = text.trim();
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    // number × 10^exponent × factor, in units of 10⁻⁹.
    let (exponent, factor) = scale(suffix)?;
    let mantissa: i128 = format!("0{whole}{fraction}").parse().ok()?;
    let power = exponent + 9 - i32::try_from(fraction.len()).ok()?;
    let product = mantissa.checked_mul(factor)?;
    let ten = 10_i128;
    let nano = if let Ok(power) = u32::try_from(power) {
        product.checked_mul(ten.checked_pow(power)?)?
    } else {
        let divisor = ten.checked_pow(power.unsigned_abs())?;
        product / divisor + i128::from(product % divisor != 0)
    };
    Some(if negative { -nano } else { nano })
}

/// Power of ten and binary factor of a suffix.
fn scale(suffix: &str) -> Option<(i32, i128)> {
    let binary = |power: u32| Some((0, 1_i128 << (10 * power)));
    match suffix {
        "n" => Some((-9, 1)),
        "u" => Some((-6, 1)),
        "m" => Some((-3, 1)),
        "" => Some((0, 1)),
        "k" => Some((3, 1)),
        "M" => Some((6, 1)),
        "G" => Some((9, 1)),
        "T" => Some((12, 1)),
        "P" => Some((15, 1)),
        "E" => Some((18, 1)),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        // Bounded, for a hostile exponent must not make the power overflow.
        exponent => exponent
            .strip_prefix(['e', 'E'])?
            .parse()
            .ok()
            .filter(|e| (-30..=30).contains(e))
            .map(|e| (e, 1)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_same_quantity_is_equal_however_it_is_written() {
        for (one, other) in [
            (json!("100m"), json!("0.1")),
            (json!(1), json!("1")),
            (json!("1000m"), json!(1)),
            (json!(0.5), json!("500m")),
            (json!("1Gi"), json!("1024Mi")),
            (json!("1e3"), json!("1k")),
            (json!("1E3"), json!("1k")),
            (json!("1.5Gi"), json!("1536Mi")),
            (json!(".5"), json!("500m")),
            (json!("0.1n"), json!("1n")),
            (json!("+1"), json!("1")),
            (json!("-1"), json!("-1000m")),
            (json!("1E"), json!("1000P")),
            (json!(134_217_728), json!("128Mi")),
        ] {
            assert!(equal(&one, &other), "{one} {other}");
        }
    }

    #[test]
    fn other_values_are_not() {
        for (one, other) in [
            (json!("100m"), json!("0.2")),
            (json!("1G"), json!("1Gi")),
            (json!("1"), json!(null)),
            (json!("1x"), json!("1")),
            (json!("."), json!("0")),
            (json!("1.2.3"), json!("1.23")),
            (json!("1e999999999"), json!("1")),
        ] {
            assert!(!equal(&one, &other), "{one} {other}");
        }
    }
}
