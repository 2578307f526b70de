//! Whether a stored bill is an earlier version, another file or a copy of a new one, and what of it is removed.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, Months, NaiveDate, Utc};

use super::focus_bill::{BillPart, amounts_of, item_of};
use super::point::{NewPoint, PointMetadata};

/// The source of bills that are read from stdin, which has no name that could tell whether it is the same bill again.
const STDIN: &str = "focus:-";

/// A bill to save, as its points describe it.
#[derive(Debug)]
pub struct NewBill<'a> {
    source: &'a str,
    /// Whether it may replace stored bills of other sources.
    replaces: bool,
    ids: HashSet<String>,
    days: BTreeSet<NaiveDate>,
    resources: HashSet<&'a str>,
    parts: BTreeSet<BillPart>,
    charges: HashSet<String>,
}

/// A stored sum of charges of any bill.
#[derive(Clone, Debug)]
pub struct StoredSum {
    pub id: String,
    /// `None` if it cannot be read.
    pub at: Option<DateTime<Utc>>,
    pub value: f64,
    pub metadata: PointMetadata,
}

/// The stored sums that saving a bill removes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BillChange {
    pub ids: Vec<String>,
    /// Days with charges in the removed sums, and none in the new bill.
    pub days: BTreeSet<NaiveDate>,
    /// The other sources of the same bill, all of whose sums are removed.
    pub sources: BTreeSet<String>,
    /// Sums of the earlier bill that the new one replaces, if the two have no charge in common.
    pub overwritten: u64,
}

/// A stored bill that keeps another one from being saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBill {
    pub source: String,
    pub conflict: BillConflict,
    /// Whether the new one cannot take its name: it has charges that the new one lacks, is not the only one in
    /// conflict, or the new one's own name is stored, too.
    pub is_other_cut: bool,
}

/// What a bill and a stored one have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BillConflict {
    /// Charges; the sources differ.
    Charges,
    /// Most resources and SKUs, with other amounts; the sources differ.
    Items,
    /// Source, account and billing period, and no resource or SKU.
    Name,
    /// Source, account and billing period, without resources and SKUs; no charge is in both, and the new one lacks
    /// services, regions or charge periods.
    Unclear,
}

impl<'a> NewBill<'a> {
    /// A bill that `replaces` others removes those that are in conflict with it or have only its resources and SKUs.
    pub fn new(points: &'a [NewPoint], source: &'a str, replaces: bool) -> NewBill<'a> {
        let metadata = || points.iter().map(|it| PointMetadata::of(&it.metadata));
        NewBill {
            source,
            replaces,
            ids: points.iter().map(NewPoint::id).collect(),
            days: points.iter().map(|it| it.at.date_naive()).collect(),
            resources: points
                .iter()
                .map(|it| it.series.resource.as_str())
                .collect(),
            parts: metadata().filter_map(|it| it.bill).collect(),
            charges: metadata().flat_map(|it| it.charges).collect(),
        }
    }

    /// The first day whose stored sums it is compared with: a bill may have late charges of the month before.
    /// `None` if it has no points.
    pub fn compared_from(&self) -> Option<NaiveDate> {
        let periods = self.parts.iter().map(|part| part.billed_from);
        let first = periods.chain(self.days.first().copied()).min()?;
        Some(first.checked_sub_months(Months::new(1)).unwrap_or(first))
    }

    /// What to remove of the stored sums when it is saved; the stored bill in conflict with it, if it must not be.
    ///
    /// Removed are the sums that the same source has stored for its providers, accounts and billing periods; if it
    /// replaces others, also theirs.
    pub fn compared_with(
        &self,
        stored: impl IntoIterator<Item = StoredSum>,
    ) -> Result<BillChange, StoredBill> {
        let mut comparison = Comparison {
            bill: self,
            items: self.charges.iter().filter_map(|it| item_of(it)).collect(),
            amounts: self.charges.iter().map(|it| amounts_of(it)).collect(),
            earlier: EarlierImport::default(),
            others: BTreeMap::new(),
        };
        for sum in stored {
            comparison.add(sum);
        }
        comparison.decide()
    }
}

