//! From bytes to checked records: NDJSON, a JSON array or CSV, plain or compressed.
