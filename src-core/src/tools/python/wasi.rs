//! The functions of WASI preview 1 that an interpreter has: arguments, clocks, random numbers, an input, two outputs, sleep
//! and exit. All others, those for files and sockets among them, answer that they are not there.
//!
//! The descriptors claim to be regular files. If the input were a terminal, CPython would wait for commands, and exit
//! with 0 after errors.

use wasmtime::{Caller, Extern, ExternType, FuncType, Linker, Module, Val, ValType};

use super::driver::ARGUMENTS;
use super::guest::{BAD_DESCRIPTOR, FAULT, Guest, NO_POSITION, NOT_THERE};
use super::host::{Fault, Host};
use super::outcome::Outcome;

/// The module that all functions are imported from.
const MODULE: &str = "wasi_snapshot_preview1";

/// Descriptors: an input and two outputs.
const DESCRIPTORS: u32 = 3;

/// The type of a regular file.
const REGULAR_FILE: u8 = 4;

/// Ends a program's run; the host knows how.
#[derive(Debug, thiserror::Error)]
#[error("the program has ended")]
struct Ended;

/// Ends the run of a program whose host knows how it ended.
pub fn end() -> wasmtime::Error {
    Ended.into()
}

/// Does a call's work on the interpreter's memory, and gives the number that it returns.
fn answer(mut caller: Caller<'_, Host>, work: impl FnOnce(&mut Host, &mut Guest<'_>) -> Result<(), Fault>) -> wasmtime::Result<i32> {
    let Some(memory) = caller.get_export("memory").and_then(Extern::into_memory) else { return Ok(FAULT.0) };
    let (bytes, host) = memory.data_and_store_mut(&mut caller);
    match work(host, &mut Guest(bytes)) {
        Ok(()) => Ok(0),
        Err(Fault::Number(number)) => Ok(number.0),
        Err(Fault::End(outcome)) => {
            host.end(outcome);
            Err(end())
        }
    }
}

/// A linker with all that `module` may import.
///
/// # Errors
/// If it imports something else.
pub fn linker(module: &Module) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(module.engine());
    absent(&mut linker, module)?;
    // What follows replaces a part of them.
    linker.allow_shadowing(true);
    programs(&mut linker)?;
    descriptors(&mut linker)?;
    Ok(linker)
}

/// Arguments, environment, clocks, random numbers and the end.
fn programs(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "args_sizes_get", |caller: Caller<'_, Host>, count: u32, bytes: u32| {
        answer(caller, |_, guest| {
            guest.put_u32(count, ARGUMENTS.len() as u32)?;
            Ok(guest.put_u32(bytes, ARGUMENTS.iter().map(|argument| argument.len() as u32 + 1).sum())?)
        })
    })?;
    linker.func_wrap(MODULE, "args_get", |caller: Caller<'_, Host>, mut list: u32, mut text: u32| {
        answer(caller, |_, guest| {
            for argument in ARGUMENTS {
                guest.put_u32(list, text)?;
                guest.put(text, argument.as_bytes())?;
                let end = text.checked_add(argument.len() as u32).ok_or(FAULT)?;
                guest.put(end, &[0])?;
                text = end.checked_add(1).ok_or(FAULT)?;
                list = list.checked_add(4).ok_or(FAULT)?;
            }
            Ok(())
        })
    })?;
    linker.func_wrap(MODULE, "environ_sizes_get", |caller: Caller<'_, Host>, count: u32, bytes: u32| {
        answer(caller, |_, guest| {
            guest.put_u32(count, 0)?;
            Ok(guest.put_u32(bytes, 0)?)
        })
    })?;
    linker.func_wrap(MODULE, "environ_get", |_: Caller<'_, Host>, _: u32, _: u32| 0i32)?;
    linker.func_wrap(MODULE, "clock_res_get", |caller: Caller<'_, Host>, clock: u32, at: u32| {
        answer(caller, |host, guest| host.resolution(guest, clock, at))
    })?;
    linker.func_wrap(MODULE, "clock_time_get", |caller: Caller<'_, Host>, clock: u32, _precision: u64, at: u32| {
        answer(caller, |host, guest| host.time(guest, clock, at))
    })?;
    linker.func_wrap(MODULE, "poll_oneoff", |caller: Caller<'_, Host>, from: u32, to: u32, entries: u32, count: u32| {
        answer(caller, |host, guest| host.poll(guest, from, to, entries, count))
    })?;
    linker.func_wrap(MODULE, "sched_yield", |_: Caller<'_, Host>| 0i32)?;
    linker.func_wrap(MODULE, "random_get", |caller: Caller<'_, Host>, at: u32, length: u32| {
        answer(caller, |host, guest| host.random(guest, at, length))
    })?;
    linker.func_wrap(MODULE, "proc_exit", |mut caller: Caller<'_, Host>, status: i32| -> wasmtime::Result<()> {
        caller.data_mut().end(Outcome::EndedEarly { status });
        Err(end())
    })?;
    Ok(())
}

