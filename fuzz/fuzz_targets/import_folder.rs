//! A folder of Hugging Face's, of nanochat's or of an export gives a model that can be written, or a sentence.
//!
//! The bytes are three files, with a zero byte and `|` between them: settings, an index, and weights.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use nc_core::interchange::import::{Options, open};

fuzz_target!(|bytes: &[u8]| {
    nc_fuzz::with_file("import.json", &[], |path| {
        let folder = path.with_file_name("folder");
        fs::create_dir_all(&folder).expect("a place for files");
        let mut rest = bytes;
        for name in ["config.json", "model.safetensors.index.json"] {
            let end = rest.windows(2).position(|pair| pair == b"\0|");
            let (part, behind) = end.map_or((rest, &[][..]), |end| (&rest[..end], &rest[end + 2..]));
            rest = behind;
            let path = folder.join(name);
            if part.is_empty() { drop(fs::remove_file(path)) } else { fs::write(path, part).expect("room for a file") }
        }
        fs::write(folder.join("model.safetensors"), rest).expect("room for a file");
        let Ok(found) = open(&folder, &Options::default()) else { return };
        found.model().validate().expect("a model that was accepted");
        assert!(found.model().param_counts().total < bytes.len() + 64 * 2 * found.model().n_embd, "more parameters than there are bytes");
    });
});
