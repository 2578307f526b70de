//! The text of a recommendation: its summary, benefits and risks by template, and the fields of a language model.

pub mod bullets;
pub mod model;
pub mod summary;
