//! Plans of providers: what they include, what they cost, where that is written, and which of it is in
//! force.

pub mod api_limit;
pub mod audit;
pub mod catalogue;
pub mod diff;
pub mod limit;
pub mod parse;
pub mod selection;
pub mod source;
pub mod sync;

pub use api_limit::{ApiLimit, ApiLimitOrigin, Unit};
pub use catalogue::{
    AtLimit, Catalogue, Included, LimitPeriod, Limited, Overage, Plan, PlanLimit, PriceScope,
    Source, usual_kind,
};
pub use limit::{LimitInForce, Origin};
pub use selection::{Billing, PlanChoice};
pub use source::{Grade, PageDate};
