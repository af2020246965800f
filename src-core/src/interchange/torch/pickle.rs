//! Reads a pickle as data. The reader implements the stack and the memo of the format. Where a pickle would
//! call something, it records what, with which arguments, and continues: no code here calls anything.
//!
//! Text and bytes are references into the file, so memory is bounded by
//! the limits below whatever the pickle does, and values are only traversed as deep as their reader asks.
//! Format: Python's `Lib/pickletools.py`, protocols 2 to 5.

use std::collections::HashSet;

use super::error::PickleProblem;
use super::opcode;
use crate::files::shown::short;

/// The longest pickle that is read, in bytes: five times the size for a vocabulary of 200,000.
pub(super) const LONGEST: usize = 16 << 20;

/// The most values on the stack. Python writes items in batches of 1,000.
const DEEPEST_STACK: usize = 1 << 16;
/// The most marks that are open at once.
const MOST_MARKS: usize = 64;
/// The most memo entries, and the most items of dicts, lists and tuples: a vocabulary of 200,000 has as many of each.
const MOST_VALUES: usize = 1 << 19;
/// The most dicts, lists and calls: a tensor takes three.
const MOST_OBJECTS: usize = 1 << 17;
/// The longest line of text in an opcode.
const LONGEST_LINE: usize = 255;

/// A global that a pickle may use.
#[derive(Debug)]
pub(super) struct Global {
    pub(super) module: &'static str,
    pub(super) name: &'static str,
    pub(super) usage: Usage,
}

/// How these files use a global; any other use is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    /// Called without arguments, it returns an empty dict.
    Dict,
    /// Called with arguments.
    Function,
    /// Created without arguments, then given a state.
    Class,
    /// Only referenced.
    Name,
}

