//! Parses the command line, calls the library, returns its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    usagectl::cli::run().into()
}
