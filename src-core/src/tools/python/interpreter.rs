//! The compiled interpreter, which runs programs one by one or several at a time.

use std::path::{Path, PathBuf};
use std::thread::Builder;

use wasmtime::{Config, Engine, Instance, InstancePre, Module, Store, Trap, UpdateDeadline, Val};

use super::error::PythonError;
use super::host::Host;
use super::limits::Limits;
use super::outcome::{Outcome, Run};
use super::sections::{STACK_POINTER, with_stack_pointer};
use super::ticker::Ticker;
use super::wasi;

/// The name of the interpreter's file in its folder.
pub const FILE: &str = "python-3.12.0.wasm";

/// The stack that C code has in the interpreter's memory, in pages of 64 KiB: 8 MiB, as on Linux. Built in is half a MiB,
/// which is full before Python's own limit on recursion is reached.
const GUEST_STACK: u64 = 128;

/// The stack of compiled code outside of that memory, in bytes, and that of a thread, which holds the host's functions too.
const CODE_STACK: usize = 16 << 20;
const THREAD_STACK: usize = CODE_STACK + (2 << 20);

/// CPython, compiled for this machine.
pub struct Interpreter {
    engine: Engine,
    ready: InstancePre<Host>,
    version: String,
    _ticker: Ticker,
}

impl Interpreter {
    /// Compiles the interpreter at `path`: a file, or the folder that holds [`FILE`]. Takes some seconds on all cores.
    ///
    /// # Errors
    /// If it is not there, cannot be read, or does not run a program.
    pub fn open(path: &Path) -> Result<Self, PythonError> {
        let path = if path.is_dir() { path.join(FILE) } else { path.to_path_buf() };
        let bytes = std::fs::read(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => PythonError::Missing { path: path.clone() },
            _ => PythonError::Io { path: path.clone(), source },
        })?;
        Self::compile(path, &bytes)
    }

    fn compile(path: PathBuf, bytes: &[u8]) -> Result<Self, PythonError> {
        let mut config = Config::new();
        // The stack of asynchronous code is not used, but may not be smaller.
        config.epoch_interruption(true).max_wasm_stack(CODE_STACK).async_stack_size(CODE_STACK);
        let engine = Engine::new(&config).map_err(|error| PythonError::Engine { reason: reason(&error) })?;
        let unsuitable = |reason| PythonError::Unsuitable { path: path.clone(), reason };
        // An interpreter with another layout keeps its own stack.
        let with_stack_pointer = with_stack_pointer(bytes);
        let module =
            Module::from_binary(&engine, with_stack_pointer.as_deref().unwrap_or(bytes)).map_err(|error| unsuitable(reason(&error)))?;
        let linker = wasi::linker(&module).map_err(|error| unsuitable(reason(&error)))?;
        let ready = linker.instantiate_pre(&module).map_err(|error| unsuitable(reason(&error)))?;
        let ticker = Ticker::start(&engine).map_err(PythonError::Thread)?;
        let mut made = Self { engine, ready, version: String::new(), _ticker: ticker };
        // Any module could have the right imports. Compiling has warmed nothing up, so this may take its time.
        let limits = Limits { time: std::time::Duration::from_secs(60), ..Limits::default() };
        let run = made.run("import platform\nprint(platform.python_version(), end='')", &limits)?;
        if !run.outcome.is_finished() {
            return Err(unsuitable(format!("its first program {}", run.outcome)));
        }
        made.version = String::from_utf8_lossy(&run.output).into_owned();
        Ok(made)
    }

    /// The interpreter's version, such as `3.12.0`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Runs a program, on a thread of its own.
    ///
    /// # Errors
    /// If there is no thread.
    pub fn run(&self, source: &str, limits: &Limits) -> Result<Run, PythonError> {
        std::thread::scope(|scope| {
            let thread = thread().spawn_scoped(scope, || self.execute(source, limits)).map_err(PythonError::Thread)?;
            thread.join().map_err(|_| PythonError::Thread(std::io::Error::other("it panicked")))
        })
    }

    /// Runs a program on the current thread, which is one of [`thread`].
    pub(super) fn execute(&self, source: &str, limits: &Limits) -> Run {
        let mut store = Store::new(&self.engine, Host::new(source, limits));
        store.limiter(|host| host);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut store| {
            let host = store.data_mut();
            if !host.is_late() {
                return Ok(UpdateDeadline::Continue(1));
            }
            host.end(Outcome::TimedOut);
            Err(wasi::end())
        });
        let start = self.ready.instantiate(&mut store).and_then(|instance| {
            widen(&mut store, instance)?;
            instance.get_typed_func::<(), ()>(&mut store, "_start")
        });
        let ended = start.and_then(|start| start.call(&mut store, ()));
        // The end of a program unwinds the interpreter by an error; then the host knows how it ended.
        store.into_data().run(|| match ended {
            Ok(()) => Outcome::EndedEarly { status: 0 },
            Err(error) => match error.downcast_ref::<Trap>() {
                Some(Trap::StackOverflow | Trap::MemoryOutOfBounds) => Outcome::TooDeep,
                Some(trap) => Outcome::Crashed { reason: trap.to_string() },
                None => Outcome::Crashed { reason: reason(&error) },
            },
        })
    }
}

/// Moves the stack of C code to new memory, where there is more of it. Nothing is on it before the start.
fn widen(store: &mut Store<Host>, instance: Instance) -> wasmtime::Result<()> {
    let memory = instance.get_memory(&mut *store, "memory");
    if let (Some(memory), Some(pointer)) = (memory, instance.get_global(&mut *store, STACK_POINTER)) {
        memory.grow(&mut *store, GUEST_STACK)?;
        // It grows towards 0. Addresses have 32 bits.
        let top = memory.data_size(&*store) as i32;
        pointer.set(&mut *store, Val::I32(top))?;
    }
    Ok(())
}

/// A thread that can run programs.
pub(super) fn thread() -> Builder {
    Builder::new().name("python-program".into()).stack_size(THREAD_STACK)
}

/// What an error says at its root, on one line.
fn reason(error: &wasmtime::Error) -> String {
    error.root_cause().to_string().lines().next().unwrap_or_default().to_owned()
}
