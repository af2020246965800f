//! A file of conversations gives conversations that can be rendered, or is refused by its line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nc_core::data::conversations::read_conversations;

fuzz_target!(|bytes: &[u8]| {
    nc_fuzz::with_file("conversations", bytes, |path| {
        let Ok(conversations) = read_conversations(path) else { return };
        for conversation in conversations {
            conversation.check().expect("a conversation that was read");
        }
    });
});
