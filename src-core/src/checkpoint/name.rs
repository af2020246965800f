//! Names of runs: folder names that are valid on every system, and suggestions for a name that does not exist.

/// The longest name of a run, in characters.
const LONGEST: usize = 64;

/// Names that Windows reserves for devices, with any extension.
const DEVICES: [&str; 22] = [
    "con", "prn", "aux", "nul", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9", "lpt1", "lpt2", "lpt3", "lpt4",
    "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];

/// Checks that `name` can be a run's folder; the error is the rule that it breaks.
pub(super) fn check(name: &str) -> Result<(), &'static str> {
    let stem = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    if name.is_empty() {
        Err("it is empty")
    } else if name.chars().count() > LONGEST {
        Err("it is longer than 64 characters")
    } else if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')) {
        Err("use only the letters a to z, digits, '.', '_' and '-'")
    } else if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        Err("it must start with a letter or a digit")
    } else if name.ends_with('.') {
        Err("it must not end with a dot")
    } else if DEVICES.contains(&stem.as_str()) {
        Err("Windows keeps this name for a device")
    } else {
        Ok(())
    }
}

/// Advice for an unknown `name` when there are only `existing` (sorted).
pub(super) fn advice(name: &str, existing: &[String]) -> String {
    const LISTED: usize = 12;
    if existing.is_empty() {
        return "there are none yet".to_owned();
    }
    let closest = existing
        .iter()
        .map(|other| (strsim::damerau_levenshtein(&name.to_lowercase(), &other.to_lowercase()), other))
        .min()
        .filter(|(distance, other)| *distance <= 1 + other.len() / 4);
    let mut listed = existing.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
    if existing.len() > LISTED {
        listed.push_str(&format!(" and {} more", existing.len() - LISTED));
    }
    match closest {
        Some((_, other)) if existing.len() == 1 => format!("did you mean {other:?}, the only one?"),
        Some((_, other)) => format!("did you mean {other:?}? There are: {listed}"),
        None => format!("there are: {listed}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_folders_everywhere_pass_and_others_do_not() {
        for good in ["d4", "base-d12_2.seed1", "0", "console", &"x".repeat(64)] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let long = "x".repeat(65);
        for bad in ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "-rf", "a b", "é", "nul", "COM1.txt", "a.", "a\0", "a:b", &long] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn advice_names_the_closest_run_and_lists_the_others() {
        let runs = ["d12", "demo", "sft-d12"].map(String::from);
        assert_eq!(advice("dmeo", &runs), "did you mean \"demo\"? There are: d12, demo, sft-d12");
        assert_eq!(advice("something-else", &runs), "there are: d12, demo, sft-d12");
        assert_eq!(advice("Demo1", &runs[1..2]), "did you mean \"demo\", the only one?");
        // The longer a name, the more of it may be wrong.
        assert_eq!(advice("sft-b21", &runs), "did you mean \"sft-d12\"? There are: d12, demo, sft-d12");
        assert!(advice("demo", &[]).contains("none yet"));
    }
}
