//! What an interpreter is given, and the account of what its program used.

use std::time::{Duration, SystemTime};

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wasmtime::ResourceLimiter;

use super::clock::Clock;
use super::driver;
use super::guest::{BAD_DESCRIPTOR, Errno, Guest, INVALID, entry};
use super::limits::Limits;
use super::outcome::{Outcome, Run};
use super::sign::Sign;

/// The seed of the random numbers, so that a program does the same in every run.
const SEED: u64 = 42;

/// The most entries of the interpreter's table of functions, which has 11,000 and does not grow.
const LARGEST_TABLE: usize = 1 << 20;

/// The resolution that clocks claim, in nanoseconds.
const RESOLUTION: u64 = 1000;

/// The kind of a subscription that waits for a time, and its flag for a time that is not relative.
const UNTIL_TIME: u8 = 0;
const ABSOLUTE: u32 = 1;

/// The most subscriptions of one call; the interpreter has one.
const MOST_SUBSCRIPTIONS: u32 = 1024;

/// The clock that shows the time of day; the others count from the program's start.
const TIME_OF_DAY: u32 = 0;
const CLOCKS: u32 = 4;

/// Why a call has no success.
pub enum Fault {
    /// The program is told a number.
    Number(Errno),
    /// The program ends.
    End(Outcome),
}

impl From<Errno> for Fault {
    fn from(number: Errno) -> Self {
        Self::Number(number)
    }
}

/// One program's host.
pub struct Host {
    sign: Sign,
    limits: Limits,
    clock: Clock,
    input: Vec<u8>,
    /// Bytes of the input that were read.
    read: usize,
    output: Vec<u8>,
    random: ChaCha8Rng,
    /// The most bytes of memory.
    memory: usize,
    /// Whether it was refused more.
    refused: bool,
    /// How it ended, once that is known.
    ended: Option<Outcome>,
}

impl Host {
    /// The host of `source`, whose time begins now, on this thread.
    pub fn new(source: &str, limits: &Limits) -> Self {
        let sign = Sign::new();
        Self {
            input: driver::input(&sign, source),
            sign,
            limits: *limits,
            clock: Clock::start(),
            read: 0,
            output: Vec::new(),
            random: ChaCha8Rng::seed_from_u64(SEED),
            memory: 0,
            refused: false,
            ended: None,
        }
    }

    /// Whether its time is over.
    pub fn is_late(&self) -> bool {
        self.clock.left(self.limits.time).is_zero()
    }

    /// Notes how it ended.
    pub fn end(&mut self, outcome: Outcome) {
        self.ended.get_or_insert(outcome);
    }

    /// The program's run, if it ended by what was noted, or else by `otherwise`.
    pub fn run(self, otherwise: impl FnOnce() -> Outcome) -> Run {
        let ended = self.ended.unwrap_or_else(otherwise);
        let outcome = match ended {
            // Refused memory is an exception, which a program may have handled before it failed from something else.
            Outcome::Failed { ref exception, .. } if self.refused && exception.starts_with("MemoryError") => Outcome::OutOfMemory,
            Outcome::Crashed { .. } | Outcome::TooDeep if self.refused => Outcome::OutOfMemory,
            other => other,
        };
        Run { outcome, output: self.output, time: self.clock.elapsed(), memory: self.memory }
    }

    /// Copies what is left of the input to the buffers of `list`, and the number of bytes to `count`.
    pub fn read(&mut self, guest: &mut Guest<'_>, descriptor: u32, list: u32, entries: u32, count: u32) -> Result<(), Fault> {
        if descriptor != 0 {
            return Err(BAD_DESCRIPTOR.into());
        }
        let mut copied = 0;
        for index in 0..entries {
            let left = &self.input[self.read..];
            if left.is_empty() {
                break;
            }
            let (at, length) = guest.vector(list, index)?;
            let some = &left[..left.len().min(length as usize)];
            guest.put(at, some)?;
            self.read += some.len();
            copied += some.len() as u32;
        }
        Ok(guest.put_u32(count, copied)?)
    }

