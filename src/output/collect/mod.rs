//! The answers of `collect`: one file each.

mod import;
mod prune;
mod run;
mod status;

pub use import::ImportReport;
pub use prune::PruneReport;
pub use run::{CollectReport, CollectorReport, DoctorReport, NotConfigured};
pub use status::CollectStatus;
