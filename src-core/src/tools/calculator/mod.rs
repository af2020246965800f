//! The calculator: models are poor at arithmetic and at counting letters, so they write an expression and get its value.
//!
//! Two small languages, distinguished by their characters: arithmetic (`(1,234.5 + 6) / 7`) and counting text in
//! text (`'strawberry'.count('r')`). nanochat passes both to Python's `eval`, and its data sets contain the results that
//! Python prints; this is a parser that gives the same results, to the last digit, and executes nothing.
//!
//! As in nanochat, commas are removed first, also in text: `'a,b'.count(',')` counts the empty text in `ab`, which is 3.
//!
//! Python accepts a little more. Deliberately without a result here:
//! - what is not a number: `()`, `...`, and text alone such as `'.count('`;
//! - other methods and attributes, `'Aa'.lower().count('a')`, `'a'.count('a').real`;
//! - words, `'a'.count('a') or 5`, and prefixed text, `b'a'.count(b'a')`;
//! - expressions beyond [`MAX_LENGTH`] and [`MAX_DEPTH`].
//!
//! The signs `−`, `×` and `÷` are accepted here but not in nanochat.

mod arithmetic;
mod number;
mod text;

/// The longest expression, in bytes. Python rejects integers of more than 4,300 digits. No result has more characters
/// than its expression, or than the 24 of the longest float: this also bounds the numbers and the time.
pub const MAX_LENGTH: usize = 4096;

/// How deep parentheses may nest, which is how deep the parsers recurse. Python's limit is the same.
pub const MAX_DEPTH: usize = 200;

