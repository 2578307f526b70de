//! What `collect` answers; one file for each answer.

mod import;
mod prune;
mod run;
mod status;

pub use import::Imported;
pub use prune::Pruned;
pub use run::{Examined, Ran, RanOne};
pub use status::Status;

/// A measured value, without digits that mean nothing.
fn value(value: f64) -> String {
    // Six digits behind the point at most, none where they are zeros.
    let rounded = (value * 1e6).round() / 1e6;
    match rounded.is_finite() {
        true => rounded.to_string(),
        false => value.to_string(),
    }
}
