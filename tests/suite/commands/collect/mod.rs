//! `collect`, on both engines, against real servers and against APIs that misbehave.

mod import;
mod prune;
mod run;
mod vendors;
