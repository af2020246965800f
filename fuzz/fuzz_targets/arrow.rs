//! An Arrow file gives rows that have the columns asked for, or is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nc_core::tasks::arrow::rows;

const COLUMNS: &[&str] = &["question", "choices", "answer"];

fuzz_target!(|bytes: &[u8]| {
    nc_fuzz::with_file("arrow", bytes, |path| {
        let Ok(rows) = rows(path, COLUMNS) else { return };
        for row in rows.map_while(Result::ok) {
            let fields = row.as_object().expect("an object");
            assert!(fields.len() == 1 || COLUMNS.iter().all(|column| fields.contains_key(*column)));
        }
    });
});
