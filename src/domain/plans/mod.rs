//! Plans of providers: what they include, what they cost, where that is written, and which of it is in
//! force.
//!
//! (The catalogue of SQL objects is another thing: `domain::catalogue`.)

pub mod api_limit;
pub mod apply;
pub mod audit;
pub mod catalogue;
pub mod choice;
pub mod diff;
pub mod in_force;
pub mod read;
pub mod source;
pub mod standing;

pub use api_limit::{ApiLimit, ApiLimitOrigin, Unit};
pub use catalogue::{
    AtLimit, Catalogue, Included, Kind, LimitPeriod, Limited, Overage, Plan, PlanLimit, PriceScope,
    Source, usual_kind,
};
pub use choice::{Billing, PlanChoice};
pub use in_force::{LimitInForce, Origin};
pub use source::{Grade, PageDate};
