//! Two migrations that tests adopt and complete.

use super::objects::{Effect, SchemaObjects};

pub(super) const CREATE: &str = "+ table usage\n+ column usage.id: text not null\n+ column usage.at: timestamp(3)\n\
                      + unique usage (id)\n+ index usage (at)\n";
pub(super) const ENHANCE: &str = "- index usage (at)\n+ column usage.cost: double precision\n+ index usage (at desc)\n\
                       + table alerts\n+ column alerts.id: text not null\n+ unique alerts (id)\n";

/// The objects after these migrations, without those of `lost`.
pub(super) fn database(effects: &[&str], lost: &[&str]) -> SchemaObjects {
    let mut objects = SchemaObjects::default();
    for effect in effects {
        objects.apply(&Effect::parse(effect));
    }
    let lost: String = lost.iter().map(|what| format!("- {what}\n")).collect();
    objects.apply(&Effect::parse(&lost));
    objects
}
