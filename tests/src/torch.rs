//! Writes files as `torch.save` does, and pickles opcode by opcode, so that tests can make ones that no torch would.

/// A zip archive of stored entries, laid out as torch does: sizes behind the data, the 64-bit end always there.
pub fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    archive_with(entries, false)
}

/// The same with 64-bit lengths and places in the directory, as torch writes them for entries of 4 GiB and more.
pub fn archive_64(entries: &[(&str, &[u8])]) -> Vec<u8> {
    archive_with(entries, true)
}

fn archive_with(entries: &[(&str, &[u8])], long: bool) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let start = file.len() as u32;
        let (crc, length) = (crc32(data), data.len() as u32);
        let flags = [20, 0, 0x08, 0x08, 0, 0, 0, 0, 0, 0];
        // Torch aligns data to 64 bytes with a field of its own.
        let padding = (64 - (file.len() + 30 + name.len() + 4) % 64) % 64;
        file.extend(b"PK\x03\x04");
        file.extend(flags);
        file.extend([0; 12]);
        file.extend((name.len() as u16).to_le_bytes());
        file.extend((padding as u16 + 4).to_le_bytes());
        file.extend(name.as_bytes());
        file.extend(b"FB");
        file.extend((padding as u16).to_le_bytes());
        file.extend(vec![b'Z'; padding]);
        file.extend(*data);
        file.extend(b"PK\x07\x08");
        file.extend([crc, length, length].map(u32::to_le_bytes).concat());

        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(flags);
        let mut extra = Vec::new();
        if long {
            extra.extend([1, 0, 24, 0]);
            extra.extend([length, length, start].map(|field| u64::from(field).to_le_bytes()).concat());
        }
        let field = |field: u32| if long { u32::MAX } else { field }.to_le_bytes();
        directory.extend(crc.to_le_bytes());
        directory.extend([length, length].map(field).concat());
        directory.extend([name.len() as u16, extra.len() as u16].map(u16::to_le_bytes).concat());
        directory.extend([0; 10]);
        directory.extend(field(start));
        directory.extend(name.as_bytes());
        directory.extend(extra);
    }
    let (start, length, count) = (file.len() as u64, directory.len() as u64, entries.len() as u64);
    file.extend(directory);
    let end = file.len() as u64;
    file.extend(b"PK\x06\x06");
    file.extend(44u64.to_le_bytes());
    file.extend([0x1e, 3, 0x2d, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.extend([count, count, length, start].map(u64::to_le_bytes).concat());
    file.extend(b"PK\x06\x07\0\0\0\0");
    file.extend(end.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend([count as u16, count as u16].map(u16::to_le_bytes).concat());
    file.extend([length as u32, start as u32].map(u32::to_le_bytes).concat());
    file.extend([0, 0]);
    file
}

/// The CRC-32 of zip files, bit by bit.
fn crc32(data: &[u8]) -> u32 {
    !data
        .iter()
        .fold(!0u32, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 }))
}

/// A `.pt` file with this pickle and these storages, keyed "0", "1", ….
pub fn saved(pickle: &[u8], storages: &[&[u8]]) -> Vec<u8> {
    let names: Vec<String> = (0..storages.len()).map(|key| format!("model/data/{key}")).collect();
    let mut entries = vec![("model/data.pkl", pickle), ("model/byteorder", b"little".as_slice())];
    entries.extend(names.iter().map(String::as_str).zip(storages.iter().copied()));
    entries.push(("model/version", b"3\n"));
    archive(&entries)
}

/// A pickle, opcode by opcode.
#[derive(Clone, Debug)]
pub struct Pickle(pub Vec<u8>);

impl Pickle {
    /// Begins with the opcode PROTO.
    pub fn new(protocol: u8) -> Self {
        Self(vec![0x80, protocol])
    }

    /// Adds opcodes and their arguments as they are.
    pub fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.extend(bytes.as_ref());
        self
    }

    /// Names a global.
    pub fn global(self, module: &str, name: &str) -> Self {
        self.raw(format!("c{module}\n{name}\n"))
    }

    /// Pushes text.
    pub fn text(self, text: &str) -> Self {
        self.raw("X").raw((text.len() as u32).to_le_bytes()).raw(text)
    }

    /// Pushes bytes.
    pub fn bytes(self, bytes: &[u8]) -> Self {
        self.raw("B").raw((bytes.len() as u32).to_le_bytes()).raw(bytes)
    }

    /// Pushes a whole number.
    pub fn int(self, number: i64) -> Self {
        self.raw([0x8a, 8]).raw(number.to_le_bytes())
    }

    /// Pushes a tuple of whole numbers.
    pub fn ints(self, numbers: &[i64]) -> Self {
        numbers.iter().fold(self.raw("("), |pickle, &number| pickle.int(number)).raw("t")
    }

    /// Pushes a tensor as torch does.
    pub fn tensor(self, tensor: &Tensor) -> Self {
        self.global("torch._utils", "_rebuild_tensor_v2")
            .raw("((")
            .text("storage")
            .global("torch", tensor.class)
            .text(tensor.key)
            .text("cuda:0")
            .int(tensor.stored)
            .raw("tQ")
            .int(tensor.offset)
            .ints(tensor.shape)
            .ints(tensor.strides)
            .raw(b"\x89")
            .global("collections", "OrderedDict")
            .raw(")RtR")
    }

    /// Ends with the opcode STOP.
    pub fn stop(self) -> Vec<u8> {
        self.raw(".").0
    }
}

/// What a tensor is rebuilt from.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    /// The class of its storage.
    pub class: &'a str,
    /// Its storage's key.
    pub key: &'a str,
    /// Elements of its storage.
    pub stored: i64,
    /// Where in its storage it begins.
    pub offset: i64,
    /// Lengths of its axes.
    pub shape: &'a [i64],
    /// Elements between neighbours along each axis.
    pub strides: &'a [i64],
}

impl Default for Tensor<'_> {
    /// A matrix of 2 × 3 float32, alone in storage 0.
    fn default() -> Self {
        Self { class: "FloatStorage", key: "0", stored: 6, offset: 0, shape: &[2, 3], strides: &[3, 1] }
    }
}

/// The pickle of a dict of tensors.
pub fn dict(tensors: &[(&str, Tensor)]) -> Vec<u8> {
    tensors.iter().fold(Pickle::new(2).raw("}("), |pickle, (name, tensor)| pickle.text(name).tensor(tensor)).raw("u").stop()
}