struct Comparison<'a> {
    bill: &'a NewBill<'a>,
    /// The resources and SKUs of the new bill.
    items: HashSet<&'a str>,
    /// Its charges without their owners.
    amounts: HashSet<&'a str>,
    earlier: EarlierImport,
    /// Stored bills by source.
    others: BTreeMap<String, OtherBill<'a>>,
}

/// What the source of the new bill has stored.
#[derive(Default)]
struct EarlierImport {
    /// Sums that the new bill lacks, and their days if it has none on them.
    gone: Vec<(String, Option<NaiveDate>)>,
    /// Charges of all sums that would be replaced or removed.
    charges: Vec<String>,
    /// Whether the new bill has one of them.
    is_revised: bool,
    /// Whether a sum with charges would be removed.
    is_larger: bool,
    /// Sums with charges that would be replaced.
    replaced: u64,
}

/// A stored bill of another source.
#[derive(Default)]
struct OtherBill<'a> {
    /// Its sums of the same bill, and their days if the new bill has none on them.
    sums: Vec<(String, Option<NaiveDate>)>,
    /// The items of the new bill that it has.
    items: HashSet<&'a str>,
    /// Whether a charge is in both.
    has_charge: bool,
    /// Whether it has items that the new one lacks.
    is_larger: bool,
}

