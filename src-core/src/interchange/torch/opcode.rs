//! The opcodes of pickle with their names in Python's `pickletools`: the supported ones, and the rest to reject by name.

macro_rules! opcodes {
    (read { $($read:ident = $byte:literal,)* } refused { $($refused:ident = $other:literal,)* }) => {
        $(pub(super) const $read: u8 = $byte;)*

        /// The name of an opcode; `None` if it is in no protocol.
        pub(super) fn name(byte: u8) -> Option<&'static str> {
            match byte {
                $($byte => Some(stringify!($read)),)*
                $($other => Some(stringify!($refused)),)*
                _ => None,
            }
        }
    };
}

opcodes! {
    read {
        PROTO = 0x80,
        FRAME = 0x95,
        STOP = b'.',
        MARK = b'(',
        NONE = b'N',
        NEWTRUE = 0x88,
        NEWFALSE = 0x89,
        BININT = b'J',
        BININT1 = b'K',
        BININT2 = b'M',
        LONG1 = 0x8a,
        BINFLOAT = b'G',
        BINUNICODE = b'X',
        SHORT_BINUNICODE = 0x8c,
        BINBYTES = b'B',
        SHORT_BINBYTES = b'C',
        EMPTY_TUPLE = b')',
        TUPLE1 = 0x85,
        TUPLE2 = 0x86,
        TUPLE3 = 0x87,
        TUPLE = b't',
        EMPTY_LIST = b']',
        APPEND = b'a',
        APPENDS = b'e',
        EMPTY_DICT = b'}',
        SETITEM = b's',
        SETITEMS = b'u',
        BINPUT = b'q',
        LONG_BINPUT = b'r',
        MEMOIZE = 0x94,
        BINGET = b'h',
        LONG_BINGET = b'j',
        GLOBAL = b'c',
        STACK_GLOBAL = 0x93,
        REDUCE = b'R',
        NEWOBJ = 0x81,
        BUILD = b'b',
        BINPERSID = b'Q',
    }
    refused {
        POP = b'0',
        POP_MARK = b'1',
        DUP = b'2',
        INT = b'I',
        LONG = b'L',
        LONG4 = 0x8b,
        FLOAT = b'F',
        STRING = b'S',
        BINSTRING = b'T',
        SHORT_BINSTRING = b'U',
        UNICODE = b'V',
        BINUNICODE8 = 0x8d,
        BINBYTES8 = 0x8e,
        BYTEARRAY8 = 0x96,
        NEXT_BUFFER = 0x97,
        READONLY_BUFFER = 0x98,
        LIST = b'l',
        DICT = b'd',
        EMPTY_SET = 0x8f,
        ADDITEMS = 0x90,
        FROZENSET = 0x91,
        PUT = b'p',
        GET = b'g',
        PERSID = b'P',
        INST = b'i',
        OBJ = b'o',
        NEWOBJ_EX = 0x92,
        EXT1 = 0x82,
        EXT2 = 0x83,
        EXT4 = 0x84,
    }
}
