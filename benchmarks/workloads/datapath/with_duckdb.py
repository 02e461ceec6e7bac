"""The data path by hand, with DuckDB."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import duckdb

LEVELS = [0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0]
BARS = 32
NUMBERS = ("BIGINT", "DOUBLE", "INTEGER")
PARQUET = "(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"


def describe(database: duckdb.DuckDBPyConnection, name: str, *, numeric: bool) -> dict[str, Any]:
    """Describe one column, from the counts of its values."""
    database.execute(
        f"CREATE OR REPLACE TEMP TABLE counts AS "
        f'SELECT "{name}" AS value, count(*) AS count FROM data GROUP BY 1'
    )
    nulls = database.execute(
        "SELECT coalesce(sum(count), 0) FROM counts WHERE value IS NULL"
    ).fetchall()[0][0]
    known = "FROM counts WHERE value IS NOT NULL"
    top = database.execute(
        f"SELECT value, count {known} ORDER BY count DESC, value LIMIT 20"
    ).fetchall()
    number, distinct = database.execute(f"SELECT sum(count), count(*) {known}").fetchall()[0]
    described = {
        "count": int(number),
        "nulls": int(nulls),
        "distinct": distinct,
        "top": top,
    }
    if not numeric:
        length = "min(length(value)), max(length(value)), sum(length(value) * count) / sum(count)"
        return described | {"length": database.execute(f"SELECT {length} {known}").fetchall()[0]}
    low, high, mean = database.execute(
        f"SELECT min(value), max(value), sum(value * count) / sum(count) {known}"
    ).fetchall()[0]
    deviation = database.execute(
        f"SELECT sqrt(sum((value - {mean!r}) ** 2 * count) / sum(count)) {known}"
    ).fetchall()[0][0]
    below = f"SELECT value, sum(count) OVER (ORDER BY value) AS below {known}"
    ranks = [max(level * number, 1) for level in LEVELS]
    quantiles = [f"min(value) FILTER (below >= {rank})" for rank in ranks]
    width = (high - low) / BARS or 1
    bar = f"least(({BARS} - 1), floor((value - {low}) / {width!r}))"
    return described | {
        "mean": mean,
        "std": deviation,
        "min": low,
        "max": high,
        "quantiles": database.execute(f"SELECT {', '.join(quantiles)} FROM ({below})").fetchall()[
            0
        ],
        "histogram": database.execute(
            f"SELECT {bar} AS bar, sum(count) {known} GROUP BY 1 ORDER BY 1"
        ).fetchall(),
    }


def main(source: str, out: Path) -> None:
    """Take the snapshot, describe it, split it, and standardise it."""
    out.mkdir()
    database = duckdb.connect()
    options = "nullstr = ['', 'NA'], types = {'time_hour': 'VARCHAR'}"
    database.execute(
        f"COPY (SELECT * FROM read_csv('{source}', {options})) "
        f"TO '{out}/snapshot.parquet' {PARQUET}"
    )
    database.execute(f"CREATE VIEW data AS FROM read_parquet('{out}/snapshot.parquet')")
    schema = {name: kind for name, kind, *_ in database.execute("DESCRIBE data").fetchall()}
    statistics = {
        name: describe(database, name, numeric=schema[name] in NUMBERS) for name in schema
    }
    (out / "statistics.json").write_text(json.dumps(statistics, default=str))

    database.execute(
        f"COPY (SELECT hash(file_row_number) < {int(0.7 * 2**64)}::UBIGINT AS train "
        f"FROM read_parquet('{out}/snapshot.parquet', file_row_number = true)) "
        f"TO '{out}/split.parquet' {PARQUET}"
    )
    database.execute(f"CREATE VIEW split AS FROM read_parquet('{out}/split.parquet')")
    database.execute(
        "CREATE VIEW training AS SELECT data.* FROM data POSITIONAL JOIN split WHERE train"
    )
    columns = []
    joins = ""
    for name, kind in schema.items():
        if kind in NUMBERS:
            most, mean, deviation = database.execute(
                f'SELECT max("{name}"), avg("{name}"), stddev_pop("{name}") FROM training'
            ).fetchall()[0]
            scaled = (
                f'(coalesce("{name}", {most}) - {mean!r}) / {deviation!r}' if deviation else "0"
            )
            columns.append(f'({scaled})::FLOAT AS "{name}_xf"')
            continue
        database.execute(
            f'CREATE TEMP TABLE "{name}_words" AS SELECT word, '
            f"row_number() OVER (ORDER BY count DESC, word) - 1 AS place FROM ("
            f"SELECT coalesce(\"{name}\"::VARCHAR, '') AS word, count(*) AS count "
            f"FROM training GROUP BY 1)"
        )
        columns.append(f'coalesce("{name}_words".place, -1)::FLOAT AS "{name}_xf"')
        joins += (
            f' LEFT JOIN "{name}_words" ON "{name}_words".word = '
            f"coalesce(data.\"{name}\"::VARCHAR, '')"
        )
    database.execute(
        f"COPY (SELECT {', '.join(columns)} FROM data{joins}) "
        f"TO '{out}/transformed.parquet' {PARQUET}"
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