/// The value of `expression` as Python's `str` prints it, or `None` if it has none: it is in neither of the two languages,
/// divides by zero, overflows, or exceeds [`MAX_LENGTH`] or [`MAX_DEPTH`].
///
/// ```
/// use nc_core::tools::calculator::calculate;
/// assert_eq!(calculate("1,000 * (2 + 0.5)").as_deref(), Some("2500.0"));
/// assert_eq!(calculate("'strawberry'.count('r')").as_deref(), Some("3"));
/// assert_eq!(calculate("1 / 0"), None);
/// ```
pub fn calculate(expression: &str) -> Option<String> {
    if expression.len() > MAX_LENGTH {
        return None;
    }
    let expression = expression.replace(',', "");
    if expression.chars().all(arithmetic::is_allowed) {
        arithmetic::evaluate(&expression).map(|number| number.to_string())
    } else {
        text::evaluate(&expression).map(|count| count.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    /// Asserts that each of `expressions` has no result.
    fn assert_none(expressions: &[&str]) {
        for expression in expressions {
            assert_eq!(calculate(expression), None, "{expression}");
        }
    }

    /// Asserts the results of `cases`: expression, then result.
    fn assert_all(cases: &[(&str, &str)]) {
        for (expression, result) in cases {
            assert_eq!(calculate(expression).as_deref(), Some(*result), "{expression}");
        }
    }

    #[test]
    fn arithmetic_has_the_precedence_of_school() {
        assert_all(&[
            ("1 + 2 * 3", "7"),
            ("(1 + 2) * 3", "9"),
            ("10 - 4 - 3", "3"),
            ("100 / 10 / 5", "2.0"),
            ("7 // 2 * 2", "6"),
            ("2 * -3", "-6"),
            ("- - + -5", "-5"),
            ("-7 // 2", "-4"),
            (" ( ( 4 ) ) ", "4"),
        ]);
    }

    #[test]
    fn commas_are_dropped_wherever_they_stand() {
        assert_all(&[("1,234.5", "1234.5"), ("1,2,3 + ,1", "124"), ("(1,2)", "12"), ("'a,b'.count(',')", "3")]);
        assert_none(&["1, 2", "2*,*3", ","]);
    }

    #[test]
    fn the_signs_of_print_are_signs_too() {
        assert_all(&[("−6 × 7", "-42"), ("1 ÷ 4", "0.25")]);
        assert_none(&["7 ÷÷ 2", "2××3", "'a×b'.count('×')"]);
    }

    #[test]
    fn numbers_are_written_as_in_python() {
        assert_all(&[("1.", "1.0"), (".5", "0.5"), ("007.5", "7.5"), ("000", "0"), ("0.10", "0.1"), ("-0", "0"), ("-0.0", "-0.0")]);
        assert_none(&["007", ".", "1.2.3", "1 2", "1 .5", "1..", "1_000", "1e3", "0x1f", "١"]);
    }

    #[test]
    fn what_is_no_sum_has_no_result() {
        assert_none(&["", " ", "()", "...", "(", ")", "(1", "1)", "1 +", "* 2", "2 ** 3", "2 * * 3", "1///2", "1 / / 2", "(2)(3)", "2(3)"]);
        assert_none(&["1\t+ 1", "1\n", "1 + x", "import os", "__import__('os')", "1; 2", "1 == 1", "7 % 2"]);
    }

    #[test]
    fn text_is_counted_in_text() {
        assert_all(&[
            ("'strawberry'.count('r')", "3"),
            ("\"it's\".count(\"'\")", "1"),
            ("'aaaa'.count('aa')", "2"),
            ("'abc'.count('')", "4"),
            ("''.count('')", "1"),
            ("'abc'.count('x')", "0"),
            ("( 'abc' ) .count( ('a') )", "1"),
            ("'ab' \"ab\".count('a' 'b')", "2"),
            ("'''it's'''.count('t')", "1"),
            ("('a b'.count(' '))", "1"),
        ]);
    }

    #[test]
    fn what_counts_nothing_has_no_result() {
        assert_none(&[
            "'abc'",
            "'abc'.count",
            "'abc'.count(",
            "'abc'.count()",
            "'abc'.count(1)",
            "'abc'.count('a')(1)",
            "'abc'.count('a' 1)",
        ]);
        assert_none(&[
            "'abc'.count('a').count('a')",
            "'a'.count('a'.count('a'))",
            "'abc.count('a')",
            "'''a'.count('a')",
            "('a') 'b'.count('b')",
        ]);
        assert_none(&["'a'. count('a')", "'a'.count ('a')", "'a'.COUNT('a')", "'a'.count('a') + 1", "'a'.counts('a')", "x.count('a')"]);
        assert_none(&[
            "'a\\n'.count('a')",
            "'a-b'.count('-')",
            "'é'.count('é')",
            "'a'.count('a').real",
            "'A'.lower().count('a')",
            "b'a'.count(b'a')",
        ]);
        // nanochat looks for these anywhere, so ordinary words are rejected too.
        assert_none(&["'direction'.count('i')", "'a__b'.count('a')", "'Profile'.count('o')", "'important'.count('t')"]);
    }

    #[test]
    fn size_is_bounded() {
        let nested = |depth| format!("{}1{}", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(calculate(&nested(MAX_DEPTH)).as_deref(), Some("1"));
        assert_eq!(calculate(&nested(MAX_DEPTH + 1)), None);
        let counted = |depth| format!("{}'a'.count('a'){}", "(".repeat(depth), ")".repeat(depth));
        // The argument's parentheses are one more level.
        assert_eq!(calculate(&counted(MAX_DEPTH - 1)).as_deref(), Some("1"));
        assert_eq!(calculate(&counted(MAX_DEPTH)), None);
        // The depth is that of nesting, not the number of parentheses.
        assert_eq!(calculate(&format!("0{}", "+(1)".repeat(1000))).as_deref(), Some("1000"));
        assert_eq!(calculate(&"9".repeat(MAX_LENGTH)), Some("9".repeat(MAX_LENGTH)));
        assert_none(&[&"9".repeat(MAX_LENGTH + 1), &nested(10_000), &"(".repeat(10_000), &"(".repeat(MAX_LENGTH)]);
        let signs = "-".repeat(MAX_LENGTH - 1) + "1";
        assert_eq!(calculate(&signs).as_deref(), Some("-1"));
    }

    /// Asserts that evaluating `expression` stays within the bounds of length and time, and that a result is a number.
    fn assert_bounded(expression: &str) -> Result<(), TestCaseError> {
        let start = Instant::now();
        let result = calculate(expression);
        prop_assert!(start.elapsed() < Duration::from_secs(1), "{} bytes took {:?}", expression.len(), start.elapsed());
        if let Some(result) = result {
            prop_assert!(result.len() <= expression.len().max(24));
            prop_assert!(["inf", "-inf", "nan"].contains(&result.as_str()) || result.parse::<f64>().is_ok());
        }
        Ok(())
    }

    /// Expressions of the grammar, and near misses.
    fn expressions() -> impl Strategy<Value = String> {
        let number = prop_oneof!["[0-9]{1,3}", "[0-9]{1,400}", "[0-9]{0,20}\\.[0-9]{0,20}", "[1-9][0-9]{0,2}(,[0-9]{3}){1,4}"];
        let text = "'[a-z ,]{0,40}'|\"[a-z']{0,40}\"|'''[a-z']{0,9}'''";
        let leaf = prop_oneof![4 => number, 1 => (text, text).prop_map(|(a, b)| format!("{a}.count({b})")), 1 => text];
        leaf.prop_recursive(60, 400, 3, |inner| {
            let sign = "[-+−]{1,40}";
            let operator = " ?(\\+|-|−|\\*|×|/|÷|//|\\*\\*|\\.|) ?";
            prop_oneof![
                4 => (inner.clone(), operator, inner.clone()).prop_map(|(a, operator, b)| format!("{a}{operator}{b}")),
                2 => (sign, inner.clone()).prop_map(|(sign, a)| sign + &a),
                2 => inner.clone().prop_map(|a| format!("({a})")),
                1 => (inner.clone(), inner).prop_map(|(a, b)| format!("{a}.count({b})")),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in any::<String>(), bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            assert_bounded(&text)?;
            assert_bounded(&String::from_utf8_lossy(&bytes))?;
        }

        #[test]
        fn any_text_of_the_alphabet_is_answered(sum in "[0-9.()+*/, −×÷-]{0,60}", counting in "('|\"|''|x|y|\\.count\\(|\\)|\\(| |,){0,30}") {
            assert_bounded(&sum)?;
            assert_bounded(&counting)?;
        }

        #[test]
        fn any_expression_is_answered(expression in expressions()) {
            assert_bounded(&expression)?;
        }
    }

    /// The most expensive expressions: long products, quotients and literals.
    #[test]
    fn the_longest_expressions_are_answered_at_once() {
        let fill = |unit: &str| unit.repeat(MAX_LENGTH / unit.len());
        let half = "9".repeat(MAX_LENGTH / 2 - 1);
        let quarter = "7".repeat(MAX_LENGTH / 4 - 1);
        for expression in [
            fill("9*") + "9",
            fill("9/"),
            fill("99999999999999999999999999*") + "9",
            format!("{half}*{half}"),
            format!("{half}//{quarter}"),
            format!("{half}/{half}"),
            format!("{half}.{half}"),
            format!(".{}", "0".repeat(MAX_LENGTH - 1)),
            format!("'{half}'.count('{quarter}')"),
            format!("'{}'.count('{}b')", "a".repeat(MAX_LENGTH / 2), "a".repeat(MAX_LENGTH / 4)),
        ] {
            assert_bounded(&expression).unwrap();
        }
    }
}
