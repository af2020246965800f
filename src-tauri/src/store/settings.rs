//! What the person chose for the app as a whole.

use rusqlite::{OptionalExtension, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Store;
use super::conversations::json;
use crate::error::{AppError, AppResult};
use crate::types::AppSettings;

/// The name that the settings are kept under.
const SETTINGS: &str = "settings";

impl Store {
    /// The settings.
    pub fn settings(&self) -> AppResult<AppSettings> {
        let settings: AppSettings = self.value(SETTINGS)?.unwrap_or_default();
        // Another version may have allowed more.
        Ok(if settings.check().is_ok() { settings } else { AppSettings::default() })
    }

    /// Changes the settings that `patch` names, and gives all of them.
    pub fn patch_settings(&self, patch: Value) -> AppResult<AppSettings> {
        let Value::Object(patch) = patch else { return Err(AppError::bad_input("Settings must be an object.")) };
        // Without the parser's words: they may quote the value.
        let refused = |_| AppError::bad_input("A setting has a wrong value.");
        let mut all = serde_json::to_value(self.settings()?).map_err(refused)?;
        for (name, value) in patch {
            match all.get_mut(&name) {
                Some(setting) => *setting = value,
                None => return Err(AppError::bad_input("There is no setting of this name.")),
            }
        }
        let settings: AppSettings = serde_json::from_value(all).map_err(refused)?;
        settings.check()?;
        self.set_value(SETTINGS, &settings)?;
        Ok(settings)
    }

    /// Something that was kept under a name, if it still reads as what it should be.
    pub fn value<T: DeserializeOwned>(&self, name: &str) -> AppResult<Option<T>> {
        let connection = self.lock();
        let sql = "SELECT value FROM setting WHERE name = ?1";
        let json: Option<String> = connection.prepare_cached(sql)?.query_row([name], |row| row.get(0)).optional()?;
        Ok(json.and_then(|json| serde_json::from_str(&json).ok()))
    }

    /// Keeps something under a name.
    pub fn set_value(&self, name: &str, value: &impl Serialize) -> AppResult<()> {
        let sql = "INSERT INTO setting (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        self.lock().prepare_cached(sql)?.execute(params![name, json(value)])?;
        Ok(())
    }
}
