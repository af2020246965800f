//! The memory of an interpreter. Every address in it comes from the program and may be wrong.

/// An error number of WASI preview 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

/// There is no such descriptor.
pub const BAD_DESCRIPTOR: Errno = Errno(8);
/// An address is outside the memory.
pub const FAULT: Errno = Errno(21);
/// An argument has no meaning.
pub const INVALID: Errno = Errno(28);
/// There is no such function.
pub const NOT_THERE: Errno = Errno(52);
/// A descriptor has no position.
pub const NO_POSITION: Errno = Errno(70);

/// The memory of an interpreter.
pub struct Guest<'a>(pub &'a mut [u8]);

impl Guest<'_> {
    /// The `length` bytes at address `at`.
    pub fn bytes(&self, at: u32, length: u32) -> Result<&[u8], Errno> {
        self.0.get(at as usize..).and_then(|rest| rest.get(..length as usize)).ok_or(FAULT)
    }

    /// The same, to be written to.
    pub fn bytes_mut(&mut self, at: u32, length: u32) -> Result<&mut [u8], Errno> {
        self.0.get_mut(at as usize..).and_then(|rest| rest.get_mut(..length as usize)).ok_or(FAULT)
    }

    /// The little-endian number at address `at`.
    pub fn u32(&self, at: u32) -> Result<u32, Errno> {
        self.0.get(at as usize..).and_then(|rest| rest.first_chunk()).map(|bytes| u32::from_le_bytes(*bytes)).ok_or(FAULT)
    }

    /// The little-endian number at address `at`.
    pub fn u64(&self, at: u32) -> Result<u64, Errno> {
        self.0.get(at as usize..).and_then(|rest| rest.first_chunk()).map(|bytes| u64::from_le_bytes(*bytes)).ok_or(FAULT)
    }

    /// Writes `bytes` to address `at`.
    pub fn put(&mut self, at: u32, bytes: &[u8]) -> Result<(), Errno> {
        let room = self.0.get_mut(at as usize..).and_then(|rest| rest.get_mut(..bytes.len())).ok_or(FAULT)?;
        room.copy_from_slice(bytes);
        Ok(())
    }

    /// Writes a number to address `at`.
    pub fn put_u32(&mut self, at: u32, number: u32) -> Result<(), Errno> {
        self.put(at, &number.to_le_bytes())
    }

    /// Entry `index` of a list of (address, length) at `list`.
    pub fn vector(&self, list: u32, index: u32) -> Result<(u32, u32), Errno> {
        let at = entry(list, index, 8)?;
        Ok((self.u32(at)?, self.u32(at.checked_add(4).ok_or(FAULT)?)?))
    }
}

/// The address of entry `index` in a list at `list` whose entries have `size` bytes.
pub fn entry(list: u32, index: u32, size: u32) -> Result<u32, Errno> {
    index.checked_mul(size).and_then(|offset| list.checked_add(offset)).ok_or(FAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_outside_the_memory_are_refused() {
        let mut memory = [0u8; 16];
        let mut guest = Guest(&mut memory);
        guest.put(8, &[1, 0, 0, 0, 2, 0, 0, 0]).unwrap();
        assert_eq!((guest.u32(8), guest.u32(12), guest.u64(8)), (Ok(1), Ok(2), Ok((2 << 32) + 1)));
        assert_eq!((guest.vector(8, 0), guest.vector(0, 1)), (Ok((1, 2)), Ok((1, 2))));
        assert_eq!(guest.bytes(15, 1), Ok(&[0][..]));
        assert_eq!(guest.bytes(16, 0), Ok(&[][..]));
        for at in [13, 16, 17, u32::MAX] {
            assert_eq!((guest.u32(at), guest.u64(at), guest.put_u32(at, 0)), (Err(FAULT), Err(FAULT), Err(FAULT)), "{at}");
        }
        assert_eq!((guest.bytes(0, 17), guest.bytes(u32::MAX, u32::MAX)), (Err(FAULT), Err(FAULT)));
        assert_eq!(guest.bytes_mut(8, 9).unwrap_err(), FAULT);
        assert_eq!((guest.vector(8, 1), guest.vector(0, u32::MAX), guest.vector(12, 0)), (Err(FAULT), Err(FAULT), Err(FAULT)));
        assert_eq!(memory[..8], [0; 8]);
    }
}