/// What is on the stack.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    None,
    /// A boolean; its value is not needed.
    Bool,
    Int(i64),
    /// A float; its value is not needed.
    Float,
    Text(&'a str),
    Bytes(&'a [u8]),
    Tuple(Span),
    Global(&'static Global),
    /// An index for [`Pickle::object`].
    Object(usize),
}

/// Where a tuple's items are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    start: usize,
    length: usize,
}

/// An object with an identity: it may be changed after it was put into another one.
#[derive(Debug)]
pub(super) enum Object<'a> {
    /// Items in the order of the file, without duplicate keys.
    Dict { items: Vec<(Value<'a>, Value<'a>)>, keys: HashSet<Key<'a>> },
    /// Items in the order of the file.
    List(Vec<Value<'a>>),
    /// A call, which was not executed.
    Call { global: &'static Global, arguments: Span },
    /// An object, which was not created, and its state.
    Instance { state: Option<Value<'a>> },
    /// Something outside the pickle, by its identifier.
    Persistent(Value<'a>),
}

/// A value that can be the key of a dict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
    Int(i64),
}

impl Key<'_> {
    /// For messages.
    fn shown(&self) -> String {
        match self {
            Self::Text(text) => short(text),
            Self::Bytes(bytes) => short(&String::from_utf8_lossy(bytes)),
            Self::Int(number) => number.to_string(),
        }
    }
}

/// A completely read pickle.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    /// The items of all tuples.
    tuples: Vec<Value<'a>>,
    /// The objects, each with the byte of the opcode that made it.
    objects: Vec<(usize, Object<'a>)>,
    root: Value<'a>,
}

/// A rejected pickle.
#[derive(Debug)]
pub(super) struct Refused {
    /// The offset of the faulty opcode.
    pub(super) offset: usize,
    pub(super) problem: PickleProblem,
}

impl<'a> Pickle<'a> {
    /// Reads a pickle that uses no other globals than `globals`.
    pub(super) fn read(bytes: &'a [u8], globals: &'static [Global]) -> Result<Self, Refused> {
        if bytes.len() > LONGEST {
            return Err(Refused { offset: LONGEST, problem: PickleProblem::TooLong(LONGEST) });
        }
        Reader::new(bytes, globals).run()
    }

    /// The value of the pickle.
    pub(super) fn root(&self) -> Value<'a> {
        self.root
    }

    /// The items of a tuple.
    pub(super) fn tuple(&self, Span { start, length }: Span) -> &[Value<'a>] {
        &self.tuples[start..start + length]
    }

    /// An object, and the byte of the opcode that made it.
    pub(super) fn object(&self, index: usize) -> (usize, &Object<'a>) {
        let (offset, object) = &self.objects[index];
        (*offset, object)
    }

    /// The items of a dict, if `value` is one.
    pub(super) fn dict(&self, value: Value<'a>) -> Option<&[(Value<'a>, Value<'a>)]> {
        match value {
            Value::Object(index) => match self.object(index) {
                (_, Object::Dict { items, .. }) => Some(items),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The state of reading a pickle.
struct Reader<'a> {
    bytes: &'a [u8],
    globals: &'static [Global],
    /// The next byte to be read.
    at: usize,
    /// Where the last frame ends.
    frame_end: usize,
    /// The offset of the current opcode, and its name.
    start: usize,
    opcode: &'static str,
    stack: Vec<Value<'a>>,
    /// The height of the stack at each open mark.
    marks: Vec<usize>,
    memo: Vec<Value<'a>>,
    tuples: Vec<Value<'a>>,
    objects: Vec<(usize, Object<'a>)>,
    /// How many items dicts and lists have.
    items: usize,
}

type Step<T = ()> = Result<T, PickleProblem>;

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], globals: &'static [Global]) -> Self {
        let (stack, marks, memo, tuples, objects) = Default::default();
        Self { bytes, globals, at: 0, frame_end: 0, start: 0, opcode: "PROTO", stack, marks, memo, tuples, objects, items: 0 }
    }

    fn run(mut self) -> Result<Pickle<'a>, Refused> {
        match self.read_to_stop() {
            Ok(root) => Ok(Pickle { tuples: self.tuples, objects: self.objects, root }),
            Err(problem) => Err(Refused { offset: self.start, problem }),
        }
    }

    fn read_to_stop(&mut self) -> Step<Value<'a>> {
        match self.bytes {
            [opcode::PROTO, 2..=5, ..] => self.at = 2,
            _ => return Err(PickleProblem::Protocol),
        }
        loop {
            self.start = self.at;
            self.opcode = "STOP";
            let byte = self.byte()?;
            self.opcode = opcode::name(byte).ok_or(PickleProblem::NoOpcode(byte))?;
            if byte == opcode::STOP {
                return match (self.stack.as_slice(), self.marks.as_slice()) {
                    (&[root], []) if self.at == self.bytes.len() => Ok(root),
                    _ => Err(PickleProblem::End),
                };
            }
            self.step(byte)?;
        }
    }

    fn step(&mut self, byte: u8) -> Step {
        match byte {
            opcode::FRAME => self.frame(),
            opcode::MARK => self.mark(),

            opcode::NONE => self.push(Value::None),
            opcode::NEWTRUE => self.push(Value::Bool),
            opcode::NEWFALSE => self.push(Value::Bool),
            opcode::BININT => self.array().and_then(|number| self.push(Value::Int(i32::from_le_bytes(number).into()))),
            opcode::BININT1 => self.byte().and_then(|number| self.push(Value::Int(number.into()))),
            opcode::BININT2 => self.array().and_then(|number| self.push(Value::Int(u16::from_le_bytes(number).into()))),
            opcode::LONG1 => self.long(),
            opcode::BINFLOAT => self.take(8).and_then(|_| self.push(Value::Float)),

            opcode::BINUNICODE => self.long_length().and_then(|length| self.text(length)),
            opcode::SHORT_BINUNICODE => self.byte().and_then(|length| self.text(length.into())),
            opcode::BINBYTES => self.long_length().and_then(|length| self.take(length)).and_then(|bytes| self.push(Value::Bytes(bytes))),
            opcode::SHORT_BINBYTES => {
                self.byte().and_then(|length| self.take(length.into())).and_then(|bytes| self.push(Value::Bytes(bytes)))
            }

            opcode::EMPTY_TUPLE => self.tuple_of(0),
            opcode::TUPLE1 => self.tuple_of(1),
            opcode::TUPLE2 => self.tuple_of(2),
            opcode::TUPLE3 => self.tuple_of(3),
            opcode::TUPLE => self.since_mark().and_then(|count| self.tuple_of(count)),
            opcode::EMPTY_LIST => self.make(Object::List(Vec::new())),
            opcode::APPEND => self.append(1),
            opcode::APPENDS => self.since_mark().and_then(|count| self.append(count)),
            opcode::EMPTY_DICT => self.make(Object::Dict { items: Vec::new(), keys: HashSet::new() }),
            opcode::SETITEM => self.set_items(2),
            opcode::SETITEMS => self.since_mark().and_then(|count| self.set_items(count)),

            opcode::BINPUT => self.byte().and_then(|index| self.put(index.into())),
            opcode::LONG_BINPUT => self.array().and_then(|index| self.put(u32::from_le_bytes(index))),
            opcode::MEMOIZE => self.put(self.memo.len() as u32),
            opcode::BINGET => self.byte().and_then(|index| self.get(index.into())),
            opcode::LONG_BINGET => self.array().and_then(|index| self.get(u32::from_le_bytes(index))),

            opcode::GLOBAL => self.global(),
            opcode::STACK_GLOBAL => self.stack_global(),
            opcode::REDUCE => self.reduce(),
            opcode::NEWOBJ => self.new_object(),
            opcode::BUILD => self.build(),
            opcode::BINPERSID => self.pop().and_then(|id| self.make(Object::Persistent(id))),

            _ => Err(PickleProblem::Opcode(self.opcode)),
        }
    }

    // Bytes of the file.

    fn take(&mut self, count: usize) -> Step<&'a [u8]> {
        let limit = if self.at < self.frame_end { self.frame_end } else { self.bytes.len() };
        let end = self.at.checked_add(count).filter(|&end| end <= limit).ok_or(PickleProblem::CutShort(self.opcode))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| PickleProblem::CutShort(self.opcode))
    }

    fn byte(&mut self) -> Step<u8> {
        self.array().map(|[byte]| byte)
    }

    fn long_length(&mut self) -> Step<usize> {
        self.array().map(|length| u32::from_le_bytes(length) as usize)
    }

    /// Text up to the end of the line.
    fn line(&mut self) -> Step<&'a str> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().take(LONGEST_LINE).position(|&byte| byte == b'\n').ok_or(PickleProblem::CutShort(self.opcode))?;
        let line = std::str::from_utf8(self.take(length)?).map_err(|_| PickleProblem::Utf8)?;
        self.take(1)?;
        Ok(line)
    }

    /// A frame gives the number of bytes that belong together, for readers that fetch them at once. It must be correct.
    fn frame(&mut self) -> Step {
        let inside = self.at < self.frame_end;
        let length = u64::from_le_bytes(self.array()?);
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length)).filter(|&end| end <= self.bytes.len());
        match end {
            Some(end) if !inside => self.frame_end = end,
            _ => return Err(PickleProblem::Frame(length)),
        }
        Ok(())
    }

    // The stack.

    fn push(&mut self, value: Value<'a>) -> Step {
        if self.stack.len() >= DEEPEST_STACK {
            return Err(PickleProblem::TooMany { what: "values on its stack", most: DEEPEST_STACK });
        }
        self.stack.push(value);
        Ok(())
    }

    /// How many values there are above the last mark.
    fn above_mark(&self) -> usize {
        self.stack.len() - self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Step<Value<'a>> {
        let underflow = PickleProblem::Underflow(self.opcode);
        if self.above_mark() == 0 { Err(underflow) } else { self.stack.pop().ok_or(underflow) }
    }

    fn mark(&mut self) -> Step {
        if self.marks.len() >= MOST_MARKS {
            return Err(PickleProblem::TooMany { what: "open marks", most: MOST_MARKS });
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// Removes the last mark, and returns how many values were above it.
    fn since_mark(&mut self) -> Step<usize> {
        let mark = self.marks.pop().ok_or(PickleProblem::Underflow(self.opcode))?;
        Ok(self.stack.len() - mark)
    }

    /// The last `count` values, taken off the stack.
    fn pop_many(&mut self, count: usize) -> Step<Vec<Value<'a>>> {
        if self.above_mark() < count {
            return Err(PickleProblem::Underflow(self.opcode));
        }
        Ok(self.stack.split_off(self.stack.len() - count))
    }

    // Values.

    fn text(&mut self, length: usize) -> Step {
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| PickleProblem::Utf8)?;
        self.push(Value::Text(text))
    }

    fn long(&mut self) -> Step {
        let length = self.byte()?;
        if length > 8 {
            return Err(PickleProblem::Wide(length));
        }
        let bytes = self.take(length.into())?;
        let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
        let mut number = [if negative { 0xFF } else { 0 }; 8];
        number[..bytes.len()].copy_from_slice(bytes);
        self.push(Value::Int(i64::from_le_bytes(number)))
    }

    fn tuple_of(&mut self, count: usize) -> Step {
        let values = self.pop_many(count)?;
        if self.tuples.len() + count > MOST_VALUES {
            return Err(PickleProblem::TooMany { what: "items of tuples", most: MOST_VALUES });
        }
        let span = Span { start: self.tuples.len(), length: count };
        self.tuples.extend(values);
        self.push(Value::Tuple(span))
    }

    fn make(&mut self, object: Object<'a>) -> Step {
        if self.objects.len() >= MOST_OBJECTS {
            return Err(PickleProblem::TooMany { what: "dicts, lists and calls", most: MOST_OBJECTS });
        }
        self.objects.push((self.start, object));
        self.push(Value::Object(self.objects.len() - 1))
    }

    /// The object on top of the stack.
    fn top(&mut self, needs: &'static str) -> Step<&mut Object<'a>> {
        let opcode = self.opcode;
        if self.above_mark() == 0 {
            return Err(PickleProblem::Underflow(opcode));
        }
        match self.stack.last() {
            Some(&Value::Object(index)) => Ok(&mut self.objects[index].1),
            _ => Err(PickleProblem::Operand { opcode, needs }),
        }
    }

    fn count_items(&mut self, count: usize) -> Step {
        self.items += count;
        if self.items > MOST_VALUES {
            return Err(PickleProblem::TooMany { what: "items of dicts and lists", most: MOST_VALUES });
        }
        Ok(())
    }

    fn append(&mut self, count: usize) -> Step {
        self.count_items(count)?;
        let opcode = self.opcode;
        let values = self.pop_many(count)?;
        match self.top("list")? {
            Object::List(list) => list.extend(values),
            _ => return Err(PickleProblem::Operand { opcode, needs: "list" }),
        }
        Ok(())
    }

    fn set_items(&mut self, count: usize) -> Step {
        self.count_items(count)?;
        let opcode = self.opcode;
        let values = self.pop_many(count)?;
        let Object::Dict { items, keys } = self.top("dict")? else {
            return Err(PickleProblem::Operand { opcode, needs: "dict" });
        };
        let pairs = values.chunks_exact(2);
        if !pairs.remainder().is_empty() {
            return Err(PickleProblem::Operand { opcode, needs: "value for each key" });
        }
        for pair in pairs {
            let key = match pair[0] {
                Value::Text(text) => Key::Text(text),
                Value::Bytes(bytes) => Key::Bytes(bytes),
                Value::Int(number) => Key::Int(number),
                _ => return Err(PickleProblem::Key),
            };
            if !keys.insert(key) {
                return Err(PickleProblem::DuplicateKey(key.shown()));
            }
            items.push((pair[0], pair[1]));
        }
        Ok(())
    }

    // The memo.

    /// Every writer numbers the entries consecutively, so a new one can only follow the last.
    fn put(&mut self, index: u32) -> Step {
        let count = self.memo.len();
        if count >= MOST_VALUES {
            return Err(PickleProblem::TooMany { what: "memo entries", most: MOST_VALUES });
        }
        if index as usize != count {
            return Err(PickleProblem::Put { index, count });
        }
        let value = self.pop()?;
        self.memo.push(value);
        self.push(value)
    }

    fn get(&mut self, index: u32) -> Step {
        let value = self.memo.get(index as usize).copied().ok_or(PickleProblem::Get { index, count: self.memo.len() })?;
        self.push(value)
    }

    // What a pickle would execute.

    fn find(&mut self, module: &str, name: &str) -> Step {
        let known = self.globals.iter().find(|global| global.module == module && global.name == name);
        let global = known.ok_or_else(|| PickleProblem::Global(short(&format!("{module}.{name}"))))?;
        self.push(Value::Global(global))
    }

    fn global(&mut self) -> Step {
        let (module, name) = (self.line()?, self.line()?);
        self.find(module, name)
    }

    fn stack_global(&mut self) -> Step {
        match (self.pop()?, self.pop()?) {
            (Value::Text(name), Value::Text(module)) => self.find(module, name),
            _ => Err(PickleProblem::Operand { opcode: self.opcode, needs: "module and name" }),
        }
    }

    /// The global and the arguments that REDUCE or NEWOBJ find on the stack.
    fn callee(&mut self) -> Step<(&'static Global, Span)> {
        match (self.pop()?, self.pop()?) {
            (Value::Tuple(arguments), Value::Global(global)) => Ok((global, arguments)),
            _ => Err(PickleProblem::Operand { opcode: self.opcode, needs: "global and tuple of arguments" }),
        }
    }

    fn wrong_usage(&self, global: &Global) -> PickleProblem {
        PickleProblem::Usage { global: short(&format!("{}.{}", global.module, global.name)), opcode: self.opcode }
    }

    fn reduce(&mut self) -> Step {
        let (global, arguments) = self.callee()?;
        match global.usage {
            Usage::Function => self.make(Object::Call { global, arguments }),
            Usage::Dict if arguments.length == 0 => self.make(Object::Dict { items: Vec::new(), keys: HashSet::new() }),
            _ => Err(self.wrong_usage(global)),
        }
    }

    fn new_object(&mut self) -> Step {
        let (global, arguments) = self.callee()?;
        match global.usage {
            Usage::Class if arguments.length == 0 => self.make(Object::Instance { state: None }),
            _ => Err(self.wrong_usage(global)),
        }
    }

    /// Torch stores the versions of a model's modules as the state of the dict of its weights: that is not needed
    /// and is dropped.
    fn build(&mut self) -> Step {
        let opcode = self.opcode;
        let given = self.pop()?;
        match self.top("object to give a state to")? {
            Object::Instance { state: state @ None } => *state = Some(given),
            Object::Dict { .. } => {}
            _ => return Err(PickleProblem::Operand { opcode, needs: "object to give a state to" }),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GLOBALS: &[Global] = &[
        Global { module: "m", name: "function", usage: Usage::Function },
        Global { module: "m", name: "class", usage: Usage::Class },
        Global { module: "m", name: "dict", usage: Usage::Dict },
    ];

    /// The items of the tuple that the opcodes in `body` leave between a mark and its tuple.
    fn items(body: &[u8]) -> Vec<String> {
        let pickle = [b"\x80\x04(", body, b"t."].concat();
        let pickle = Pickle::read(&pickle, GLOBALS).unwrap();
        let Value::Tuple(items) = pickle.root() else { panic!("{:?}", pickle.root()) };
        pickle.tuple(items).iter().map(|item| format!("{item:?}")).collect()
    }

    #[test]
    fn numbers_are_read_in_every_width() {
        let numbers = [
            &b"K\xFF"[..],             // one byte, without a sign
            b"M\xFF\xFF",              // two
            b"J\xFE\xFF\xFF\xFF",      // four, with a sign
            b"\x8a\x00",               // none is zero
            b"\x8a\x01\x80",           // the sign is in the last byte
            b"\x8a\x05\0\0\0\x80\x00", // 2³¹, as Python writes it
            b"\x8a\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F",
        ];
        let expected = [255, 65535, -2, 0, -128, 1 << 31, i64::MAX];
        assert_eq!(items(&numbers.concat()), expected.map(|number: i64| format!("Int({number})")));
    }

    #[test]
    fn the_memo_gives_back_what_it_was_given() {
        let body = b"X\x01\0\0\0aq\x00\x8c\x01b\x94r\x02\0\0\0h\x00j\x01\0\0\0";
        assert_eq!(items(body), ["a", "b", "a", "b"].map(|text| format!("Text({text:?})")));
    }

    #[test]
    fn an_object_is_changed_wherever_it_is_held() {
        let bytes = b"\x80\x04(}\x94h\x00X\x01\0\0\0bNst.";
        let pickle = Pickle::read(bytes, GLOBALS).unwrap();
        let Value::Tuple(items) = pickle.root() else { panic!() };
        assert!(pickle.tuple(items).iter().all(|item| pickle.dict(*item).is_some_and(|dict| dict.len() == 1)));
    }

    #[test]
    fn calls_are_written_down() {
        let bytes = b"\x80\x04cm\nfunction\nK\x07\x85R.";
        let pickle = Pickle::read(bytes, GLOBALS).unwrap();
        let Value::Object(index) = pickle.root() else { panic!() };
        let (offset, Object::Call { global, arguments }) = pickle.object(index) else { panic!() };
        assert_eq!((offset, global.name, pickle.tuple(*arguments).len()), (bytes.len() - 2, "function", 1));

        let instance = Pickle::read(b"\x80\x04cm\nclass\n)\x81}b.", GLOBALS).unwrap();
        let Value::Object(index) = instance.root() else { panic!() };
        assert!(matches!(instance.object(index), (12, Object::Instance { state: Some(_) })));
        let dict = Pickle::read(b"\x80\x04cm\ndict\n)R}b.", GLOBALS).unwrap();
        assert!(dict.dict(dict.root()).is_some_and(<[_]>::is_empty));
    }

    #[test]
    fn what_is_called_must_be_meant_to_be() {
        for (body, opcode) in [(&b"cm\nclass\n)R"[..], "REDUCE"), (b"cm\nfunction\n)\x81", "NEWOBJ"), (b"cm\ndict\nN\x85R", "REDUCE")] {
            let bytes = [b"\x80\x04", body, b"."].concat();
            let Refused { offset, problem } = Pickle::read(&bytes, GLOBALS).unwrap_err();
            assert_eq!(offset, bytes.len() - 2);
            assert!(matches!(problem, PickleProblem::Usage { opcode: refused, .. } if refused == opcode));
        }
    }

    #[test]
    fn every_opcode_has_one_name() {
        let names: Vec<_> = (0..=255).filter_map(opcode::name).collect();
        assert_eq!(names.len(), 68); // as many as Python's pickletools lists
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    }
}
