-- The UTC day of a row's timestamp, however it is spelled; null if it is unreadable.
(CASE typeof(timestamp)
    WHEN 'text' THEN CASE WHEN date(substr(timestamp, 1, 10), '+0 days') = substr(timestamp, 1, 10)
        THEN strftime('%Y-%m-%d', timestamp) END
    WHEN 'blob' THEN NULL
    ELSE strftime('%Y-%m-%d', timestamp / 1000.0, 'unixepoch') END)
