//! Calls the library and returns its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    usagectl::cli::run().into()
}
