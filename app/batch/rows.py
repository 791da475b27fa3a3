"""Make table rows of readings: one for each face."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from app.batch.inputs import Picture, open_film, read_picture
from app.errors import RautError
from app.settings import Settings
from app.vision.imaging.shots import Shots
from app.vision.loading import load_analyzer
from app.vision.models.selection import choose_names
from app.vision.table import Row, list_columns, list_digests, list_rows, list_versions

# Of films by default: with several frames a second, tracks bridge the frames that it misses.
FILM_EFFORT = "fast"


class PictureReader:
    """Analyze images and frames of films with loaded models, and make their rows.

    `columns` maps each column, the same in every row, to the type of its values. An image without
    faces has one row, whose `face` is None; so has one that can't be read, with a stable code in
    `error` and a sentence in `error_detail`.
    """

    def __init__(
        self,
        settings: Settings,
        effort: str | None,
        names: Sequence[str] | None = None,
        threads: int = 1,
    ) -> None:
        """Load the models; `names` selects them as in `FaceAnalyzer.choose`.

        `effort` is by default the settings' for photos, and `FILM_EFFORT` for films; `threads` is
        the number of images analyzed at once. Raises `app.vision.models.cards.ModelError`, and
        `RautError` for the name of no model.
        """
        self.settings = settings
        self.given_effort = effort
        self.effort = effort or settings.effort
        self.film_effort = effort or FILM_EFFORT
        self.names = names
        self._threads = threads
        self._film: tuple[str, Any] = ("", None)  # the one read last, and where it stands
        self._shots = Shots()
        self._shown: float | None = None  # the time of its last frame
        self._analyzer = load_analyzer(settings, needed=partial(choose_names, names=names))
        used = self._analyzer.choose(names)
        self.labels = {name: classifier.head_name for name, classifier in used.items()}
        self.models = list_digests(self._analyzer, used)
        self._versions = list_versions(self._analyzer, used)
        self.columns = list_columns(used, self._versions)

    def read(self, first: int, pictures: Sequence[Picture]) -> list[Row]:
        """Return the rows of consecutive images, `first` being the number of the first one."""
        return [
            row
            for number, answer in enumerate(self.analyze(pictures), start=first)
            for row in self.list_rows(number, answer)
        ]

    def list_rows(self, number: int, answer: dict[str, Any]) -> list[Row]:
        """Return the rows of what `analyze` returned for an image, `number` being its number."""
        answer = {"picture": number, **answer}
        rows = [answer] if "error" in answer else list_rows(answer)
        return [self._row(**row) for row in rows]

    def lose(self, number: int, picture: Picture) -> Row:
        """Return the row of an image that killed each process that read it."""
        return self._row(
            picture=number,
            **_name(picture),
            error="reader_died",
            error_detail="Each process that read this picture died, perhaps for lack of memory. "
            "Analyze it alone to see more.",
        )

    def analyze(self, pictures: Iterable[Picture]) -> Iterator[dict[str, Any]]:
        """Yield for each image the API's JSON answer, with its name as `file`.

        A frame of a film has `frame`, `time_s` and `cut` too. For an unreadable image, yield its
        name with `error` (a stable code) and `error_detail`.
        """
        waiting: deque[Future[dict[str, Any]]] = deque()
        with ThreadPoolExecutor(self._threads) as pool:
            for picture in pictures:
                # A film is decoded by this thread alone, in order.
                waiting.append(pool.submit(self._analyze, *self._load(picture)))
                if len(waiting) > 2 * self._threads:
                    yield waiting.popleft().result()
            for each in waiting:
                yield each.result()

    def _load(self, picture: Picture) -> tuple[dict[str, Any], bytes | np.ndarray | Exception]:
        """Return a picture's name, time and cut, and its bytes, pixels, or why there are none."""
        named = _name(picture)
        try:
            if picture.frame is None:
                return named, read_picture(picture)
            if self._film[0] != picture.location:
                self._film = (picture.location, open_film(picture.location))
                self._shown = None
            film = self._film[1]
            if self._shown != picture.before_s:
                self._shots = self._shots_before(film, picture.before_s)
            time, pixels = film.frame_at(picture.time_s)
            self._shown = picture.time_s
            return named | {"time_s": round(time, 6), "cut": self._shots.begins(pixels)}, pixels
        except Exception as error:
            return named, error

    def _shots_before(self, film: Any, before_s: float | None) -> Shots:
        """Return the shots of a film that is entered after the frame at a time."""
        shots = Shots()
        if before_s is not None:
            with suppress(RautError, OSError):  # Damaged, it begins and ends no shot.
                shots.begins(film.frame_at(before_s)[1])
        return shots

    def _analyze(
        self, named: dict[str, Any], content: bytes | np.ndarray | Exception
    ) -> dict[str, Any]:
        try:
            if isinstance(content, Exception):
                raise content
            if isinstance(content, bytes):
                analysis = self._analyzer.analyze_file(content, self.names, effort=self.effort)
            else:
                analysis = self._analyzer.analyze(content, self.names, effort=self.film_effort)
            return {**named, **analysis.to_json()}
        except RautError as error:
            code, detail = error.code, error.detail
        except OSError as error:
            code, detail = "file_unreadable", f"The file can't be read: {error}"
        except Exception as error:  # One image must not end a run over a million others.
            code = "internal"
            detail = f"Raut itself failed at this picture ({type(error).__name__}: {error})."
        return {**named, "error": code, "error_detail": detail}

    def _row(self, **values: Any) -> Row:
        return dict.fromkeys(self.columns) | self._versions | values


def _name(picture: Picture) -> dict[str, Any]:
    if picture.frame is None:
        return {"file": picture.name}
    return {"file": picture.name, "time_s": picture.time_s, "frame": picture.frame}
