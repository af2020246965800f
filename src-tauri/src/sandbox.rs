//! The app's own promise, kept by the system: no socket of an internet address family, whatever code runs in it.
//!
//! On Linux a seccomp filter refuses them, to this thread and all that it starts later, the web view's processes
//! included. It comes before all else, and it cannot be taken back. Elsewhere the pages' policy and the absence of any
//! network crate have to do.

use std::env;

/// Environment variables by which a web view opens a port, runs code of others, or is driven from outside.
const HOSTILE: [&str; 9] = [
    "WEBKIT_INSPECTOR_SERVER",
    "WEBKIT_INSPECTOR_HTTP_SERVER",
    "WEBKIT_EXEC_PATH",
    "WEBKIT_INJECTED_BUNDLE_PATH",
    "WEBKIT_FORCE_SANDBOX",
    "TAURI_WEBVIEW_AUTOMATION",
    "TAURI_AUTOMATION",
    "WEBVIEW2_ADDITIONAL_BROWSER_ARGUMENTS",
    "WEBVIEW2_BROWSER_EXECUTABLE_FOLDER",
];

/// Shuts the door. Call it first, while there is one thread.
///
/// # Errors
/// When the system refuses the filter; the app must not go on then.
pub fn enter() -> Result<(), Refused> {
    for variable in HOSTILE {
        // SAFETY: there is no other thread yet.
        unsafe { env::remove_var(variable) };
    }
    refuse_networks()
}

/// The filter could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("the system does not let nanochat shut out networks: {0}")]
pub struct Refused(String);

/// Refuses sockets of all address families but those that stay on the machine.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
fn refuse_networks() -> Result<(), Refused> {
    use std::collections::BTreeMap;

    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Op, SeccompCondition as Condition, SeccompFilter,
        SeccompRule,
    };

    let refused = |error: &dyn std::fmt::Display| Refused(error.to_string());
    let family = |family: libc::c_int| Condition::new(0, Length::Dword, Op::Ne, family as u64);
    let foreign = [family(libc::AF_UNIX), family(libc::AF_NETLINK)].into_iter().collect::<Result<Vec<_>, _>>();
    let foreign = foreign.and_then(SeccompRule::new).map_err(|error| refused(&error))?;
    // Behind io_uring a socket could be made without the system call; x32 has system calls of its own numbers.
    let families = [(libc::SYS_socket, vec![foreign])];
    let never = [(libc::SYS_io_uring_setup, vec![])];
    #[cfg(target_arch = "x86_64")]
    let never = never.into_iter().chain([(X32 | libc::SYS_socket, vec![]), (X32 | libc::SYS_io_uring_setup, vec![])]);

    let arch = env::consts::ARCH.try_into().map_err(|error: seccompiler::BackendError| refused(&error))?;
    let install = |rules: BTreeMap<i64, Vec<SeccompRule>>, errno: libc::c_int| -> Result<(), Refused> {
        let filter =
            SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno as u32), arch).map_err(|error| refused(&error))?;
        let program: BpfProgram = filter.try_into().map_err(|error: seccompiler::BackendError| refused(&error))?;
        seccompiler::apply_filter(&program).map_err(|error| refused(&error))
    };
    install(families.into_iter().collect(), libc::EAFNOSUPPORT)?;
    install(never.into_iter().collect(), libc::ENOSYS)
}

/// What marks the system calls of the x32 interface.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
const X32: i64 = 0x4000_0000;

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))))]
fn refuse_networks() -> Result<(), Refused> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{self, Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixStream;

    use super::*;

    /// The filter binds the thread that installs it for good, so each test has one of its own.
    fn inside<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(move || {
            refuse_networks().unwrap();
            test()
        })
        .join()
        .unwrap()
    }

    #[test]
    fn there_are_no_internet_sockets_and_no_way_around() {
        let outside = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = outside.local_addr().unwrap();
        TcpStream::connect(address).unwrap();
        inside(move || {
            let refused = |outcome: io::Result<()>| assert_eq!(outcome.unwrap_err().raw_os_error(), Some(libc::EAFNOSUPPORT));
            refused(TcpStream::connect(address).map(drop));
            refused(TcpListener::bind("127.0.0.1:0").map(drop));
            refused(TcpListener::bind("[::1]:0").map(drop));
            refused(UdpSocket::bind("0.0.0.0:0").map(drop));
            for family in [libc::AF_INET, libc::AF_INET6, libc::AF_PACKET, libc::AF_BLUETOOTH, libc::AF_VSOCK, libc::AF_ALG] {
                // SAFETY: plain system calls; a socket that is made after all fails the test.
                let socket = unsafe { libc::socket(family, libc::SOCK_STREAM, 0) };
                assert_eq!((socket, io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EAFNOSUPPORT)), "family {family}");
            }
            // The upper half of the argument is ignored by the kernel, and so must not fool the filter.
            // SAFETY: as above.
            let socket = unsafe { libc::syscall(libc::SYS_socket, libc::AF_INET as i64 | (1 << 40), libc::SOCK_STREAM, 0) };
            assert_eq!(socket, -1);
            // SAFETY: as above.
            let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, std::ptr::null_mut::<u8>()) };
            assert_eq!((ring, io::Error::last_os_error().raw_os_error()), (-1, Some(libc::ENOSYS)));
            #[cfg(target_arch = "x86_64")]
            {
                // SAFETY: as above.
                let socket = unsafe { libc::syscall(X32 | libc::SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0) };
                assert_eq!(socket, -1);
            }
        });
    }

    #[test]
    fn what_stays_on_the_machine_works_and_children_inherit_the_ban() {
        inside(|| {
            let (mut one, mut other) = UnixStream::pair().unwrap();
            one.write_all(b"hello").unwrap();
            let mut heard = [0; 5];
            other.read_exact(&mut heard).unwrap();
            // SAFETY: a plain system call; the descriptor is closed right away.
            let netlink = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, 0) };
            assert!(netlink >= 0);
            // SAFETY: it is ours.
            unsafe { libc::close(netlink) };
            let script = "import socket\ntry: socket.socket()\nexcept OSError as error: print(error.errno)";
            match std::process::Command::new("python3").args(["-c", script]).output() {
                Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), libc::EAFNOSUPPORT.to_string()),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
            }
            // A thread that is made later is bound too.
            assert!(std::thread::spawn(|| TcpListener::bind("127.0.0.1:0").is_err()).join().unwrap());
        });
    }
}
