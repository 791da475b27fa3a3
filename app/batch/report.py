"""Summarize a run in one HTML page, without pictures, names or external requests."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from app.batch.runs import Description
from app.vision.detection.detector import FACE_CLASSIFIER
from app.vision.table import WHOLE, Row

EXAMPLES = 5  # numbers of pictures given for each line of a table
BINS = 10
MOST_FACES = 10  # photos with as many or more are counted together


@dataclass
class Tally:
    """Count values by name, and keep the first pictures of each as examples."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[int]] = field(default_factory=dict)

    def add(self, name: str, picture: int) -> None:
        """Count a value in a picture."""
        self.counts[name] += 1
        known = self.examples.setdefault(name, [])
        if len(known) < EXAMPLES and picture not in known:
            known.append(picture)

    def lines(self) -> list[tuple[str, int, float, str]]:
        """Return each name, its count, its share (0 to 1) and its examples, sorted."""
        total = self.counts.total()
        return [
            (name, count, count / total, ", ".join(map(str, self.examples[name])))
            for name, count in sorted(self.counts.items(), key=_natural)
        ]


class Summary:
    """Count what a run's rows say."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.pictures = self.faces = self.without = 0
        self.errors = Tally()
        self.tables: dict[str, Tally] = {}
        self.models: dict[str, str] = {}
        last = 0
        for row in rows:
            if row["picture"] != last:
                last = row["picture"]
                self._add_picture(row)
            if row["face"] is not None:
                self._add_face(row)

    def _add_picture(self, row: Row) -> None:
        self.pictures += 1
        digests = {name: value for name, value in row.items() if name.startswith("model_")}
        self.models = {name.removeprefix("model_"): value for name, value in digests.items()}
        if row["error"] is not None:
            self.errors.add(row["error"], row["picture"])
            return
        if FACE_CLASSIFIER in self.models:  # Without it no face was searched for.
            self.without += row["faces"] == 0
            faces = min(row["faces"], MOST_FACES)
            name = f"{faces} or more" if faces == MOST_FACES else str(faces)
            self._tally("Faces in a picture").add(name, row["picture"])
        for read in _list_readings(row):
            if read.startswith(WHOLE):
                title = read.removeprefix(WHOLE).replace("_", " ")
                self._add_reading(f"Whole picture, {title}", row, read)

    def _add_face(self, row: Row) -> None:
        self.faces += 1
        number = row["picture"]
        self._tally("Width of a face, pixels").add(_double(row["box_width"]), number)
        self._tally("Roll of a face, degrees clockwise").add(_span(row["roll_degrees"], 30), number)
        for read in _list_readings(row):
            if not read.startswith(WHOLE):
                self._add_reading(read.replace("_", " ").capitalize(), row, read)

    def _add_reading(self, title: str, row: Row, read: str) -> None:
        number, label = row["picture"], row[f"{read}_label"]
        self._tally(f"{title}: shown").add(label if row[f"{read}_confident"] else "unsure", number)
        self._tally(f"{title}: likeliest, sure or not").add(label, number)
        probability = min(int(row[f"{read}_probability"] * BINS), BINS - 1)
        name = f"{probability / BINS:.1f} to {(probability + 1) / BINS:.1f}"
        self._tally(f"{title}: probability of the likeliest").add(name, number)

    def _tally(self, title: str) -> Tally:
        return self.tables.setdefault(title, Tally())


def render_report(summary: Summary, description: Description) -> str:
    """Return the report as HTML."""
    # Slow to import, and most runs write no report.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    return environment.get_template("report.html").render(run=description, summary=summary)


def _list_readings(row: Row) -> list[str]:
    labelled = [name for name in row if name.endswith("_label") and row[name] is not None]
    return [name.removesuffix("_label") for name in labelled]


def _natural(line: tuple[str, int]) -> tuple[float, str]:
    # By their leading number, then those without one by name.
    start = line[0].split()[0]
    number = start.replace(".", "", 1).lstrip("-")
    return (float(start), "") if number.isdigit() else (float("inf"), line[0])


def _span(value: float, width: int) -> str:
    start = int(value // width) * width
    return f"{start} to {start + width}"


def _double(value: int) -> str:
    start = 1 << (value.bit_length() - 1)
    return f"{start} to {2 * start}"
