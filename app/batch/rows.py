"""Make table rows of readings: one for each face."""

from collections.abc import Sequence
from typing import Any

from app import __version__
from app.batch.inputs import Picture, read_picture
from app.errors import RautError
from app.settings import Settings
from app.vision.detection.detector import FACE_CLASSIFIER
from app.vision.geometry import Box
from app.vision.loading import load_chosen
from app.vision.models.classifiers import Classifier
from app.vision.pipeline import EXPRESSION, of_region
from app.vision.readings import Analysis, FaceReading, Prediction, Size

Row = dict[str, Any]
WHOLE = "image_"  # the prefix of the columns for the whole image


def list_faces(answer: dict[str, Any]) -> list[Row]:
    """Return a row for each face of a JSON answer: its number, then its fields, flattened."""
    return [{"face": number, **_flatten(face)} for number, face in enumerate(answer["faces"], 1)]


def _flatten(values: dict[str, Any], prefix: str = "") -> Row:
    """Join nested keys with underscores: expression_probabilities_happy."""
    flat: Row = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}_")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


class PictureReader:
    """Analyze images with loaded models, and make their rows.

    `columns` maps each column, the same in every row, to the type of its values. An image without
    faces has one row, whose `face` is None; so has one that can't be read, with a stable code in
    `error` and a sentence in `error_detail`.
    """

    def __init__(self, settings: Settings, effort: str, names: Sequence[str] | None = None) -> None:
        """Load the models; `names` selects them as in `FaceAnalyzer.choose`.

        Raises `app.vision.models.cards.ModelError`, and `RautError` for the name of no model.
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
        self._versions = {"label_set": self.labels.get(EXPRESSION, "")}
        self._versions |= {f"model_{name}": digest[:12] for name, digest in self.models.items()}
        self._versions["raut_version"] = __version__
        (example,) = _image_rows(_example(used))
        example |= self._versions | {"error": "", "error_detail": ""}
        self.columns = {name: type(value) for name, value in example.items()}

    def read(self, first: int, pictures: Sequence[Picture]) -> list[Row]:
        """Return the rows of consecutive images, `first` being the number of the first one."""
        return [
            row
            for number, picture in enumerate(pictures, start=first)
            for row in self.list_rows(number, self.analyze(picture))
        ]

    def list_rows(self, number: int, answer: dict[str, Any]) -> list[Row]:
        """Return the rows of what `analyze` returned for an image, `number` being its number."""
        answer = {"picture": number, **answer}
        rows = [answer] if "error" in answer else _image_rows(answer)
        return [self._row(**row) for row in rows]

    def lose(self, number: int, picture: Picture) -> Row:
        """Return the row of an image that killed each process that read it."""
        return self._row(
            picture=number,
            file=picture.name,
            error="reader_died",
            error_detail="Each process that read this picture died, perhaps for lack of memory. "
            "Analyze it alone to see more.",
        )

    def analyze(self, picture: Picture) -> dict[str, Any]:
        """Return the API's JSON answer for an image, with its name as `file`.

        For an unreadable image, return `file`, `error` (a stable code) and `error_detail`.
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
        except Exception as error:  # One image must not end a run over a million others.
            code = "internal"
            detail = f"Raut itself failed at this picture ({type(error).__name__}: {error})."
        return {"file": picture.name, "error": code, "error_detail": detail}

    def _row(self, **values: Any) -> Row:
        return dict.fromkeys(self.columns) | self._versions | values


def _image_rows(answer: dict[str, Any]) -> list[Row]:
    shared = {
        "picture": answer["picture"],
        "file": answer["file"],
        **answer["image"],
        "faces": len(answer["faces"]),
        **_flatten(answer.get("image_predictions", {}), WHOLE),
    }
    return [shared | face for face in list_faces(answer) or [{}]]


def _example(classifiers: dict[str, Classifier]) -> dict[str, Any]:
    predictions = {
        name: Prediction(
            label="",
            probability=0,
            confident=False,
            probabilities=dict.fromkeys(classifier.head.labels, 0),
            threshold=0,
            reason="tiny" if classifier.card.visibility else None,
        )
        for name, classifier in classifiers.items()
    }
    faces = {each.card.task: predictions[n] for n, each in of_region(classifiers, "face").items()}
    example = Analysis(
        image=Size(width=0, height=0),
        faces=(FaceReading(box=Box(0, 0, 0, 0), score=0, **faces),),
        timings_ms={},
        models={},
        image_predictions={name: predictions[name] for name in of_region(classifiers, "image")},
    )
    return {"picture": 0, "file": "", **example.to_json()}
