//! What the name of a file says: its format, its split, whether it is data at all.

use std::path::Path;

use super::file::Format;

/// Extensions of JSON Lines files. Plain `.json` is not among them: it is usually one array, or something else.
const LINES: [&str; 2] = ["jsonl", "ndjson"];
/// Extensions of compressed files that can be read.
const PACKED: [&str; 4] = ["gz", "gzip", "zst", "zstd"];

/// The first part of names of files that describe data, whatever their extension.
const NOTES: [&str; 14] = [
    "readme",
    "license",
    "licence",
    "copying",
    "notice",
    "authors",
    "contributing",
    "changelog",
    "citation",
    "datasheet",
    "requirements",
    "checksums",
    "md5sums",
    "sha256sums",
];

/// Extensions of files that describe or generate data.
const NOTES_BY_ENDING: [&str; 13] = ["md", "rst", "yaml", "yml", "toml", "lock", "py", "ipynb", "sh", "sha256", "md5", "crc", "metadata"];

/// Whole names of such files.
const NOTES_BY_NAME: [&str; 6] =
    ["dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json", "metadata.json", "_success"];

/// The purpose of a file by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// None, or training.
    Training,
    /// Validation, or one of its synonyms.
    Validation,
    /// Test.
    Test,
}

impl Format {
    /// The format by the name of `path`, ignoring case.
    pub fn of(path: &Path) -> Option<Self> {
        format(path).map(|(format, _)| format)
    }

    /// The name of `path` in lower case, without the extensions of its format; nothing if it has no known format.
    pub fn stem_of(path: &Path) -> Option<String> {
        format(path).map(|(_, stem)| stem)
    }
}

/// The format of a name, and the name without the extensions; ignores case.
pub(super) fn format(path: &Path) -> Option<(Format, String)> {
    let name = path.file_name()?.to_str()?.to_lowercase();
    let (stem, ending) = name.rsplit_once('.')?;
    if ending == "parquet" {
        return Some((Format::Parquet, stem.to_owned()));
    }
    let packed = PACKED.contains(&ending);
    let (stem, ending) = if packed { stem.rsplit_once('.')? } else { (stem, ending) };
    let format = match ending {
        "txt" => Format::Text,
        // Compressed, it is JSON Lines in every known set (C4, Dolma).
        "json" if packed => Format::JsonLines,
        ending if LINES.contains(&ending) => Format::JsonLines,
        _ => return None,
    };
    Some((format, stem.to_owned()))
}

/// The name of a file after decompression: its own if it is not compressed.
pub(super) fn unpacked(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    match name.rsplit_once('.') {
        Some((stem, ending)) if PACKED.contains(&ending) => stem.to_owned(),
        _ => name,
    }
}

/// The purpose of a file with this name without extensions.
///
/// The word is first (`test-00000-of-00001`, `val_part_3`), last (`wiki.valid`), or before a number
/// (`c4-validation.00000-of-00008`); if there are several, the last counts.
pub(super) fn role(stem: &str) -> Role {
    let words: Vec<&str> = stem.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let numbered = |word: Option<&&str>| word.is_none_or(|word| word.starts_with(|letter: char| letter.is_ascii_digit()));
    let roles = words.iter().enumerate().filter(|(at, _)| *at == 0 || numbered(words.get(at + 1)));
    let mut roles = roles.filter_map(|(_, word)| match word.to_lowercase().trim_end_matches(|letter: char| letter.is_ascii_digit()) {
        "train" | "training" => Some(Role::Training),
        "validation" | "valid" | "val" | "dev" | "eval" | "evaluation" => Some(Role::Validation),
        "test" | "testing" => Some(Role::Test),
        _ => None,
    });
    roles.next_back().unwrap_or(Role::Training)
}

/// Whether a file only describes data.
pub(super) fn is_note(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let first = name.split('.').next().unwrap_or_default();
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    NOTES.contains(&first) || NOTES_BY_ENDING.contains(&ending) || NOTES_BY_NAME.contains(&name.as_str())
}

