"""Groups the usage in a SQLite file by API, endpoint and hour with DuckDB: a peer of `aggregate` in compare.rs.

    DUCKDB_SQLITE_SCANNER=sqlite_scanner.duckdb_extension python3 group_by_duckdb.py FILE
"""

import os
import sys

import duckdb

GROUP_BY = """
    CREATE TABLE by_hand AS
    SELECT api_name, endpoint, date_trunc('hour', timestamp) AS hour, count(*) AS total, sum(success) AS succeeded,
        sum(cached) AS cached, avg(response_time) AS average, max(response_time) AS longest,
        quantile_cont(response_time, 0.95) AS p95, sum(cost_credits) AS cost
    FROM usage.api_usage GROUP BY ALL"""

con = duckdb.connect(config={"allow_unsigned_extensions": True, "threads": 2})
con.execute(f"LOAD '{os.environ['DUCKDB_SQLITE_SCANNER']}'")
con.execute(f"ATTACH '{sys.argv[1]}' AS usage (TYPE sqlite, READ_ONLY)")
con.execute(GROUP_BY)
