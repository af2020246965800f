//! The format of a multiple-choice question, the same for MMLU and ARC.
//!
//! The format is nanochat's, whose models know it. The letter comes after its choice, which works better for small models,
//! and right after the `=` without a space: ` A` and `A` are different tokens, and the answer is `A`.

/// The letters of four choices.
pub const LETTERS: [&str; 4] = ["A", "B", "C", "D"];

/// The question as the user asks it, with each of `choices` marked by its letter; there are as many of both.
pub fn prompt(question: &str, letters: &[&str], choices: &[String]) -> String {
    let choices: String = letters.iter().zip(choices).map(|(letter, choice)| format!("- {choice}={letter}\n")).collect();
    format!("Multiple Choice question: {question}\n{choices}\nRespond only with the letter of the correct answer.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_choice_ends_with_its_letter() {
        let choices = ["one", "2", "b=c", ""].map(String::from);
        assert_eq!(
            prompt("How many?\nThink.", &LETTERS, &choices),
            "Multiple Choice question: How many?\nThink.\n- one=A\n- 2=B\n- b=c=C\n- =D\n\nRespond only with the letter of the correct answer."
        );
    }
}
