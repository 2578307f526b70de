//! Plans of providers: what they include and cost, where that is published, and which limits are in force.

pub mod api_limit;
pub mod audit;
pub mod catalogue;
pub mod diff;
pub mod edit;
pub mod limit;
pub mod meter;
pub mod parse;
mod raw;
pub mod selection;
pub mod source;
pub mod sync;

pub use api_limit::{ApiLimit, ApiLimitOrigin, Unit};
pub use catalogue::{
    AtLimit, Catalogue, Included, LimitPeriod, Limited, Overage, Plan, PlanLimit, PriceScope,
    Source, default_kind,
};
pub use limit::{LimitInForce, Origin};
pub use meter::{VendorMeter, vendor_meters};
pub use selection::{Billing, PlanSelection};
pub use source::{Citation, Grade, PageDate};
