"""Write and read rows as Parquet, CSV or JSON lines."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import IO, Any, Literal, get_args

from app.batch.inputs import ArchiveError
from app.errors import explain_missing
from app.vision.table import Row

Format = Literal["parquet", "csv", "jsonl"]
FORMATS: tuple[Format, ...] = get_args(Format)
Columns = dict[str, type]
# A spreadsheet would compute what begins so (OWASP, "CSV Injection").
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
TRUTHS = {"true": True, "false": False}  # as in the pages' CSV files and in JSON


@dataclass(frozen=True)
class Dialect:
    """Describe a kind of CSV file: the characters between fields and before decimals.

    `marked` says whether the file begins with a byte order mark, without which Excel takes UTF-8
    for the system's old encoding.
    """

    delimiter: str = ","
    decimal: str = "."
    marked: bool = False


DIALECTS = {
    "rfc4180": Dialect(),
    "excel": Dialect(marked=True),
    "excel-id": Dialect(";", ",", marked=True),
}


def check_format(form: Format) -> None:
    """Raise `ArchiveError` where a format needs a package that isn't installed."""
    if form == "parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise ArchiveError(explain_missing("Parquet", error)) from error


def write_table(form: Format, stream: IO[bytes], rows: list[Row], columns: Columns) -> None:
    """Write rows with exactly these columns; None becomes null, in CSV an empty field."""
    if form == "parquet":
        _write_parquet(stream, rows, columns)
        return
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    if form == "csv":
        start_csv(text, columns)(rows)
    else:
        text.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    text.detach()


def start_csv(
    stream: IO[str], columns: Iterable[str], dialect: Dialect = DIALECTS["rfc4180"]
) -> Callable[[Iterable[Row]], None]:
    """Begin CSV with these columns; return what writes rows, whose other values are left out."""
    stream.write("\ufeff" * dialect.marked)
    writer = csv.DictWriter(
        stream, list(columns), extrasaction="ignore", delimiter=dialect.delimiter
    )
    writer.writeheader()

    def write(rows: Iterable[Row]) -> None:
        writer.writerows(
            {name: _to_cell(value, dialect.decimal) for name, value in row.items()} for row in rows
        )

    return write


@contextmanager
def json_list(stream: IO[str]) -> Iterator[Callable[[Any], None]]:
    """Yield what writes the items of a JSON list one by one, so that none need be kept."""
    before = ""

    def write(item: Any) -> None:
        nonlocal before
        stream.write((before or "[\n") + indent(json.dumps(item, indent=2), "  "))
        before = ",\n"

    yield write
    stream.write("\n]\n" if before else "[]\n")


def _to_cell(value: object, decimal: str) -> object:
    if isinstance(value, bool):
        return next(word for word, truth in TRUTHS.items() if truth is value)
    if isinstance(value, float):
        return str(value).replace(".", decimal)
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return value


def read_table(form: Format, path: Path, columns: Columns) -> Iterator[Row]:
    """Read the rows of a file, with their types."""
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
    import pyarrow
    import pyarrow.parquet

    types = {int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    schema = pyarrow.schema([(name, types.get(t, pyarrow.string())) for name, t in columns.items()])
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema), stream)


def _parse(field: str, kind: type) -> Any:
    if field == "":
        return None
    return TRUTHS[field.lower()] if kind is bool else kind(field)
