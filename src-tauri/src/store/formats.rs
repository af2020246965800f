//! The formats that the person chose for the weights of models, by the models' names.

use std::collections::HashMap;

use nc_core::weights::Format;

use super::Store;
use crate::error::AppResult;

/// What precedes a model's name. Each has an entry of its own, so that two choices at a time do not undo each other.
const PREFIX: &str = "format:";

/// What was chosen for each model; for the others the app chooses.
pub type Choices = HashMap<String, Format>;

impl Store {
    /// All choices.
    pub fn format_choices(&self) -> AppResult<Choices> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached("SELECT name, value FROM setting WHERE name LIKE ?1")?;
        let rows = statement.query_map([format!("{PREFIX}%")], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        let mut choices = Choices::new();
        for row in rows {
            let (name, value) = row?;
            // What another version wrote may be no format here.
            if let (Some(model), Ok(format)) = (name.strip_prefix(PREFIX), serde_json::from_str(&value)) {
                choices.insert(model.to_owned(), format);
            }
        }
        Ok(choices)
    }

    /// What was chosen for one model.
    pub fn format_choice(&self, model: &str) -> AppResult<Option<Format>> {
        self.value(&format!("{PREFIX}{model}"))
    }

    /// Keeps a choice; without one, the app chooses again.
    pub fn choose_format(&self, model: &str, format: Option<Format>) -> AppResult<()> {
        let name = format!("{PREFIX}{model}");
        match format {
            Some(format) => self.set_value(&name, &format),
            None => {
                self.lock().prepare_cached("DELETE FROM setting WHERE name = ?1")?.execute([name])?;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::store;

    #[test]
    fn choices_are_kept_by_name_and_forgotten_alone() {
        let (_folder, store) = store();
        assert_eq!((store.format_choice("a").unwrap(), store.format_choices().unwrap().len()), (None, 0));
        for (model, format) in [("a", Format::Q8), ("a.b_%", Format::F32), ("a", Format::Q4)] {
            store.choose_format(model, Some(format)).unwrap();
        }
        let all = [("a".to_owned(), Format::Q4), ("a.b_%".into(), Format::F32)];
        assert_eq!(store.format_choices().unwrap(), all.into_iter().collect());
        assert_eq!((store.format_choice("a").unwrap(), store.format_choice("a.b").unwrap()), (Some(Format::Q4), None));
        store.choose_format("a", None).unwrap();
        store.choose_format("a", None).unwrap();
        assert_eq!(store.format_choices().unwrap().into_keys().collect::<Vec<_>>(), ["a.b_%"]);
        // Nothing else that is kept is taken for a choice, and what is no format is none.
        store.set_value("format:c", &"q2").unwrap();
        store.set_value("window", &"q8").unwrap();
        assert_eq!((store.format_choices().unwrap().len(), store.format_choice("c").unwrap()), (1, None));
        assert!(store.patch_settings(serde_json::json!({ "theme": "dark" })).is_ok());
    }

    #[test]
    fn a_format_is_kept_under_the_word_that_files_and_the_command_line_use() {
        for format in Format::ALL {
            assert_eq!(serde_json::to_value(format).unwrap(), format.word());
        }
    }
}
