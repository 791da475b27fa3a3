"""What the steps page shows of each stage: pictures, figures and two sentences."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flask_babel import gettext

from app.vision.detection.proposals import WINDOW
from app.vision.explain import visualization
from app.vision.explain.explanation import Explanation, Reading
from app.vision.explain.haar_features import first_features
from app.vision.explain.visualization import Picture, Tiles
from app.vision.geometry import Box
from app.vision.imaging.crops import CropShape, cut_from_photo
from app.vision.models.cards import NONE_OF_THESE
from app.vision.readings import Detection
from app.web.i18n.formats import decimal, label, number, percent, share
from app.web.i18n.step_text import STEPS

FEATURES = 3  # How many of the cascade's first features are drawn.
BEST = 5  # Scores listed, the best first.
BINS = 32  # Bars of a histogram.
CHANNELS = 3  # Values of a pixel: red, green and blue.
MODEL_SIDE = 288  # Side of the crop shown before it is shrunk, in pixels.


@dataclass(frozen=True)
class Figure:
    """Hold a picture of a stage, its name in the ZIP file, and what it shows in words."""

    name: str
    picture: Picture
    caption: str


@dataclass(frozen=True)
class View:
    """Hold what one stage of one photo shows.

    `figures` are names and values in words; `milliseconds` is None where the stage takes part
    in no analysis; `more` is for the stage's own template.
    """

    shots: list[Figure]
    figures: list[tuple[str, str]] = field(default_factory=list)
    milliseconds: float | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def all_shots(self) -> list[Figure]:
        """Return every picture, also those that a stage's own template places."""
        return [*self.shots, *self.more.get("shots", [])]


@dataclass(frozen=True)
class Histogram:
    """Hold how many values fall in each of some bins of equal width, as shares of the fullest."""

    bars: list[float]
    low: float
    high: float


def view_stages(explanation: Explanation) -> dict[str, View]:
    """Return the views of the stages that a photo came to, by the step's id, in their order."""
    found = {step.id: VIEWS[step.id](explanation) for step in STEPS if step.id in VIEWS}
    return {step: view for step, view in found.items() if view is not None}


def list_numbers(explanation: Explanation) -> dict[str, Any]:
    """Return a photo's numbers as data: the API's answer, and how one crop came to its answer."""
    numbers: dict[str, Any] = {
        "analysis": explanation.analysis.to_json(),
        "stages_ms": [
            {"stage": each.name, "model": each.model, "ms": round(each.milliseconds, 2)}
            for each in explanation.trace.stages
        ],
    }
    reading = explanation.reading
    if reading is not None:
        head = reading.classifier.head
        numbers["reading"] = {
            "model": reading.classifier.card.name,
            "head": reading.classifier.head_name,
            "face": None if explanation.face is None else explanation.face + 1,
            "temperature": head.temperature,
            "threshold": reading.prediction.threshold,
            "logits": dict(zip(reading.names, map(float, reading.logits), strict=True)),
            **reading.prediction.to_json(),
        }
    return numbers


def _photo(explanation: Explanation) -> View:
    stage = explanation.trace.find("photo")
    assert stage is not None
    photo = stage.values["photo"]
    width, height = photo.width, photo.height
    return View(
        [
            Figure(
                "photo",
                visualization.encode(visualization.fit(photo), "jpeg"),
                gettext("The photo upright"),
            )
        ],
        [
            (
                gettext("Size"),
                gettext(
                    "%(width)s × %(height)s pixels", width=number(width), height=number(height)
                ),
            ),
            (gettext("Megapixels"), decimal(width * height / 1e6, 1)),
            (gettext("Values"), number(width * height * CHANNELS)),
        ],
        stage.milliseconds,
    )


