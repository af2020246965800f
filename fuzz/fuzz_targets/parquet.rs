//! A parquet file gives its texts, or a sentence that says what is wrong with it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nc_core::data::format::Place;
use nc_core::data::format::parquet::{Reader, verify};

fuzz_target!(|bytes: &[u8]| {
    nc_fuzz::with_file("parquet", bytes, |path| {
        let whole = verify(path).is_ok();
        let Ok(mut reader) = Reader::open(path, Place::default()) else { return assert!(!whole) };
        while let Ok(Some(_)) = reader.next_document() {}
    });
});
