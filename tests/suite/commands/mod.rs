//! Whole commands, one file for each.
