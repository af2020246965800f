// Where a sequence of a pass is in the KV cache.
struct Cursor {
    position: u32,   // tokens of the sequence that the cache held before the new ones
    count: u32,      // new tokens, without padding
    row: u32,        // the sequence's row in the cache
    before: u32,     // id of the last token that the cache holds
}
