//! Many usage records, packed.
//!
//! Each transaction takes twenty thousand records, and as many are read ahead. With strings of their own
//! they would be a hundred thousand small allocations and twice the memory.

use chrono::{DateTime, Utc};

use super::record::{Defaulted, NewUsage, UsageRecord};

/// Records in the order of [`UsageBatch::push`].
#[derive(Clone, Debug, Default)]
pub struct UsageBatch {
    /// The text of all records, concatenated.
    text: String,
    rows: Vec<Row>,
}

/// A record without its text.
#[derive(Clone, Copy, Debug)]
struct Row {
    start: usize,
    /// The length of each text, in the order of [`texts`].
    lengths: [Option<u32>; 7],
    timestamp: DateTime<Utc>,
    success: bool,
    status_code: Option<i32>,
    response_time: Option<i32>,
    request_size: Option<i32>,
    response_size: Option<i32>,
    cost_credits: Option<f64>,
    cached: bool,
    defaulted: Defaulted,
}

fn texts<'a>(record: &UsageRecord<'a>) -> [Option<&'a str>; 7] {
    [
        Some(record.id),
        Some(record.api_name),
        record.endpoint,
        record.method,
        record.error_type,
        record.error_message,
        record.user_id,
    ]
}

impl UsageBatch {
    pub fn push(&mut self, usage: &NewUsage<'_>) {
        let record = &usage.record;
        let start = self.text.len();
        let lengths = texts(record).map(|text| {
            self.text.push_str(text?);
            // The limits of a record are far below 4 GiB.
            u32::try_from(text?.len()).ok()
        });
        self.rows.push(Row {
            start,
            lengths,
            timestamp: record.timestamp,
            success: record.success,
            status_code: record.status_code,
            response_time: record.response_time,
            request_size: record.request_size,
            response_size: record.response_size,
            cost_credits: record.cost_credits,
            cached: record.cached,
            defaulted: usage.defaulted,
        });
    }

    /// Replaces the id of a record by one of the same length.
    pub fn replace_id(&mut self, index: usize, id: &str) {
        if let Some(row) = self.rows.get(index)
            && row.lengths[0] == u32::try_from(id.len()).ok()
        {
            self.text.replace_range(row.start..row.start + id.len(), id);
        }
    }

    pub fn append(&mut self, other: &UsageBatch) {
        let offset = self.text.len();
        self.text.push_str(&other.text);
        self.rows.extend(other.rows.iter().map(|row| Row {
            start: row.start + offset,
            ..*row
        }));
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.rows.clear();
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn size_bytes(&self) -> usize {
        self.text.len() + self.rows.len() * size_of::<Row>()
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = NewUsage<'_>> + Clone {
        self.rows.iter().map(|row| self.unpack(row))
    }

    pub fn get(&self, index: usize) -> Option<NewUsage<'_>> {
        self.rows.get(index).map(|row| self.unpack(row))
    }

    /// The id of the record at `index`; empty if there is none.
    pub fn id(&self, index: usize) -> &str {
        let id = self.rows.get(index).and_then(|row| {
            let end = row.start + row.lengths[0]? as usize;
            self.text.get(row.start..end)
        });
        id.unwrap_or_default()
    }

    fn unpack(&self, row: &Row) -> NewUsage<'_> {
        let mut start = row.start;
        let mut next = |length: Option<u32>| {
            let end = start + length? as usize;
            let text = self.text.get(start..end);
            start = end;
            text
        };
        let [
            id,
            api_name,
            endpoint,
            method,
            error_type,
            error_message,
            user_id,
        ] = row.lengths.map(&mut next);
        NewUsage {
            record: UsageRecord {
                id: id.unwrap_or_default(),
                api_name: api_name.unwrap_or_default(),
                endpoint,
                method,
                timestamp: row.timestamp,
                success: row.success,
                status_code: row.status_code,
                response_time: row.response_time,
                request_size: row.request_size,
                response_size: row.response_size,
                error_type,
                error_message,
                cost_credits: row.cost_credits,
                cached: row.cached,
                user_id,
            },
            defaulted: row.defaulted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage<'a>(id: &'a str, endpoint: Option<&'a str>) -> NewUsage<'a> {
        NewUsage {
            record: UsageRecord {
                id,
                api_name: "tmdb",
                endpoint,
                method: Some("GET"),
                timestamp: DateTime::UNIX_EPOCH,
                success: true,
                status_code: Some(200),
                response_time: None,
                request_size: None,
                response_size: Some(5),
                error_type: None,
                error_message: Some(""),
                cost_credits: Some(0.5),
                cached: true,
                user_id: Some("ünï"),
            },
            defaulted: Defaulted {
                method: true,
                ..Defaulted::default()
            },
        }
    }

    #[test]
    fn records_are_unpacked_in_order() {
        let mut first = UsageBatch::default();
        first.push(&usage("a", None));
        first.push(&usage("b", Some("/movie")));
        let mut second = UsageBatch::default();
        second.push(&usage("c", Some("")));
        first.append(&second);
        let expected = [
            usage("a", None),
            usage("b", Some("/movie")),
            usage("c", Some("")),
        ];
        assert!(first.iter().eq(expected));
        assert_eq!(first.get(2), Some(usage("c", Some(""))));
        assert_eq!(first.get(3), None);
        first.replace_id(1, "B");
        first.replace_id(2, "longer");
        let ids: Vec<_> = first.iter().map(|usage| usage.record.id).collect();
        assert_eq!(ids, ["a", "B", "c"]);
        first.clear();
        assert!(first.is_empty() && second.len() == 1);
    }
}
