//! The default name of an imported run.

use std::path::Path;

use super::shown_name;

/// A run's name from a folder's, restricted to valid characters.
pub(super) fn name_after(folder: &Path) -> String {
    // `.` and `..` have no name before they are resolved.
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    let name: String = shown_name(&folder).chars().map(plain).take(60).collect();
    let name = name.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if name.is_empty() { "imported".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_named_after_folders() {
        for (folder, name) in
            [("/a/d4", "d4"), ("/a/nanochat d32!", "nanochat-d32"), ("/a/.hidden", "hidden"), ("/", "imported"), ("/a/é", "imported")]
        {
            assert_eq!(name_after(Path::new(folder)), name, "{folder}");
        }
    }
}