def _grey(explanation: Explanation) -> View | None:
    stage = explanation.trace.find("working_copy")
    if stage is None:
        return None
    copy = stage.values["picture"]
    height, width = copy.shape
    counts, _ = np.histogram(copy, bins=BINS, range=(0, 256))
    return View(
        [
            Figure(
                "grey",
                visualization.encode(copy, "jpeg"),
                gettext("The grey copy that is searched"),
            )
        ],
        [
            (
                gettext("Size"),
                gettext(
                    "%(width)s × %(height)s pixels", width=number(width), height=number(height)
                ),
            ),
            (
                gettext("One of its pixels spans"),
                gettext("%(count)s of the photo's", count=decimal(stage.values["scale"], 2)),
            ),
            (
                gettext("Mean brightness"),
                gettext("%(grey)s of 255", grey=decimal(float(copy.mean()))),
            ),
        ],
        stage.milliseconds,
        {"histogram": Histogram((counts / counts.max()).tolist(), 0, 255)},
    )


def _features(explanation: Explanation) -> View | None:
    """Show the cascade's first features on the chosen face."""
    photo, place = explanation.trace.find("photo"), _chosen_place(explanation)
    if photo is None or place is None:
        return None
    window = cut_from_photo(photo.values["photo"], place, CropShape(WINDOW, 1))[:, :, 0]
    shots, figures = [], []
    for index, feature in enumerate(first_features(FEATURES), start=1):
        light, dark = feature.contrast(window)
        caption = gettext("Question %(number)s", number=index)
        drawn = visualization.draw_feature(window, feature)
        shots.append(Figure(f"question-{index}", visualization.encode(drawn, "jpeg"), caption))
        figures.append(
            (
                caption,
                gettext(
                    "yellow part %(light)s, dark part %(dark)s of 255",
                    light=decimal(light),
                    dark=decimal(dark),
                ),
            )
        )
    return View(shots, figures)


def _windows(explanation: Explanation) -> View | None:
    stage, copy = explanation.trace.find("windows"), explanation.trace.find("working_copy")
    if stage is None or copy is None:
        return None
    boxes = [Box(round(x), round(y), round(s), round(s)) for x, y, s in stage.values["windows"]]
    drawn = visualization.draw_boxes(copy.values["picture"], boxes, 1.0)
    sides = [box.width for box in boxes]
    figures = [(gettext("Windows that pass"), number(len(boxes)))]
    if sides:
        sizes = gettext(
            "%(low)s to %(high)s pixels of the copy",
            low=number(min(sides)),
            high=number(max(sides)),
        )
        figures.append((gettext("Their sides"), sizes))
    shot = Figure(
        "windows", visualization.encode(drawn, "jpeg"), gettext("Every window that passes")
    )
    return View([shot], figures, stage.milliseconds)


def _proposals(explanation: Explanation) -> View | None:
    stage, photo = explanation.trace.find("proposals"), explanation.trace.find("photo")
    if stage is None or photo is None:
        return None
    shown = visualization.fit(photo.values["photo"])
    scale = shown.shape[1] / photo.values["photo"].width
    squares = stage.values["squares"]
    best = " · ".join(decimal(each, 2) for each in sorted(squares.scores.tolist())[::-1][:BEST])
    faces = explanation.analysis.faces
    boxes = [face.box for face in faces]
    drawn = visualization.draw_boxes(shown, boxes, scale, explanation.face)
    figures = [
        (gettext("Looks at the photo"), number(len(stage.values["passes"]))),
        (gettext("Places asked about"), number(len(squares))),
        (gettext("Best scores"), best or "–"),
        (gettext("Faces answered"), number(len(faces))),
    ]
    figures += [
        (
            gettext("Face %(number)s", number=place),
            gettext(
                "score %(score)s, %(size)s pixels wide, %(left)s from the left, "
                "%(top)s from the top, turned by %(roll)s°",
                roll=decimal(face.roll_degrees),
                score=decimal(face.score, 2),
                size=number(face.box.width),
                left=number(face.box.x),
                top=number(face.box.y),
            ),
        )
        for place, face in enumerate(faces, start=1)
    ]
    shot = Figure(
        "faces", visualization.encode(drawn, "jpeg"), gettext("The boxes that are answered")
    )
    return View([shot], figures, stage.milliseconds)