impl Comparison<'_> {
    fn add(&mut self, sum: StoredSum) {
        let bill = self.bill;
        let Some(source) = &sum.metadata.source else {
            return;
        };
        let part = sum.metadata.bill.as_ref();
        let is_of_bill = part.is_some_and(|part| bill.parts.contains(part));
        let day = sum.at.filter(|_| sum.value != 0.0);
        let day = day.map(|at| at.date_naive());
        let lost_day = day.filter(|day| !bill.days.contains(day));
        if source != bill.source {
            let other = self.others.entry(source.clone()).or_default();
            if is_of_bill {
                other.sums.push((sum.id, lost_day));
            }
            for charge in &sum.metadata.charges {
                let item = item_of(charge).and_then(|it| self.items.get(it));
                let is_in_both = bill.charges.contains(charge);
                other.has_charge |= is_in_both;
                other.is_larger |= !is_in_both && item.is_none();
                other.items.extend(item);
            }
        } else if bill.ids.contains(&sum.id) || (is_of_bill && source != STDIN) {
            self.add_earlier(sum, lost_day);
        }
    }

    fn add_earlier(&mut self, sum: StoredSum, lost_day: Option<NaiveDate>) {
        let bill = self.bill;
        let StoredSum { id, metadata, .. } = sum;
        let is_replaced = bill.ids.contains(&id);
        let is_charged = !metadata.charges.is_empty();
        // The hashes of charges differ between resources.
        let is_same_resource = bill.resources.contains(metadata.resource.as_str());
        let mut charges = metadata.charges.iter();
        let is_revised = match is_same_resource {
            true => charges.any(|it| bill.charges.contains(it)),
            false => charges.any(|it| self.amounts.contains(amounts_of(it))),
        };
        self.earlier.is_revised |= is_revised;
        self.earlier.is_larger |= is_charged && !is_replaced;
        self.earlier.replaced += u64::from(is_charged && is_replaced);
        self.earlier.charges.extend(metadata.charges);
        if !is_replaced {
            self.earlier.gone.push((id, lost_day));
        }
    }

    fn decide(mut self) -> Result<BillChange, StoredBill> {
        let others = std::mem::take(&mut self.others).into_iter();
        let (removed, kept): (BTreeMap<_, _>, BTreeMap<_, _>) =
            others.partition(|(_, it)| self.is_removed(it));
        self.others = kept;
        if let Some(stored) = self.conflict() {
            return Err(stored);
        }
        let overwritten = match self.is_unrelated() {
            true => self.earlier.replaced,
            false => 0,
        };
        let mut change = BillChange {
            overwritten,
            ..BillChange::default()
        };
        let sums = removed.values().flat_map(|it| it.sums.iter().cloned());
        for (id, lost_day) in self.earlier.gone.into_iter().chain(sums) {
            change.ids.push(id);
            change.days.extend(lost_day);
        }
        change.sources = removed.into_keys().collect();
        Ok(change)
    }

    /// Whether a stored bill has most items of the new one; a few in two files are a bill in parts.
    fn has_most_items(&self, other: &OtherBill<'_>) -> bool {
        other.items.len() * 2 > self.items.len()
    }

    fn is_in_conflict(&self, other: &OtherBill<'_>) -> bool {
        other.has_charge || self.has_most_items(other)
    }

    /// Whether another file of the same bill gives way to the new one: in conflict with it, or without items of its own.
    fn is_removed(&self, other: &OtherBill<'_>) -> bool {
        let gives_way = self.is_in_conflict(other) || !other.is_larger;
        self.bill.replaces && !other.sums.is_empty() && gives_way
    }

    /// Whether the earlier import has neither a charge nor an item of the new bill.
    fn is_unrelated(&self) -> bool {
        let mut items = self.earlier.charges.iter().filter_map(|it| item_of(it));
        !self.earlier.is_revised && items.all(|it| !self.items.contains(it))
    }

    fn conflict(&self) -> Option<StoredBill> {
        let (source, conflict) = self.other_in_conflict().or_else(|| {
            let conflict = self.conflict_with_earlier()?;
            Some((self.bill.source, conflict))
        })?;
        let mut in_conflict = self.others.iter().filter(|(_, it)| self.is_in_conflict(it));
        let is_larger = self.others.get(source).is_some_and(|it| it.is_larger);
        Some(StoredBill {
            source: source.to_owned(),
            conflict,
            is_other_cut: is_larger
                || in_conflict.any(|(name, _)| name != source)
                || !self.earlier.charges.is_empty(),
        })
    }

    fn other_in_conflict(&self) -> Option<(&str, BillConflict)> {
        let first = |conflict, is: &dyn Fn(&OtherBill<'_>) -> bool| {
            let (source, _) = self.others.iter().find(|(_, it)| is(it))?;
            Some((source.as_str(), conflict))
        };
        first(BillConflict::Charges, &|it| it.has_charge)
            .or_else(|| first(BillConflict::Items, &|it| self.has_most_items(it)))
    }

    /// Of a bill by the name of the earlier import that has nothing in common with it.
    fn conflict_with_earlier(&self) -> Option<BillConflict> {
        if self.bill.replaces || self.bill.source == STDIN || !self.is_unrelated() {
            return None;
        }
        let mut earlier_items = self.earlier.charges.iter().filter_map(|it| item_of(it));
        if !self.items.is_empty() && earlier_items.next().is_some() {
            return Some(BillConflict::Name);
        }
        self.earlier.is_larger.then_some(BillConflict::Unclear)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::metrics::names::{Metric, Service};
    use crate::domain::metrics::point::Series;

    /// A sum of January 2026 on a day, with charges such as `disk-000001` or, without an item, `000001`.
    fn sum(day: u32, source: &str, charges: &[&str]) -> NewPoint {
        let at = NaiveDate::from_ymd_opt(2026, 1, day).unwrap();
        let at = at.and_hms_opt(0, 0, 0).unwrap().and_utc();
        let series = Series::new(Service::VercelPlatform, Metric::CostUsd, "");
        let mut point = NewPoint::new(series, 1.0, at)
            .with("source", source)
            .with("provider", "aws")
            .with("account", "1")
            .with("billed_from", "2026-01-01")
            .with("charges", charges.to_vec());
        point.id = Some(format!("{source} {day}"));
        point
    }

    fn stored(point: NewPoint) -> StoredSum {
        StoredSum {
            id: point.id(),
            at: Some(point.at),
            value: point.value,
            metadata: PointMetadata::of(&point.metadata),
        }
    }

    fn compare(
        new: &[NewPoint],
        source: &str,
        replaces: bool,
        stored_sums: &[NewPoint],
    ) -> Result<BillChange, StoredBill> {
        let stored_sums = stored_sums.iter().cloned().map(stored);
        NewBill::new(new, source, replaces).compared_with(stored_sums)
    }

    fn conflict(outcome: Result<BillChange, StoredBill>) -> (String, BillConflict, bool) {
        let stored = outcome.unwrap_err();
        (stored.source, stored.conflict, stored.is_other_cut)
    }

    #[test]
    fn revision_removes_the_days_that_it_lacks() {
        let earlier = [sum(1, "a", &["disk-000001"]), sum(2, "a", &["cpu-000002"])];
        let new = [sum(1, "a", &["disk-000001"])];
        let change = compare(&new, "a", false, &earlier).unwrap();
        assert_eq!(change.ids, ["a 2"]);
        let removed: Vec<_> = change.days.iter().map(ToString::to_string).collect();
        assert_eq!(removed, ["2026-01-02"]);
        assert_eq!((change.sources.len(), change.overwritten), (0, 0));
    }

    #[test]
    fn bill_in_parts_keeps_its_other_files() {
        let other = [sum(1, "a", &["disk-000001"])];
        let new = [sum(1, "b", &["cpu-000002"])];
        assert_eq!(compare(&new, "b", false, &other), Ok(BillChange::default()));
    }

    #[test]
    fn copy_under_another_name_is_a_conflict_and_replaced_on_request() {
        let other = [sum(1, "a", &["disk-000001", "cpu-000003"])];
        let copy = [sum(1, "b", &["disk-000001"])];
        let found = conflict(compare(&copy, "b", false, &other));
        assert_eq!(found, ("a".to_owned(), BillConflict::Charges, true));
        let change = compare(&copy, "b", true, &other).unwrap();
        assert_eq!(change.ids, ["a 1"]);
        assert_eq!(change.sources, BTreeSet::from(["a".to_owned()]));
    }

    #[test]
    fn correction_under_another_name_is_a_conflict() {
        let other = [sum(1, "a", &["disk-000001", "cpu-000002"])];
        let corrected = [sum(1, "b", &["disk-000007", "cpu-000002x"])];
        let found = conflict(compare(&corrected, "b", false, &other));
        assert_eq!(found, ("a".to_owned(), BillConflict::Items, false));
    }

    #[test]
    fn other_bill_of_the_same_name_is_a_conflict_if_it_names_items_or_would_lose_sums() {
        let name = |new: &str, earlier: &[NewPoint]| {
            conflict(compare(&[sum(1, "a", &[new])], "a", false, earlier)).1
        };
        let named = [sum(1, "a", &["disk-000001"])];
        assert_eq!(name("cpu-000002", &named), BillConflict::Name);
        let unnamed = [sum(1, "a", &["000001"]), sum(2, "a", &["000003"])];
        assert_eq!(name("000002", &unnamed), BillConflict::Unclear);
        let new = [sum(1, "a", &["000002"]), sum(2, "a", &["000004"])];
        let change = compare(&new, "a", false, &unnamed).unwrap();
        assert_eq!((change.ids.len(), change.overwritten), (0, 2));
    }

    #[test]
    fn bill_of_stdin_removes_nothing() {
        let earlier = [
            sum(1, STDIN, &["disk-000001"]),
            sum(2, STDIN, &["cpu-000002"]),
        ];
        let new = [sum(1, STDIN, &["disk-000001"])];
        assert_eq!(
            compare(&new, STDIN, false, &earlier),
            Ok(BillChange::default())
        );
    }

    #[test]
    fn stored_sums_are_compared_from_the_month_before() {
        let points = [sum(5, "a", &[])];
        let bill = NewBill::new(&points, "a", false);
        assert_eq!(bill.compared_from(), NaiveDate::from_ymd_opt(2025, 12, 1));
        assert_eq!(NewBill::new(&[], "a", false).compared_from(), None);
    }
}
