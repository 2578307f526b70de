//! Limits of plans and APIs, the plans in use, and imported catalogues.

pub mod api_limits;
pub mod catalogues;
pub mod limits;
pub mod selections;