/// Advice for a file in none of the formats; the rest of a sentence that begins with its name.
pub(super) fn advice(path: &Path) -> &'static str {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    if PACKED.contains(&ending) && !name.ends_with(".tar.gz") && !name.ends_with(".tar.zst") {
        return match name.rsplit('.').nth(1) {
            Some("parquet" | "csv" | "tsv") => "is a compressed table; unpack it first, and give it as parquet or JSON Lines",
            _ => "does not say what was compressed; name it .jsonl.gz or .txt.gz (or .zst) by what is in it",
        };
    }
    if name.ends_with(".part.json") {
        return "belongs to a download that did not end; fetch it again";
    }
    match ending {
        "part" | "partial" | "tmp" | "crdownload" | "incomplete" | "aria2" => "is a download that did not end; fetch it again",
        "csv" | "tsv" | "tab" | "xls" | "xlsx" | "ods" => {
            "is a table, not text; write its column of texts as `text` into a parquet file (DuckDB reads and writes both), or as JSON Lines"
        }
        "json" => {
            "is not JSON Lines by its name; name it .jsonl if each line is an object of its own, and make lines of an array with `jq -c '.[]' FILE.json > FILE.jsonl`"
        }
        "zip" | "tar" | "gz" | "tgz" | "zst" | "7z" | "rar" => "is an archive; unpack it and name what was in it",
        "xz" | "bz2" | "lz4" | "lzma" | "br" | "z" => {
            "is compressed in a way that is not read; unpack it, or compress it with gzip or zstd"
        }
        "doc" | "docx" | "odt" | "rtf" | "pdf" | "epub" | "mobi" | "ps" | "ppt" | "pptx" => {
            "is a document with a layout; save it as plain text, as .txt"
        }
        "htm" | "html" | "xml" | "tex" | "md" | "rst" | "org" | "log" | "text" | "srt" => {
            "is not named as text; name it .txt to train on it as it is"
        }
        "arrow" | "feather" | "avro" | "orc" | "ipc" => "is a table in a format that texts are not read from; write it as parquet",
        "db" | "sqlite" | "sqlite3" | "duckdb" => "is a database; write its texts as parquet or JSON Lines",
        _ => "is neither parquet nor JSON Lines nor text by its name; name it .parquet, .jsonl or .txt by what it is",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_formats() {
        for (name, expected) in [
            ("a.parquet", Some((Format::Parquet, "a"))),
            ("A.B.JSONL", Some((Format::JsonLines, "a.b"))),
            ("a.ndjson", Some((Format::JsonLines, "a"))),
            ("a.jsonl.gz", Some((Format::JsonLines, "a"))),
            ("c4-train.00000-of-01024.json.gz", Some((Format::JsonLines, "c4-train.00000-of-01024"))),
            ("a.json.zst", Some((Format::JsonLines, "a"))),
            ("a.ndjson.zst", Some((Format::JsonLines, "a"))),
            ("a.TXT.GZ", Some((Format::Text, "a"))),
            ("a.txt.zstd", Some((Format::Text, "a"))),
            ("a.txt", Some((Format::Text, "a"))),
            ("a.json", None),
            ("a.parquet.gz", None),
            ("a.csv.gz", None),
            ("jsonl", None),
            ("a.gz", None),
            ("a.jsonl.part", None),
        ] {
            assert_eq!(format(Path::new(name)), expected.map(|(format, stem)| (format, stem.to_owned())), "{name}");
        }
    }

    #[test]
    fn names_say_splits() {
        for (stem, expected) in [
            ("test", Role::Test),
            ("test-00000-of-00001", Role::Test),
            ("test_sft-00000-of-00001", Role::Test),
            ("gsm8k-test-00000-of-00001", Role::Test),
            ("gsm8k.test", Role::Test),
            ("Test3", Role::Test),
            ("validation-00000-of-00001-a09b74b3ef9c3b56", Role::Validation),
            ("valid", Role::Validation),
            ("val", Role::Validation),
            ("fineweb_val_000000", Role::Validation),
            ("dev-v2.0", Role::Validation),
            ("eval", Role::Validation),
            ("c4-validation.00000-of-00008", Role::Validation),
            ("train-00000-of-00002", Role::Training),
            ("test-train-00000", Role::Training),
            ("shard_00000", Role::Training),
            ("on-the-test-of-time", Role::Training),
            ("my-val-di-fassa-book", Role::Training),
            ("latest", Role::Training),
            ("retrieval", Role::Training),
            ("contest-1", Role::Training),
            ("", Role::Training),
        ] {
            assert_eq!(role(stem), expected, "{stem}");
        }
    }

    #[test]
    fn notes_are_told_from_data() {
        for name in ["README.md", "readme.txt", "LICENSE", "license.TXT", "dataset_infos.json", "load.py", "SHA256SUMS.txt", "notes.md"] {
            assert!(is_note(Path::new(name)), "{name}");
        }
        for name in ["notes.txt", "reading.txt", "a.csv", "data.json", "a.jsonl"] {
            assert!(!is_note(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_read_gets_an_advice_of_its_own() {
        for (name, expected) in [
            ("a.csv", "is a table"),
            ("a.tsv", "is a table"),
            ("a.json", "jq -c"),
            ("a.zip", "unpack it and name"),
            ("a.tar", "unpack it and name"),
            ("a.tar.gz", "unpack it and name"),
            ("a.tgz", "unpack it and name"),
            ("a.docx", "plain text"),
            ("a.pdf", "plain text"),
            ("a.gz", ".jsonl.gz"),
            ("a.bin.zst", ".jsonl.gz"),
            ("a.csv.gz", "unpack it first"),
            ("a.parquet.gz", "unpack it first"),
            ("a.jsonl.xz", "gzip or zstd"),
            ("a.jsonl.bz2", "gzip or zstd"),
            ("a.md", "name it .txt"),
            ("a.arrow", "as parquet"),
            ("a.parquet.part", "did not end"),
            ("a.parquet.part.json", "did not end"),
            ("a", "neither parquet"),
            ("a.bin", "neither parquet"),
        ] {
            assert!(advice(Path::new(name)).contains(expected), "{name}: {}", advice(Path::new(name)));
        }
    }
}
