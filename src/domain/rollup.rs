//! Filled in by the work that needs it.