/// The input and the outputs.
fn descriptors(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "fd_read", |caller: Caller<'_, Host>, descriptor: u32, list: u32, entries: u32, count: u32| {
        answer(caller, |host, guest| host.read(guest, descriptor, list, entries, count))
    })?;
    linker.func_wrap(MODULE, "fd_write", |caller: Caller<'_, Host>, descriptor: u32, list: u32, entries: u32, count: u32| {
        answer(caller, |host, guest| host.write(guest, descriptor, list, entries, count))
    })?;
    // Type, flags, and the rights of the descriptor and of what it opens: reading, writing and asking for its state.
    linker.func_wrap(MODULE, "fd_fdstat_get", |caller: Caller<'_, Host>, descriptor: u32, at: u32| {
        answer(caller, |_, guest| {
            exists(descriptor)?;
            let mut state = [0; 24];
            state[0] = REGULAR_FILE;
            state[8..16].copy_from_slice(&RIGHTS.to_le_bytes());
            Ok(guest.put(at, &state)?)
        })
    })?;
    // Device, number, type, links, size and three times.
    linker.func_wrap(MODULE, "fd_filestat_get", |caller: Caller<'_, Host>, descriptor: u32, at: u32| {
        answer(caller, |_, guest| {
            exists(descriptor)?;
            let mut state = [0; 64];
            (state[16], state[24]) = (REGULAR_FILE, 1);
            Ok(guest.put(at, &state)?)
        })
    })?;
    linker.func_wrap(MODULE, "fd_seek", |caller: Caller<'_, Host>, descriptor: u32, _: i64, _: u32, _: u32| {
        answer(caller, |_, _| exists(descriptor).and(Err(NO_POSITION.into())))
    })?;
    linker.func_wrap(MODULE, "fd_tell", |caller: Caller<'_, Host>, descriptor: u32, _: u32| {
        answer(caller, |_, _| exists(descriptor).and(Err(NO_POSITION.into())))
    })?;
    // A program may close what it likes; the input and the outputs stay.
    linker.func_wrap(MODULE, "fd_close", |caller: Caller<'_, Host>, descriptor: u32| answer(caller, |_, _| exists(descriptor)))?;
    // No folder was opened before the start.
    linker.func_wrap(MODULE, "fd_prestat_get", |_: Caller<'_, Host>, _: u32, _: u32| BAD_DESCRIPTOR.0)?;
    linker.func_wrap(MODULE, "fd_prestat_dir_name", |_: Caller<'_, Host>, _: u32, _: u32, _: u32| BAD_DESCRIPTOR.0)?;
    Ok(())
}

/// The rights to read (bit 1), to write (bit 6), and to ask for a descriptor's state (bit 21).
const RIGHTS: u64 = 1 << 1 | 1 << 6 | 1 << 21;

fn exists(descriptor: u32) -> Result<(), Fault> {
    if descriptor < DESCRIPTORS { Ok(()) } else { Err(BAD_DESCRIPTOR.into()) }
}

/// All functions of WASI that `module` imports, doing nothing.
fn absent(linker: &mut Linker<Host>, module: &Module) -> wasmtime::Result<()> {
    for import in module.imports() {
        let ExternType::Func(function) = import.ty() else { continue };
        if import.module() == MODULE && returns_a_number(&function) {
            linker.func_new(MODULE, import.name(), function, |_, _, results| {
                results[0] = Val::I32(NOT_THERE.0);
                Ok(())
            })?;
        }
    }
    Ok(())
}

fn returns_a_number(function: &FuncType) -> bool {
    function.results().len() == 1 && function.results().all(|result| matches!(result, ValType::I32))
}
