//! Microsoft's DirectX shader compiler, from its library for Linux, called as wgpu-hal calls it.

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::Path;

/// The loaded compiler. It is not for use by several threads.
pub struct Dxc {
    compiler: *mut Object,
}

/// A COM object: a pointer to its table of functions. On Linux their calling convention is C's.
#[repr(C)]
struct Object {
    table: *const [*const c_void; 8],
}

#[repr(C)]
struct Guid(u32, u16, u16, [u8; 8]);

#[repr(C)]
struct Source {
    text: *const c_void,
    bytes: usize,
    encoding: u32,
}

/// What it says of every shader on Linux, where there is no library to sign the result with.
const UNSIGNED: &str = "warning: DXIL.dll not found";

const UTF_8: u32 = 65001;
const CLASS: Guid = Guid(0x73e2_2d93, 0xe6ce, 0x47f3, [0xb5, 0xbf, 0xf0, 0x66, 0x4f, 0x39, 0xc1, 0xb0]);
const COMPILER_3: Guid = Guid(0x228b_4687, 0x5a6a, 0x4730, [0x90, 0x0c, 0x97, 0x02, 0xb2, 0x20, 0x3f, 0x54]);
const RESULT: Guid = Guid(0x5834_6cda, 0xdde7, 0x4497, [0x94, 0x61, 0x6f, 0x87, 0xaf, 0x5e, 0x06, 0x59]);

type Create = unsafe extern "C" fn(*const Guid, *const Guid, *mut *mut Object) -> c_int;
type Release = unsafe extern "C" fn(*mut Object) -> u32;
type Compile =
    unsafe extern "C" fn(*mut Object, *const Source, *const *const libc::wchar_t, u32, *mut c_void, *const Guid, *mut *mut Object) -> c_int;
type Status = unsafe extern "C" fn(*mut Object, *mut c_int) -> c_int;
type Errors = unsafe extern "C" fn(*mut Object, *mut *mut Object) -> c_int;
type Pointer = unsafe extern "C" fn(*mut Object) -> *const c_char;
type Size = unsafe extern "C" fn(*mut Object) -> usize;

// Places in the tables, after the three of IUnknown and the two of its destructor, which Windows' tables do not have.
const RELEASE: usize = 2;
const COMPILE: usize = 5;
const GET_STATUS: usize = 5;
const GET_ERRORS: usize = 7;
const BLOB_POINTER: usize = 5;
const BLOB_SIZE: usize = 6;

impl Dxc {
    /// Loads `library`.
    pub fn load(library: &Path) -> Result<Self, String> {
        let path = CString::new(library.as_os_str().as_encoded_bytes()).map_err(|error| error.to_string())?;
        // SAFETY: the library is the pinned one, whose function has this type; it is never unloaded.
        unsafe {
            let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
            let found = if handle.is_null() { std::ptr::null_mut() } else { libc::dlsym(handle, c"DxcCreateInstance".as_ptr()) };
            if found.is_null() {
                return Err(format!("{} is not DXC: {}", library.display(), std::ffi::CStr::from_ptr(libc::dlerror()).to_string_lossy()));
            }
            let create = std::mem::transmute::<*mut c_void, Create>(found);
            let mut compiler = std::ptr::null_mut();
            match create(&CLASS, &COMPILER_3, &mut compiler) {
                0 => Ok(Self { compiler }),
                code => Err(format!("DXC makes no compiler: {code:#x}")),
            }
        }
    }

    /// Compiles a compute shader for `target`, such as `cs_6_0`; says what the compiler says where it refuses. wgpu-hal takes
    /// any message for a failure, so warnings would be one if they were not turned off.
    pub fn compile(&self, text: &str, entry: &str, target: &str, sixteen_bit: bool) -> Result<(), String> {
        let mut arguments = vec!["-E", entry, "-T", target, "-HV", "2018", "-no-warnings", "-Ges"];
        if sixteen_bit {
            arguments.push("-enable-16bit-types");
        }
        let wide: Vec<Vec<libc::wchar_t>> =
            arguments.iter().map(|word| word.chars().map(|c| c as libc::wchar_t).chain([0]).collect()).collect();
        let pointers: Vec<_> = wide.iter().map(|word| word.as_ptr()).collect();
        let source = Source { text: text.as_ptr().cast(), bytes: text.len(), encoding: UTF_8 };
        // SAFETY: the tables' places are those of `dxcapi.h`; what is handed in outlives the call; each object is released once.
        unsafe {
            let mut result = std::ptr::null_mut();
            let compile: Compile = method(self.compiler, COMPILE);
            let code =
                compile(self.compiler, &source, pointers.as_ptr(), pointers.len() as u32, std::ptr::null_mut(), &RESULT, &mut result);
            if code != 0 || result.is_null() {
                return Err(format!("DXC fails: {code:#x}"));
            }
            let (mut status, mut errors) = (0, std::ptr::null_mut());
            let (get_status, get_errors): (Status, Errors) = (method(result, GET_STATUS), method(result, GET_ERRORS));
            get_status(result, &mut status);
            get_errors(result, &mut errors);
            let mut said = String::new();
            if !errors.is_null() {
                let (pointer, size): (Pointer, Size) = (method(errors, BLOB_POINTER), method(errors, BLOB_SIZE));
                let bytes = std::slice::from_raw_parts(pointer(errors).cast::<u8>(), size(errors));
                said = String::from_utf8_lossy(bytes).trim_end_matches('\0').trim().to_owned();
                release(errors);
            }
            release(result);
            match status {
                0 if said.is_empty() || said.starts_with(UNSIGNED) => Ok(()),
                _ => Err(format!("DXC {target}: {said}")),
            }
        }
    }
}

impl Drop for Dxc {
    fn drop(&mut self) {
        // SAFETY: the compiler was made once and is released once.
        unsafe { release(self.compiler) }
    }
}

/// The function at `place` of the object's table.
///
/// # Safety
/// `F` must be the type of that function.
unsafe fn method<F: Copy>(object: *mut Object, place: usize) -> F {
    // SAFETY: as promised; all of them are pointers to functions.
    unsafe { std::mem::transmute_copy(&(*(*object).table)[place]) }
}

/// # Safety
/// The object must be alive, and not be used any more.
unsafe fn release(object: *mut Object) {
    // SAFETY: as promised.
    unsafe {
        let release: Release = method(object, RELEASE);
        release(object);
    }
}
