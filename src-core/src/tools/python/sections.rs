//! The sections of a WebAssembly module.

/// The bytes before the first section.
const HEAD: &[u8; 8] = b"\0asm\x01\0\0\0";

/// Kinds of sections. Custom ones have a name, and mean nothing to the program.
const CUSTOM: u8 = 0;
const GLOBALS: u8 = 6;
const EXPORTS: u8 = 7;

/// How a section of globals goes on after their number if the first is an i32 that may change and begins as a constant.
const CHANGING_NUMBER: &[u8] = &[0x7f, 1, 0x41];

/// The name that [`with_stack_pointer`] exports.
pub const STACK_POINTER: &str = "nc_stack_pointer";

/// The export of global 0 by that name: the length of the name, the name, the kind and the index.
const EXPORT: &[u8] = b"\x10nc_stack_pointer\x03\0";

struct Section<'a> {
    kind: u8,
    /// With its kind and length.
    whole: &'a [u8],
    content: &'a [u8],
}

/// The sections of a module; `None` if it is none.
fn sections(module: &[u8]) -> Option<Vec<Section<'_>>> {
    let mut rest = module.strip_prefix(HEAD)?;
    let mut found = Vec::new();
    while let Some((&kind, after)) = rest.split_first() {
        let (length, content) = number(after)?;
        let (content, next) = content.split_at_checked(length)?;
        found.push(Section { kind, whole: &rest[..rest.len() - next.len()], content });
        rest = next;
    }
    Some(found)
}

/// The module without what only debuggers read, which is half of an interpreter; `None` if it is no module.
pub fn without_debug(module: &[u8]) -> Option<Vec<u8>> {
    let mut kept = HEAD.to_vec();
    for section in sections(module)? {
        if section.kind != CUSTOM || !name(section.content)?.starts_with(b".debug") {
            kept.extend_from_slice(section.whole);
        }
    }
    Some(kept)
}

/// The module with its stack pointer exported as [`STACK_POINTER`], so that it can be given a larger stack: by the convention
/// of LLVM that is the first of its own globals. `None` if it has no such global, or is no module.
pub fn with_stack_pointer(module: &[u8]) -> Option<Vec<u8>> {
    let sections = sections(module)?;
    let globals = sections.iter().find(|section| section.kind == GLOBALS)?;
    let (_, first) = number(globals.content)?;
    if !first.starts_with(CHANGING_NUMBER) || !sections.iter().any(|section| section.kind == EXPORTS) {
        return None;
    }
    let mut made = HEAD.to_vec();
    for section in sections {
        if section.kind != EXPORTS {
            made.extend_from_slice(section.whole);
            continue;
        }
        let (exports, rest) = number(section.content)?;
        let content = [&encoded(exports + 1), rest, EXPORT].concat();
        made.push(EXPORTS);
        made.extend_from_slice(&encoded(content.len()));
        made.extend_from_slice(&content);
    }
    Some(made)
}

/// The name of a custom section.
fn name(content: &[u8]) -> Option<&[u8]> {
    let (length, rest) = number(content)?;
    rest.get(..length)
}

/// The unsigned LEB128 number of at most 32 bits that `bytes` begin with, and what follows it.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0u64;
    for (at, byte) in bytes.iter().enumerate().take(5) {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(u32::try_from(number).ok()?).ok()?, &bytes[at + 1..]));
        }
    }
    None
}

/// A number as unsigned LEB128.
fn encoded(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(kind: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        [&[kind, length as u8 | 0x80, (length >> 7) as u8][..], content].concat()
    }

    #[test]
    fn only_debug_sections_go() {
        let code = section(10, &[7; 300]);
        let named = |name: &str| section(CUSTOM, &[&[name.len() as u8], name.as_bytes(), &[9; 200]].concat());
        let module = [HEAD.to_vec(), named(".debug_info"), code.clone(), named("producers"), named(".debug_line")].concat();
        assert_eq!(without_debug(&module).unwrap(), [HEAD.to_vec(), code, named("producers")].concat());
        assert_eq!(without_debug(HEAD).unwrap(), HEAD);
    }

    #[test]
    fn the_stack_pointer_is_one_more_export() {
        let globals = section(GLOBALS, &[1, 0x7f, 1, 0x41, 0x80, 0x80, 0x20, 0x0b]);
        let code = section(10, &[7; 300]);
        let export = [&[1, b'm', 2, 0][..]; 127].concat();
        let module = [HEAD.to_vec(), globals.clone(), section(EXPORTS, &[&[127], &export[..]].concat()), code.clone()].concat();
        let exports = section(EXPORTS, &[&[0x80, 1], &export[..], EXPORT].concat());
        assert_eq!(with_stack_pointer(&module).unwrap(), [HEAD.to_vec(), globals.clone(), exports, code].concat());
        assert_eq!(usize::from(EXPORT[0]), STACK_POINTER.len());
        // A constant, a global of another type, and no exports.
        for (globals, exports) in [(&[1, 0x7f, 0, 0x41, 0, 0x0b][..], &[0][..]), (&[1, 0x7e, 1, 0x42, 0, 0x0b], &[0]), (&[0], &[0])] {
            assert_eq!(with_stack_pointer(&[HEAD.to_vec(), section(GLOBALS, globals), section(EXPORTS, exports)].concat()), None);
        }
        assert_eq!(with_stack_pointer(&[HEAD.to_vec(), globals].concat()), None);
    }

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for value in [0, 1, 127, 128, 300, 16_383, 16_384, u32::MAX as usize] {
            assert_eq!(number(&encoded(value)), Some((value, &[][..])));
        }
    }

    #[test]
    fn what_is_no_module_is_refused() {
        let module = [&HEAD[..], &section(10, &[7; 300]), &section(CUSTOM, b"\x06.debug")].concat();
        assert!(without_debug(&module).is_some());
        let ends = [8, 8 + 303, module.len()];
        for end in (0..module.len()).filter(|end| !ends.contains(end)) {
            assert_eq!(without_debug(&module[..end]), None, "{end}");
        }
        for section in [&[CUSTOM, 0][..], &[CUSTOM, 1, 1], &[10, 0xff, 0xff, 0xff, 0xff, 0x1f], &[10, 0x80, 0x80, 0x80, 0x80, 0x80, 0]] {
            assert_eq!(without_debug(&[HEAD, section].concat()), None, "{section:?}");
        }
    }
}