    /// Takes the bytes of the buffers of `list`, and writes their number to `count`.
    pub fn write(&mut self, guest: &mut Guest<'_>, descriptor: u32, list: u32, entries: u32, count: u32) -> Result<(), Fault> {
        if !(1..=2).contains(&descriptor) {
            return Err(BAD_DESCRIPTOR.into());
        }
        let room = self.limits.output.saturating_sub(self.output.len());
        // Enough to see that it is too much. The driver's own words have room beyond the limit.
        let most = room.saturating_add(driver::LONGEST_REPORT);
        let mut said = Vec::new();
        for index in 0..entries {
            let (at, length) = guest.vector(list, index)?;
            let bytes = guest.bytes(at, length)?;
            let some = bytes.len().min(most.saturating_sub(said.len()));
            said.extend_from_slice(&bytes[..some]);
            if some < bytes.len() {
                break;
            }
        }
        if let Some(outcome) = driver::ended(&self.sign, descriptor, &said) {
            return Err(Fault::End(outcome));
        }
        self.output.extend_from_slice(&said[..said.len().min(room)]);
        if said.len() > room {
            return Err(Fault::End(Outcome::TooMuchOutput));
        }
        Ok(guest.put_u32(count, said.len() as u32)?)
    }

    /// Fills `length` bytes at address `at` with random numbers.
    pub fn random(&mut self, guest: &mut Guest<'_>, at: u32, length: u32) -> Result<(), Fault> {
        self.random.fill_bytes(guest.bytes_mut(at, length)?);
        Ok(())
    }

    /// Writes what `clock` shows, in nanoseconds, to address `at`.
    pub fn time(&self, guest: &mut Guest<'_>, clock: u32, at: u32) -> Result<(), Fault> {
        Ok(guest.put(at, &self.now(clock)?.to_le_bytes())?)
    }

    /// Writes the resolution of `clock`, in nanoseconds, to address `at`.
    pub fn resolution(&self, guest: &mut Guest<'_>, clock: u32, at: u32) -> Result<(), Fault> {
        self.now(clock)?;
        Ok(guest.put(at, &RESOLUTION.to_le_bytes())?)
    }

    fn now(&self, clock: u32) -> Result<u64, Errno> {
        let since = match clock {
            TIME_OF_DAY => SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default(),
            1..CLOCKS => self.clock.elapsed(),
            _ => return Err(INVALID),
        };
        Ok(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Sleeps until the first of the times that are waited for. Descriptors are ready at once.
    ///
    /// `subscriptions` has `entries` entries; events are written to `events`, and their number to `count`.
    pub fn poll(&mut self, guest: &mut Guest<'_>, subscriptions: u32, events: u32, entries: u32, count: u32) -> Result<(), Fault> {
        if !(1..=MOST_SUBSCRIPTIONS).contains(&entries) {
            return Err(INVALID.into());
        }
        let waits: Vec<Wait> = (0..entries).map(|index| self.wait(guest, entry(subscriptions, index, 48)?)).collect::<Result<_, _>>()?;
        let first = waits.iter().map(|wait| wait.time).min().unwrap_or_default();
        self.sleep(first)?;
        let mut happened = 0;
        for wait in waits.iter().filter(|wait| wait.time <= first) {
            let mut event = [0; 32];
            event[..8].copy_from_slice(&wait.name);
            event[10] = wait.kind;
            guest.put(entry(events, happened, 32)?, &event)?;
            happened += 1;
        }
        Ok(guest.put_u32(count, happened)?)
    }

    /// The subscription at address `at`.
    fn wait(&self, guest: &Guest<'_>, at: u32) -> Result<Wait, Errno> {
        let field = |offset| entry(at, 1, offset);
        let mut wait = Wait { name: [0; 8], kind: guest.bytes(field(8)?, 1)?[0], time: Duration::ZERO };
        wait.name.copy_from_slice(guest.bytes(at, 8)?);
        if wait.kind == UNTIL_TIME {
            let (clock, time) = (guest.u32(field(16)?)?, guest.u64(field(24)?)?);
            let now = self.now(clock)?;
            let absolute = guest.u32(field(40)?)? & ABSOLUTE != 0;
            wait.time = Duration::from_nanos(if absolute { time.saturating_sub(now) } else { time });
        }
        Ok(wait)
    }

    fn sleep(&mut self, time: Duration) -> Result<(), Fault> {
        // A program that sleeps beyond its time need not be waited for.
        if time >= self.clock.left(self.limits.time) {
            return Err(Fault::End(Outcome::TimedOut));
        }
        self.clock.sleep(time);
        Ok(())
    }
}

/// What a program waits for.
struct Wait {
    /// Its own name for it.
    name: [u8; 8],
    /// The kind, [`UNTIL_TIME`] or that of a descriptor.
    kind: u8,
    /// How long from now.
    time: Duration,
}

impl ResourceLimiter for Host {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let granted = desired <= self.limits.memory;
        if granted {
            self.memory = self.memory.max(desired);
        } else {
            self.refused = true;
        }
        Ok(granted)
    }

    /// The system has no more.
    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = true;
        Ok(())
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= LARGEST_TABLE)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;

