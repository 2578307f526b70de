//! The text of a recommendation: from a template, or from a language model and verified.

pub mod bullets;
pub mod narrative;
pub mod story;
pub mod template;
pub mod verifier;