def _crop(explanation: Explanation) -> View | None:
    reading, photo = explanation.reading, explanation.trace.find("photo")
    if reading is None or photo is None or reading.classifier.card.region != "face":
        return None
    shape = reading.classifier.card.shape
    shots = []
    place = _chosen_place(explanation)
    if place is not None and explanation.face is not None:
        cut = cut_from_photo(photo.values["photo"], place, CropShape(MODEL_SIDE, 3, shape.margin))
        shots.append(
            Figure("cut", visualization.encode(cut, "jpeg"), gettext("As cut from the photo"))
        )
    margin = (gettext("Margin on each side"), percent(shape.margin))
    return _input(explanation, reading, shots, [margin])


def _whole(explanation: Explanation) -> View | None:
    reading = explanation.reading
    if reading is None or reading.classifier.card.region != "image":
        return None
    return _input(explanation, reading, [], [])


def _input(
    explanation: Explanation, reading: Reading, shots: list[Figure], figures: list[tuple[str, str]]
) -> View:
    shape = reading.classifier.card.shape
    shown = visualization.encode(visualization.as_rgb(reading.crop))
    stage = explanation.trace.find("crops", reading.classifier.card.name)
    colours = gettext("grey") if shape.channels == 1 else gettext("colour")
    size = gettext("%(size)s × %(size)s pixels, %(channels)s", size=shape.size, channels=colours)
    return View(
        [*shots, Figure("input", shown, gettext("As the network gets it"))],
        [
            (gettext("The network's size"), size),
            *figures,
            (gettext("Values"), number(reading.crop.size)),
        ],
        stage.milliseconds if stage else None,
    )


def _filters(explanation: Explanation) -> View | None:
    """Show the first layer's filters."""
    reading = explanation.reading
    if reading is None or reading.filters is None or reading.filters.shape[1] not in (1, 3):
        return None
    tiles = visualization.tile_filters(reading.filters)
    shot = Figure("filters", tiles.picture, gettext("The filters of the first layer"))
    count, _, height, width = reading.filters.shape
    return View(
        [],
        [
            (gettext("Filters"), number(count)),
            (gettext("Size"), gettext("%(width)s × %(height)s pixels", width=width, height=height)),
            (gettext("Weights"), number(reading.filters.size)),
        ],
        more={"tiles": tiles, "shots": [shot]},
    )


def _maps(explanation: Explanation) -> View | None:
    blocks = [each for each in _layers(explanation) if each.ends_block] or _layers(explanation)
    if not blocks:
        return None
    shown = []
    for place, layer in enumerate(blocks, start=1):
        strengths = layer.maps.mean(axis=(1, 2))
        shown.append(
            {
                "number": place,
                "tiles": visualization.tile_maps(layer.maps),
                "strongest": int(strengths.argmax()) + 1,
                "silent": int((layer.maps.max(axis=(1, 2)) == 0).sum()),
            }
        )
    shots = [
        Figure(
            f"block-{each['number']}",
            _sheet(each).picture,
            gettext("Block %(number)s", number=each["number"]),
        )
        for each in shown
    ]
    return View([], more={"blocks": shown, "shots": shots})


def _sheet(block: dict[str, Any]) -> Tiles:
    tiles: Tiles = block["tiles"]
    return tiles


def _spread(explanation: Explanation) -> View | None:
    layers = _layers(explanation)
    if not layers:
        return None
    rows = []
    for place, layer in enumerate(layers, start=1):
        values = layer.maps.ravel()
        above = values[values > 0]
        top = float(np.percentile(above, 99.5)) if above.size else 1.0
        counts, _ = np.histogram(np.minimum(above, top), bins=BINS, range=(0, top))
        channels, height, width = layer.maps.shape
        rows.append(
            {
                "number": place,
                "shape": f"{channels} × {height} × {width}",
                "zero": share(float((values == 0).mean())),
                "mean": decimal(float(values.mean()), 3),
                "largest": decimal(float(values.max()), 2),
                "histogram": Histogram((counts / max(counts.max(), 1)).tolist(), 0, top),
            }
        )
    return View([], more={"rows": rows})


