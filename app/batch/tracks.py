"""Number the faces of films by their positions alone: which face is that of the frame before."""

from itertools import groupby

from app.vision.geometry import Box
from app.vision.readings import FaceReading
from app.vision.table import Row
from app.vision.tracking import FILM_MAX_AGE, Tracker


class FilmTracks:
    """Set the column `track` of films' rows, whose images come in order.

    It counts from 1 in each film. It stays empty for a face of low score that no earlier frame had.
    """

    def __init__(self) -> None:
        self._film = ""
        self._tracker = Tracker(FILM_MAX_AGE)

    def number(self, rows: list[Row]) -> None:
        """Set the numbers in the rows of consecutive images."""
        for _, image in groupby(rows, key=lambda row: row["picture"]):
            self._number_image(list(image))

    def _number_image(self, rows: list[Row]) -> None:
        film, time = rows[0]["file"], rows[0]["time_s"]
        faces = [row for row in rows if row.get("face")]
        if time is None:
            return
        if film != self._film:
            self._film, self._tracker = film, Tracker(FILM_MAX_AGE)
        if rows[0]["cut"]:
            self._tracker.forget()
        found = [
            FaceReading(
                box=Box(*(row[f"box_{name}"] for name in ("x", "y", "width", "height"))),
                score=row["score"],
            )
            for row in faces
        ]
        numbers = {
            face.box: face.track for face in self._tracker.update(found, time) if face.detected
        }
        for row, face in zip(faces, found, strict=True):
            row["track"] = numbers.get(face.box)
