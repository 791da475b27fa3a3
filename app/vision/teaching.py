"""Teach new classes from a few samples: the features of photos, and heads fitted to them."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from app.errors import unknown_choice
from app.markdown import markdown_table, percent
from app.vision.budget import Budget
from app.vision.detection.detector import DETECTOR_FOLDERS
from app.vision.geometry import Box
from app.vision.imaging.crops import CropShape, cut_from_photo, shape_crop
from app.vision.imaging.decoding import open_image
from app.vision.models.cards import CARD, Card, Head, LocalizedText
from app.vision.models.classifiers import Classifier
from app.vision.models.features import FeatureNetwork
from app.vision.models.files import FILES, hash_file
from app.vision.pipeline import FaceAnalyzer, check_effort, cut_image
from app.vision.readings import TrackedFace

PIXELS = CropShape(24, 1)  # what a lesson compares the features with
# Names that no taught model may have: a face's own fields in answers, and the detector's folders.
RESERVED = {*DETECTOR_FOLDERS, *TrackedFace.model_fields}
MOST_CLASSES = 8
MOST_LETTERS = 60  # of a class's name
WORDS = r"^[^<>&\"\x00-\x1f\x7f]*\S[^<>&\"\x00-\x1f\x7f]*$"  # no markup, and not only spaces
HEAD = "taught"
PURPOSE = {
    "en": "Tells which of these a {region} shows, as taught by samples: {classes}.",
    "id": "Menyebutkan mana dari ini yang tampak pada {region}, seperti diajarkan dengan contoh: "
    "{classes}.",
}
REGIONS = {"face": {"en": "face", "id": "wajah"}, "image": {"en": "photo", "id": "foto"}}
NOT_FOR = LocalizedText(
    en="Any decision about a person; people, light and cameras unlike those of the samples.",
    id="Keputusan apa pun tentang seseorang; orang, cahaya, dan kamera yang tidak seperti dalam "
    "contoh.",
)


@dataclass(frozen=True)
class TaughtHead:
    """Hold a linear head on a network's features, with what its card says of it.

    `labels` are the words of each class; `weights` are float32 (classes, length), `bias` float32
    (classes,). `figures` are those of a card's head, measured by cross-validation, and `source` and
    `command` say by which samples and how it was taught.
    """

    name: str
    labels: dict[str, LocalizedText]
    weights: np.ndarray
    bias: np.ndarray
    temperature: float
    threshold: float
    figures: dict[str, Any]
    source: str
    command: str


def are_alike(names: Sequence[str]) -> bool:
    """Return whether two names of classes differ by nothing but case and outer spaces."""
    return len({name.strip().casefold() for name in names}) < len(names)


@dataclass(frozen=True)
class Sample:
    """Hold what a photo is taught with.

    `features` are float32 (length,), `crop` is what the network read, uint8 (size, size, channels).
    `box` is the face's, None for whole pictures.
    """

    features: np.ndarray
    crop: np.ndarray
    box: Box | None

    @property
    def pixels(self) -> np.ndarray:
        """Return the crop in grey, uint8 (24, 24)."""
        crop = self.crop[:, :, 0] if self.crop.shape[2] == 1 else self.crop
        return shape_crop(crop, PIXELS)[:, :, 0]


class Teacher:
    """Turn photos into features; it keeps the networks, and nothing of a photo."""

    def __init__(self, analyzer: FaceAnalyzer, threads: int = 1) -> None:
        self._analyzer = analyzer
        self._load = functools.cache(lambda region: FeatureNetwork(self.bodies[region], threads))

    @property
    def bodies(self) -> dict[str, Classifier]:
        """Map each region to the model whose features serve it."""
        loaded = self._analyzer.classifiers.values()
        return {str(each.card.region): each for each in loaded if each.card.features}

    def network(self, region: str) -> FeatureNetwork:
        """Return the body that serves a region, loaded at first use. Raises `RautError`."""
        if region not in self.bodies:
            raise unknown_choice(
                "unknown_region", f"No model has features of {region!r}.", sorted(self.bodies)
            )
        return self._load(region)

    def read(
        self, data: bytes, region: str, effort: str = "balanced", budget: Budget | None = None
    ) -> Sample | None:
        """Return the sample of a photo's largest face or of the whole photo; None without a face.

        `effort` is as in `FaceAnalyzer.analyze_file`. Raises `RautError` as it does.
        """
        network, checked = self.network(region), check_effort(effort)
        budget = budget or Budget()
        photo = open_image(data)
        if network.region == "image":
            box, crop = None, cut_image(photo, network.shape)
        else:
            found = self._analyzer.detector.detect(photo, checked, [], budget)
            if not found:
                return None
            face = max(found, key=lambda each: each.box.width * each.box.height)
            box = face.box
            crop = cut_from_photo(photo, face, network.shape)
        budget.check()
        return Sample(network.read(crop[None])[0], crop, box)


def make_folder(network: FeatureNetwork, taught: TaughtHead) -> dict[str, bytes]:
    """Return the files of a model folder: the body and the head in one network, card and README."""
    model = network.join_head(HEAD, taught.weights, taught.bias)
    head = Head(
        classes=list(taught.labels), temperature=taught.temperature, threshold=taught.threshold
    )
    shape = network.shape
    card = Card(
        name=taught.name,
        task=taught.name,
        region=network.region,
        purpose=describe_purpose(network.region, taught.labels),
        not_for=NOT_FOR,
        size=shape.size,
        channels=3 if shape.channels == 3 else 1,
        margin=shape.margin,
        heads={HEAD: head},
        default_head=HEAD,
        labels=taught.labels,
        files={FILES["onnx"]: hash_file(model)},
        data={"source": taught.source, "licence": "as the samples"},
        training={
            "command": taught.command,
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "body": {"name": network.name, "version": network.version},
        },
        figures={"part": "cross-validation by recording", "heads": {HEAD: taught.figures}},
    )
    readme = _describe(card, taught.figures)
    return {
        FILES["onnx"]: model,
        CARD: (card.model_dump_json(indent=2) + "\n").encode(),
        "README.md": readme.encode(),
    }


def describe_purpose(region: str, labels: dict[str, LocalizedText]) -> LocalizedText:
    """Return the purpose of a model of taught classes, for its card."""

    def word(language: str) -> str:
        classes = ", ".join(getattr(label, language) for label in labels.values())
        return PURPOSE[language].format(region=REGIONS[region][language], classes=classes)

    return LocalizedText(en=word("en"), id=word("id"))


def _describe(card: Card, figures: dict[str, Any]) -> str:
    low, high = map(percent, figures["accuracy_interval"])
    limit = card.heads[HEAD].threshold
    rows = [
        (label.en, *counts)
        for label, counts in zip(card.labels.values(), figures["confusion"], strict=True)
    ]
    return f"""# {card.name}

{card.purpose.en}

**Not for:** {card.not_for.en}

A new head on the features of the model {card.training["body"]["name"]}. {card.data["source"]}
By cross-validation in which the samples of one recording, photo or person stay together,
{percent(figures["accuracy"])} of the answers are right ({low} to {high}, 95% interval), and
{percent(figures["unanswered"])} are left unsure below a probability of {limit}.

{markdown_table(rows, ["shown / answered", *(label.en for label in card.labels.values())])}

To serve it, put this folder into `models/` and restart the server.
"""
