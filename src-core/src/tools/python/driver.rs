//! What the interpreter runs first: it runs the program, and says how that ended.
//!
//! Its input is a [`Sign`], a line break, and the program; the program itself finds an empty input. After the last line of
//! the program the sign alone goes to output 1. After an exception the sign and a report go to output 2. Nothing runs
//! after either, and without either the program [ended early](Outcome::EndedEarly).

use super::outcome::Outcome;
use super::sign::Sign;

/// The arguments of the interpreter: it ignores the environment (`-I`), does not look for packages (`-S`), and writes no
/// compiled modules (`-B`).
pub const ARGUMENTS: [&str; 6] = ["python", "-I", "-S", "-B", "-c", DRIVER];

/// The longest report, in bytes: a thousand characters of a message, and a name.
pub const LONGEST_REPORT: usize = 8 << 10;

const DRIVER: &str = r#"
import os, sys


def run(read, write, name="<program>"):
    sign, source = b"".join(iter(lambda: read(0, 65536), b"")).split(b"\n", 1)
    raised = None
    try:
        exec(compile(source, name, "exec"), {})
    except SystemExit:
        raise
    except BaseException as error:
        raised = error
    for stream in sys.stdout, sys.stderr:
        try:
            stream.flush()
        except Exception:
            pass
    if raised is None:
        write(1, sign)
    line, place = 0, raised.__traceback__
    while place:
        if place.tb_frame.f_code.co_filename == name:
            line = place.tb_lineno
        place = place.tb_next
    if isinstance(raised, SyntaxError) and raised.filename == name:
        line = raised.lineno
    try:
        said = str(raised)[:1000]
    except Exception:
        said = ""
    report = f"{line or 0}\n{type(raised).__name__[:100]}\n{said}"
    write(2, sign + b"\n" + report.encode("utf-8", "replace"))


run(os.read, os.write)
"#;

/// The interpreter's input for a program.
pub fn input(sign: &Sign, source: &str) -> Vec<u8> {
    [sign.as_bytes(), b"\n", source.as_bytes()].concat()
}

/// How the program ended, if `said`, which was written to output `descriptor`, tells that.
pub fn ended(sign: &Sign, descriptor: u32, said: &[u8]) -> Option<Outcome> {
    let rest = said.strip_prefix(sign.as_bytes())?;
    match descriptor {
        1 => rest.is_empty().then_some(Outcome::Finished),
        _ => {
            let report = String::from_utf8_lossy(rest.strip_prefix(b"\n")?).into_owned();
            let mut parts = report.splitn(3, '\n');
            let line = parts.next()?.parse().ok().filter(|line| *line > 0);
            let (name, message) = (parts.next()?, parts.next()?);
            let exception = if message.is_empty() { name.to_owned() } else { format!("{name}: {message}") };
            Some(Outcome::Failed { exception, line })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_sign_ends_a_program() {
        let sign = Sign::new();
        let report = |rest: &str| [sign.as_bytes(), rest.as_bytes()].concat();
        assert_eq!(ended(&sign, 1, sign.as_bytes()), Some(Outcome::Finished));
        for said in [&b""[..], b"finished\n", Sign::new().as_bytes(), &sign.as_bytes()[1..], &report("\n"), &report(" ")] {
            assert_eq!(ended(&sign, 1, said), None);
        }
        let failed = |line, exception: &str| Some(Outcome::Failed { exception: exception.to_owned(), line });
        assert_eq!(ended(&sign, 2, &report("\n12\nValueError\nof two\nlines")), failed(Some(12), "ValueError: of two\nlines"));
        assert_eq!(ended(&sign, 2, &report("\n0\nAssertionError\n")), failed(None, "AssertionError"));
        for rest in ["", "\n", "\n1\nValueError", "1\nValueError\n"] {
            assert_eq!(ended(&sign, 2, &report(rest)), None, "{rest:?}");
        }
        assert_eq!(ended(&sign, 2, b"\n1\nValueError\n"), None);
    }
}