def _where(explanation: Explanation) -> View | None:
    reading = explanation.reading
    if reading is None:
        return None
    methods = [("occlusion", gettext("Covering places"), reading.occlusion)]
    if reading.cam is not None:
        methods.append(("grad-cam", "Grad-CAM", reading.cam))
    classes = []
    for index, name in enumerate(reading.names):
        drop = float(reading.occlusion[index].max())
        shots = [
            Figure(
                f"{method}-{name}",
                visualization.encode(visualization.draw_heat(reading.crop, heat[index]), "jpeg"),
                title,
            )
            for method, title, heat in methods
        ]
        classes.append({"name": name, "shots": shots, "drop": percent(max(drop, 0.0))})
    chosen = int(reading.shares.argmax())
    return View(
        [],
        more={
            "classes": classes,
            "chosen": chosen,
            "shots": [shot for each in classes for shot in each["shots"]],
        },
    )


def _softmax(explanation: Explanation) -> View | None:
    reading = explanation.reading
    if reading is None:
        return None
    stage = explanation.trace.find("logits", reading.classifier.card.name)
    return View(
        [],
        [
            (gettext("Temperature"), decimal(reading.classifier.head.temperature, 2)),
        ],
        stage.milliseconds if stage else None,
        {
            "rows": [
                {
                    "name": name,
                    "logit": float(logit),
                    "scaled": float(scaled),
                    "probability": round(float(probability), 4),
                }
                for name, logit, scaled, probability in zip(
                    reading.names, reading.logits, reading.scaled, reading.shares, strict=True
                )
            ],
            "temperature": reading.classifier.head.temperature,
        },
    )


def _decision(explanation: Explanation) -> View | None:
    reading = explanation.reading
    if reading is None:
        return None
    prediction = reading.prediction
    figures = [
        (gettext("Likeliest class"), label(prediction.label)),
        (gettext("Its probability"), share(prediction.probability)),
        (gettext("Threshold"), share(prediction.threshold)),
    ]
    outside = reading.classifier.head.ood
    if outside:
        none = prediction.probabilities[NONE_OF_THESE]
        figures += [
            (gettext("Probability that it is none of these"), share(none)),
            (gettext("Energy of the logits"), decimal(reading.energy, 2)),
            (gettext("Energy at which that is half likely"), decimal(outside.energy_limit, 2)),
        ]
    return View(
        [],
        figures,
        more={
            "confident": prediction.confident,
            "label": prediction.label,
            "limit": prediction.threshold,
            "probabilities": prediction.to_json()["probabilities"],
            "numbers": list_numbers(explanation),
        },
    )


def _layers(explanation: Explanation) -> list[Any]:
    return explanation.reading.layers if explanation.reading else []


def _chosen_place(explanation: Explanation) -> Detection | None:
    if explanation.face is not None:
        return explanation.analysis.faces[explanation.face]
    stage = explanation.trace.find("proposals")
    if stage is None or not len(stage.values["squares"]):
        return None
    squares = stage.values["squares"]
    return squares.take([int(squares.scores.argmax())]).to_detections()[0]


VIEWS: dict[str, Callable[[Explanation], View | None]] = {
    "photo": _photo,
    "grey": _grey,
    "features": _features,
    "windows": _windows,
    "proposals": _proposals,
    "crop": _crop,
    "whole": _whole,
    "filters": _filters,
    "maps": _maps,
    "spread": _spread,
    "where": _where,
    "softmax": _softmax,
    "decision": _decision,
}
