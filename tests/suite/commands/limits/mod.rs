//! `limits`: what plans and APIs allow.

mod api;
