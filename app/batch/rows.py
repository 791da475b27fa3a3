"""Make the rows of a table from what is read in a picture: one a face."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from app.batch.inputs import Picture, read_picture
from app.errors import RautError
from app.settings import Settings
from app.vision.detection.detector import FACE_CLASSIFIER
from app.vision.geometry import Box
from app.vision.imaging.decoding import LazyImage
from app.vision.loading import load_chosen
from app.vision.pipeline import FaceAnalyzer, of_region, read_faces
from app.vision.readings import Detection

Row = dict[str, Any]
WHOLE = "image_"  # begins the columns of what was read in a whole picture
BLANK_SIDE = 64  # pixels of the blank photo that shows which columns there are


def list_faces(file: str, faces: list[dict[str, Any]]) -> list[Row]:
    """Return a row for each face of an answer, with its file and number; nested keys are joined."""
    return [
        {"file": file, "face": number, **flatten(face)}
        for number, face in enumerate(faces, start=1)
    ]


def list_rows(file: str, answer: dict[str, Any]) -> list[Row]:
    """Return a row for each face of an answer, each with what was read in the whole picture.

    A picture without a face has a row only where something was read in the whole of it.
    """
    picture = read_whole(answer)
    faces = list_faces(file, answer["faces"])
    if picture and not faces:
        faces = [{"file": file, "face": None}]
    return [face | picture for face in faces]


def read_whole(answer: dict[str, Any]) -> Row:
    """Return what an answer says of the whole picture: image_clothing_label."""
    return flatten(answer.get("image_predictions", {}), WHOLE)


def flatten(values: dict[str, Any], prefix: str = "") -> Row:
    """Join nested keys with underscores: expression_probabilities_happy."""
    flat: Row = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}_")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


class PictureReader:
    """Read pictures with loaded models, and make their rows.

    Every row has the same columns. A picture without a face has one row, whose `face` is None; so
    has one that can't be read, with a stable code in `error` and a sentence in `error_detail`.
    """

    def __init__(self, settings: Settings, effort: str, names: Sequence[str] | None = None) -> None:
        """Load the models; `names` are those that answer, as in `FaceAnalyzer.choose`.

        Raises `app.vision.models.cards.ModelError`, and `RautError` for a name that no model has.
        """
        self.settings = settings
        self.effort = effort
        self.names = names
        self._analyzer = load_chosen(settings, names)
        used = self._analyzer.choose(names)
        self.labels = {name: classifier.head_name for name, classifier in used.items()}
        self.models = {name: classifier.digest for name, classifier in used.items()}
        if of_region(used, "face"):
            self.models[FACE_CLASSIFIER] = self._analyzer.detector.face_classifier.digest
        self.columns = _describe_columns(self._analyzer, names, list(self.models))

    def read(self, first: int, pictures: Sequence[Picture]) -> list[Row]:
        """Return the rows of pictures that follow each other, `first` the number of the first."""
        numbered = enumerate(pictures, start=first)
        return [row for number, picture in numbered for row in self._read(number, picture)]

    def lose(self, number: int, picture: Picture) -> Row:
        """Return the row of a picture that killed whoever read it."""
        return self._row(
            picture=number,
            file=picture.name,
            error="reader_died",
            error_detail="Each process that read this picture died. It may have taken more memory "
            "than there is; analyze it alone to see more.",
        )

    def analyze(self, picture: Picture) -> dict[str, Any]:
        """Return the API's answer for a picture, with its name as `file`.

        Of a picture that can't be read it is `file`, `error` (a stable code) and `error_detail`.
        """
        try:
            analysis = self._analyzer.analyze_file(
                read_picture(picture), self.names, effort=self.effort
            )
            return {"file": picture.name, **analysis.to_json()}
        except RautError as error:
            code, detail = error.code, error.detail
        except OSError as error:
            code, detail = "file_unreadable", f"The file can't be read: {error}"
        except Exception as error:  # One picture must not end a run over a million others.
            code = "internal"
            detail = f"Raut itself failed at this picture ({type(error).__name__}: {error})."
        return {"file": picture.name, "error": code, "error_detail": detail}

    def _read(self, number: int, picture: Picture) -> list[Row]:
        answer = self.analyze(picture)
        if "error" in answer:
            return [self._row(picture=number, **answer)]
        whose = {"picture": number, "file": picture.name}
        faces = list_faces(picture.name, answer["faces"]) or [{}]
        return [self._row(**whose | _share(answer) | face) for face in faces]

    def _row(self, **values: Any) -> Row:
        """Return a whole row: those values, the models, and None in all other columns."""
        models = {f"model_{name}": digest[:12] for name, digest in self.models.items()}
        return dict.fromkeys(self.columns) | models | values


def _share(answer: dict[str, Any]) -> Row:
    """Return what all faces of a photo share: its size, their number, whole-picture answers."""
    return {
        **answer["image"],
        "faces": len(answer["faces"]),
        **read_whole(answer),
    }


def _describe_columns(
    analyzer: FaceAnalyzer, names: Sequence[str] | None, models: list[str]
) -> dict[str, type]:
    """Return each column and the type of its values, as a face in a blank photo fills them."""
    blank = np.zeros((BLANK_SIDE, BLANK_SIDE, 3), np.uint8)
    whole = Detection(Box(0, 0, BLANK_SIDE, BLANK_SIDE), 1.0)
    used = of_region(analyzer.choose(names), "face")
    faces = read_faces(LazyImage.of(blank), [whole], used.values())
    answer = replace(analyzer.analyze(blank, names), faces=faces).to_json()
    row = {
        "picture": 0,
        "file": "",
        **_share(answer),
        **list_faces("", answer["faces"])[0],
        **{f"model_{name}": "" for name in models},
        "error": "",
        "error_detail": "",
    }
    return {name: type(value) for name, value in row.items()}
