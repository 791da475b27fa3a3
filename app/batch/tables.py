"""Write rows as Parquet, CSV or JSON lines, and read them again."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Literal, get_args

from app.batch.inputs import ArchiveError
from app.batch.rows import Row
from app.optional_packages import explain_missing

Format = Literal["parquet", "csv", "jsonl"]
FORMATS: tuple[Format, ...] = get_args(Format)
Columns = dict[str, type]
TRUTHS = {"true": True, "false": False}  # as in the pages' CSV files and in JSON


def check_format(form: Format) -> None:
    """Raise `ArchiveError` where a format needs a package that isn't installed."""
    if form == "parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise ArchiveError(explain_missing("Parquet", error)) from error


def write_table(form: Format, stream: IO[bytes], rows: list[Row], columns: Columns) -> None:
    """Write rows, which have exactly those columns; None becomes null, in CSV an empty field."""
    if form == "parquet":
        _write_parquet(stream, rows, columns)
        return
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    if form == "csv":
        write_csv(text, rows, columns)
    else:
        text.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    text.detach()


def write_csv(stream: IO[str], rows: Iterable[Row], columns: Iterable[str]) -> None:
    """Write rows as CSV; a field that a row lacks, or that is None, is empty."""
    writer = csv.DictWriter(stream, list(columns), lineterminator="\n")
    writer.writeheader()
    words = {truth: word for word, truth in TRUTHS.items()}
    writer.writerows(
        {name: words[value] if isinstance(value, bool) else value for name, value in row.items()}
        for row in rows
    )


def read_table(form: Format, path: Path, columns: Columns) -> Iterator[Row]:
    """Read the rows of a file as they were written."""
    if form == "parquet":
        import pyarrow.parquet

        yield from pyarrow.parquet.read_table(path).to_pylist()
        return
    with path.open(encoding="utf-8", newline="") as text:
        if form == "csv":
            for fields in csv.DictReader(text):
                yield {name: _parse(field, columns[name]) for name, field in fields.items()}
        else:
            yield from map(json.loads, text)


def _write_parquet(stream: IO[bytes], rows: list[Row], columns: Columns) -> None:
    """Write rows as Parquet."""
    import pyarrow
    import pyarrow.parquet

    types = {int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    schema = pyarrow.schema([(name, types.get(t, pyarrow.string())) for name, t in columns.items()])
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema), stream)


def _parse(field: str, kind: type) -> Any:
    """Read a field of a CSV file; an empty one is None."""
    if field == "":
        return None
    return TRUTHS[field.lower()] if kind is bool else kind(field)
