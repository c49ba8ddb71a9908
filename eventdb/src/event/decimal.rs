//! Decimal numbers as text, and which of them both DynamoDB and a JSON number can hold exactly.

use serde_json::Number;

use crate::schema::limit;

/// Which numbers both layouts store, for messages.
pub(crate) const NUMBER_RULE: &str = "it must be a whole number of 64 bits or a double, with at most 38 digits and a magnitude from \
     1e-130 to 9.99e125";

/// A number as `0.{digits} × 10^exponent`, without leading or trailing zeros, so that equal numbers
/// compare equal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// Reads numbers as JSON and DynamoDB write them: `-12`, `0.5`, `1e-7`, `1.5E+30`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits = format!("{whole}{fraction}");
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let leading_zeros = digits.len() - digits.trim_start_matches('0').len();
        digits.drain(..leading_zeros);
        digits.truncate(digits.trim_end_matches('0').len());
        if digits.is_empty() {
            return Some(Self { negative: false, digits, exponent: 0 });
        }
        let position = i64::try_from(whole.len()).ok()? - i64::try_from(leading_zeros).ok()?;
        Some(Self { negative, digits, exponent: exponent.checked_add(position)? })
    }

    /// Whether DynamoDB stores the number without rounding: it has at most 38 digits and a magnitude
    /// from 1E-130 to 9.99…E+125.
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html#HowItWorks.DataTypes.Number>
    fn fits_dynamodb(&self) -> bool {
        self.digits.is_empty()
            || (self.digits.len() <= limit::NUMBER_DIGITS && (-129..=126).contains(&self.exponent))
    }

    /// Bytes that the number takes in an item: one for every two digits before the point, one for
    /// every two digits after it, one more, and one for a minus sign.
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>
    pub(crate) fn size(&self) -> usize {
        let whole = usize::try_from(self.exponent).unwrap_or(0).min(self.digits.len());
        let fraction = self.digits.len() - whole;
        whole.div_ceil(2) + fraction.div_ceil(2) + 1 + usize::from(self.negative)
    }
}

/// The JSON number that equals the decimal text exactly, or `None` if there is none. JSON numbers
/// here are whole numbers of 64 bits, and fractions of about 17 digits at most.
pub(crate) fn to_json(text: &str) -> Option<Number> {
    // The fast path: nearly all numbers, including every time and revision.
    if let Ok(whole) = text.parse::<i64>() {
        return Some(whole.into());
    }
    let decimal = Decimal::parse(text)?;
    let number = whole(&decimal).or_else(|| Number::from_f64(text.parse().ok()?))?;
    (Decimal::parse(&number.to_string())? == decimal).then_some(number)
}

/// The text that DynamoDB stores for a JSON number, or `None` if DynamoDB can't hold the number
/// exactly or reading it back would give a different number.
pub(crate) fn from_json(number: &Number) -> Option<String> {
    let text = number.to_string();
    let decimal = Decimal::parse(&text)?;
    if !decimal.fits_dynamodb() {
        return None;
    }
    to_json(&text).map(|number| number.to_string())
}

/// Replaces every number of a payload by the one that will be read back: `1.0` becomes `1`.
pub(crate) fn make_canonical(value: &mut serde_json::Value) {
    make_canonical_within(value, limit::NESTING_LEVELS);
}

/// A payload that is nested deeper than `levels` can't be stored anyway.
fn make_canonical_within(value: &mut serde_json::Value, levels: usize) {
    use serde_json::Value;
    let Some(levels) = levels.checked_sub(1) else { return };
    let of_member = |value: &mut Value| make_canonical_within(value, levels);
    match value {
        Value::Number(number) => {
            if let Some(canonical) = to_json(&number.to_string()) {
                *number = canonical;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(of_member),
        Value::Object(object) => object.values_mut().for_each(of_member),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn whole(decimal: &Decimal) -> Option<Number> {
    if decimal.digits.is_empty() {
        return Some(Number::from(0));
    }
    let length = i64::try_from(decimal.digits.len()).ok()?;
    // Every u64 has at most 20 digits.
    if decimal.exponent < length || decimal.exponent > 20 {
        return None;
    }
    let zeros = usize::try_from(decimal.exponent - length).ok()?;
    let text = format!(
        "{}{}{}",
        if decimal.negative { "-" } else { "" },
        decimal.digits,
        "0".repeat(zeros)
    );
    text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(json: &str) -> Option<String> {
        from_json(&serde_json::from_str(json).expect("test input"))
    }

    #[test]
    fn numbers_are_written_as_they_will_be_read_back() {
        for (json, text) in [
            ("0", "0"),
            ("-0.0", "0"),
            ("1.0", "1"),
            ("1e3", "1000"),
            ("-12.50", "-12.5"),
            ("9223372036854775807", "9223372036854775807"),
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("0.1", "0.1"),
        ] {
            assert_eq!(stored(json).as_deref(), Some(text), "{json}");
        }
    }

    #[test]
    fn the_range_of_dynamodb_is_kept_at_its_edges() {
        assert!(stored("9.99e125").is_some());
        assert!(stored("1e126").is_none());
        assert!(stored("1e-130").is_some());
        assert!(stored("9e-131").is_none());
        assert!(stored("1.7976931348623157e308").is_none());
    }

    #[test]
    fn a_stored_number_with_more_digits_than_json_holds_is_not_rounded() {
        assert_eq!(to_json("12345678901234567890123"), None);
        assert_eq!(to_json("0.10000000000000000555"), None);
        assert_eq!(to_json("1E+2"), Some(Number::from(100)));
        assert_eq!(to_json("0.0000001"), Number::from_f64(1e-7));
    }

    #[test]
    fn text_that_is_not_a_number_is_not_read() {
        for text in ["", "-", ".", "1.2.3", "1e", "e1", "NaN", "１", "1e99999999999999999999"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
            assert_eq!(to_json(text), None, "{text}");
        }
        assert_eq!(to_json("1e9223372036854775807"), None);
    }

    proptest::proptest! {
        #[test]
        fn every_double_in_range_comes_back_exactly(value in proptest::num::f64::NORMAL) {
            let number = Number::from_f64(value).expect("finite");
            if let Some(text) = from_json(&number) {
                let back = to_json(&text).expect("readable");
                proptest::prop_assert_eq!(back.as_f64(), Some(value));
            } else {
                proptest::prop_assert!(value.abs() >= 1e126 || value.abs() < 1e-130);
            }
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".*") {
            let _ = to_json(&text);
        }
    }
}
