//! `collect` on both engines, against real servers and faulty APIs.

mod import;
mod prune;
mod run;
mod targets;
mod vendors;
