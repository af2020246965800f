//! A `.pt` file is read as the tensors that it holds, or refused: nothing is run, and no tensor is longer than the file.
//!
//! An archive carries checksums that mutations hardly ever meet, so the same bytes are also put into an archive as its
//! pickle, between two storages.
#![no_main]

use std::io::Cursor;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use nc_core::interchange::torch::{TorchDtype, TorchFile};

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    read(&archive(&[("m/data.pkl", bytes), ("m/data/0", &[1; 48]), ("m/data/1", &[2; 24])]));
});

fn read(bytes: &[u8]) {
    let Ok(mut file) = TorchFile::from_reader(Cursor::new(bytes), Path::new("fuzzed.pt")) else { return };
    for (index, tensor) in file.tensors().to_vec().into_iter().enumerate() {
        let elements: usize = tensor.shape.iter().product();
        assert!(elements * tensor.dtype.bytes() <= bytes.len(), "a tensor longer than its file");
        let mut seen = 0;
        let streamed = file.stream(index, &mut |piece| {
            seen += piece.len();
            Ok(())
        });
        let float = matches!(tensor.dtype, TorchDtype::F32 | TorchDtype::F16 | TorchDtype::BF16);
        assert!(float || streamed.is_err(), "what is no float was read as floats");
        assert!(streamed.is_err() || seen == elements, "a tensor was not read whole");
        if let Ok(integers) = file.integers(index) {
            assert!(!float && integers.len() == elements, "whole numbers were not read whole");
        }
    }
}

/// A zip archive of stored entries.
fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let start = file.len() as u32;
        let mut record = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        record.extend([crc32fast::hash(data), data.len() as u32, data.len() as u32].map(u32::to_le_bytes).concat());
        record.extend([name.len() as u16, 0].map(u16::to_le_bytes).concat());
        file.extend([b"PK\x03\x04", record.as_slice(), name.as_bytes(), data].concat());
        directory.extend([b"PK\x01\x02\x14\0", record.as_slice(), &[0; 10], &start.to_le_bytes(), name.as_bytes()].concat());
    }
    let (start, length, count) = (file.len() as u32, directory.len() as u32, entries.len() as u16);
    file.extend(directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend([count, count].map(u16::to_le_bytes).concat());
    file.extend([length, start].map(u32::to_le_bytes).concat());
    file.extend([0, 0]);
    file
}
