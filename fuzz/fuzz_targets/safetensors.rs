//! A file of tensors is read as what it says, or refused: whatever its header claims, no more is read than is there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nc_core::checkpoint::TensorFile;

fuzz_target!(|bytes: &[u8]| {
    nc_fuzz::with_file("safetensors", bytes, |path| {
        let Ok(mut file) = TensorFile::open(path) else { return };
        let specs = file.specs().cloned().collect::<Vec<_>>();
        let total: usize = specs.iter().map(|spec| file.read(&spec.name).expect("a tensor of a checked file").len()).sum();
        assert!(4 * total < bytes.len(), "more was read than there is");
    });
});
