//! `collect`, on both engines and against real servers.

mod import;