    fn host() -> Host {
        Host::new("pass", &Limits { time: Duration::from_secs(60), output: 100, ..Limits::default() })
    }

    fn number(fault: Fault) -> i32 {
        match fault {
            Fault::Number(Errno(number)) => number,
            Fault::End(outcome) => panic!("{outcome}"),
        }
    }

    /// A memory with a list of one buffer at 0, of `length` bytes at 64.
    fn memory(length: u32) -> [u8; 4096] {
        let mut memory = [0; 4096];
        memory[0] = 64;
        memory[4..8].copy_from_slice(&length.to_le_bytes());
        memory
    }

    #[test]
    fn the_input_is_read_to_its_end() {
        let (mut host, mut memory) = (host(), memory(20));
        let mut read = |host: &mut Host| {
            let mut guest = Guest(&mut memory);
            host.read(&mut guest, 0, 0, 1, 8).map_err(number).unwrap();
            let count = guest.u32(8).unwrap();
            guest.bytes(64, count).unwrap().to_vec()
        };
        let pieces: Vec<Vec<u8>> = (0..4).map(|_| read(&mut host)).collect();
        assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [20, 17, 0, 0]);
        assert_eq!(pieces.concat(), host.input);
        assert!(host.input.ends_with(b"\npass"));
    }

    #[test]
    fn outputs_share_their_limit() {
        let (mut host, mut memory) = (host(), memory(50));
        let mut write = |host: &mut Host, descriptor| host.write(&mut Guest(&mut memory), descriptor, 0, 1, 8);
        assert!(write(&mut host, 1).is_ok() && write(&mut host, 2).is_ok());
        assert!(matches!(write(&mut host, 1), Err(Fault::End(Outcome::TooMuchOutput))));
        assert_eq!(write(&mut host, 0).map_err(number), Err(BAD_DESCRIPTOR.0));
        assert_eq!(write(&mut host, 3).map_err(number), Err(BAD_DESCRIPTOR.0));
        assert_eq!(host.output.len(), 100);
    }

    #[test]
    fn sleep_ends_with_the_first_wait() {
        let (mut host, mut memory) = (host(), [0u8; 4096]);
        // Two waits of an hour and of 5 ms, by the clock that counts from the start.
        for (at, name, nanoseconds) in [(0, 7, 3_600_000_000_000u64), (48, 9, 5_000_000)] {
            (memory[at], memory[at + 16]) = (name, 1);
            memory[at + 24..at + 32].copy_from_slice(&nanoseconds.to_le_bytes());
        }
        let started = Instant::now();
        let mut guest = Guest(&mut memory);
        host.poll(&mut guest, 0, 1024, 2, 2048).map_err(number).unwrap();
        assert!((Duration::from_millis(5)..Duration::from_secs(30)).contains(&started.elapsed()));
        assert_eq!((guest.u32(2048), guest.u64(1024), guest.u64(1032)), (Ok(1), Ok(9), Ok(0)));
        // An hour alone is longer than the program has.
        assert!(matches!(host.poll(&mut guest, 0, 1024, 1, 2048), Err(Fault::End(Outcome::TimedOut))));
        assert_eq!(host.poll(&mut guest, 0, 1024, 0, 2048).map_err(number), Err(INVALID.0));
    }

    proptest! {
        /// Whatever a program passes, the host neither panics nor writes outside of its memory.
        #[test]
        fn any_arguments_are_harmless(
            call in 0u8..6,
            arguments in proptest::array::uniform4(prop_oneof![0u32..80, any::<u32>()]),
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut host = Host::new("pass", &Limits { time: Duration::ZERO, output: 100, ..Limits::default() });
            let [a, b, c, d] = arguments;
            let mut bytes = bytes;
            let mut guest = Guest(&mut bytes);
            let _ = match call {
                0 => host.read(&mut guest, a % 4, b, c, d),
                1 => host.write(&mut guest, a % 4, b, c, d),
                2 => host.poll(&mut guest, a, b, c, d),
                3 => host.random(&mut guest, a, b),
                4 => host.time(&mut guest, a % 8, b),
                _ => host.resolution(&mut guest, a % 8, b),
            };
            prop_assert!(host.output.len() <= 100);
        }
    }
}
