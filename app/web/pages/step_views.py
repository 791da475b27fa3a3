"""What the steps page shows of each stage: pictures, named values, and what its template draws."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flask_babel import gettext

from app.vision.detection.detector import SearchPass
from app.vision.detection.proposals import WINDOW
from app.vision.explain import visualization
from app.vision.explain.explanation import Explanation, Reading
from app.vision.explain.haar_features import first_features
from app.vision.explain.visualization import Picture
from app.vision.geometry import Box
from app.vision.imaging.crops import CropShape, cut_from_photo
from app.vision.models.cards import NONE_OF_THESE
from app.vision.readings import Detection
from app.web.i18n.formats import decimal, label, number, percent, probability
from app.web.i18n.step_text import STEPS
from app.web.pages.convolution import first_convolution

FEATURES = 3  # Haar features drawn.
BEST = 5  # Scores listed, the best first.
BINS = 32  # Bars of a histogram.
CHANNELS = 3  # Values of a pixel: red, green and blue.
FAINT = 0.1  # A fall of the log-odds below which nothing is drawn.
LARGEST_ODDS = 1e6  # Beyond, a probability has no digits left.
MODEL_SIDE = 288  # Side of the crop shown before it is shrunk, in pixels.
# The stage of the trace whose time a step shows; the other steps take part in no analysis.
TIMED = {
    "photo": "photo",
    "grey": "working_copy",
    "windows": "windows",
    "proposals": "proposals",
    "crop": "crops",
    "whole": "crops",
    "softmax": "logits",
}


@dataclass(frozen=True)
class Figure:
    """Hold a picture of a stage, its name in the ZIP file, and its caption."""

    name: str
    picture: Picture
    caption: str


@dataclass(frozen=True)
class View:
    """Hold what one stage of one photo shows.

    `values` are names and formatted values; `more` is for the stage's own template, which
    places the pictures under its key "figures" itself.
    """

    figures: list[Figure] = field(default_factory=list)
    values: list[tuple[str, str]] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)

    def all_figures(self) -> list[Figure]:
        """Return every picture, also those that a stage's own template places."""
        return [*self.figures, *self.more.get("figures", [])]


def view_stages(explanation: Explanation) -> dict[str, View]:
    """Return the views of the stages that a photo reached, by the step's id, in their order."""
    views = {}
    for step in STEPS:
        view = _view(step.id, explanation)
        if view is not None:
            view.values.extend(_list_times(step.id, explanation))
            views[step.id] = view
    return views


def _view(step: str, explanation: Explanation) -> View | None:
    if step in VIEWS:
        return VIEWS[step](explanation)
    return READING_VIEWS[step](explanation, explanation.reading) if explanation.reading else None


def _list_times(step: str, explanation: Explanation) -> list[tuple[str, str]]:
    name, reading = TIMED.get(step, ""), explanation.reading
    model = reading.classifier.card.name if reading and name in ("crops", "logits") else ""
    stage = explanation.trace.find(name, model)
    if stage is None:
        return []
    return [(gettext("Time"), gettext("%(time)s ms", time=decimal(stage.milliseconds, 1)))]


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


def _figure(name: str, pixels: np.ndarray, caption: str, kind: str = "jpeg") -> Figure:
    return Figure(name, visualization.encode(pixels, kind), caption)


def _pixels(width: int, height: int) -> str:
    size = {"width": number(width), "height": number(height)}
    return str(gettext("%(width)s × %(height)s pixels", **size))


def _histogram(values: np.ndarray, top: float) -> list[float]:
    """Count values between 0 and `top` in bins of equal width, as shares of the fullest."""
    counts, _ = np.histogram(values, bins=BINS, range=(0, top))
    shares: list[float] = (counts / max(counts.max(), 1)).tolist()
    return shares


def _photo(explanation: Explanation) -> View:
    photo = _stage(explanation, "photo")["photo"]
    values = [
        (gettext("Size"), _pixels(photo.width, photo.height)),
        (gettext("Megapixels"), decimal(photo.width * photo.height / 1e6, 1)),
        (gettext("Values"), number(photo.width * photo.height * CHANNELS)),
    ]
    shown = _figure("photo", visualization.fit(photo), gettext("The photo upright"))
    return View([shown], values)


def _grey(explanation: Explanation) -> View | None:
    stage = _stage(explanation, "working_copy")
    if not stage:
        return None
    copy = stage["picture"]
    height, width = copy.shape
    values = [
        (gettext("Size"), _pixels(width, height)),
        (gettext("Photo pixels for each of its pixels"), decimal(stage["scale"], 2)),
        (
            gettext("Mean brightness"),
            gettext("%(grey)s of 255", grey=decimal(float(copy.mean()))),
        ),
    ]
    shown = _figure("grey", copy, gettext("The grey copy that is searched"))
    return View([shown], values, {"histogram": _histogram(copy, 256)})


def _features(explanation: Explanation) -> View | None:
    """Show the cascade's first features on the explained face, or else the best proposal."""
    face = _best_detection(explanation)
    if face is None:
        return None
    photo = _stage(explanation, "photo")["photo"]
    window = cut_from_photo(photo, face, CropShape(WINDOW, 1))[:, :, 0]
    view = View()
    for index, feature in enumerate(first_features(FEATURES), start=1):
        light, dark = map(decimal, feature.contrast(window))
        caption = gettext("Feature %(number)s", number=index)
        drawn = visualization.draw_feature(window, feature)
        view.figures.append(_figure(f"feature-{index}", drawn, caption))
        contrast = gettext(
            "yellow part %(light)s, dark part %(dark)s of 255", light=light, dark=dark
        )
        view.values.append((caption, contrast))
    return view


def _name_pass(index: int, each: SearchPass) -> str:
    """Name a pass by its number and by what it searches differently from the first."""
    kinds = [gettext("rotated by %(degrees)s°", degrees=decimal(each.rotation))]
    if not each.rotation:
        kinds = [gettext("upright")]
    if each.octave:
        kinds.append(gettext("finer copy"))
    if each.equalized:
        kinds.append(gettext("contrast equalized"))
    return str(gettext("Pass %(number)s, %(kind)s", number=index, kind=", ".join(kinds)))


def _list_passes(explanation: Explanation) -> list[tuple[str, str]]:
    """Say what each of several passes found."""
    passes = _stage(explanation, "proposals")["passes"]
    return [
        (
            _name_pass(index, each.search_pass),
            gettext(
                "%(windows)s windows, %(squares)s squares, %(faces)s faces",
                windows=number(len(each.windows)),
                squares=number(len(each.network_boxes)),
                faces=number(len(each.faces)),
            ),
        )
        for index, each in enumerate(passes if len(passes) > 1 else [], start=1)
    ]


def _windows(explanation: Explanation) -> View | None:
    stage = _stage(explanation, "windows")
    if not stage:
        return None
    copy = _stage(explanation, "working_copy")["picture"]
    boxes = [Box(round(x), round(y), round(s), round(s)) for x, y, s in stage["windows"]]
    values = [(gettext("Windows that pass"), number(len(boxes)))]
    if sides := [box.width for box in boxes]:
        sizes = gettext(
            "%(low)s to %(high)s pixels of the copy",
            low=number(min(sides)),
            high=number(max(sides)),
        )
        values.append((gettext("Their sides"), sizes))
    drawn = visualization.draw_boxes(copy, boxes, 1.0)
    passes = _stage(explanation, "proposals")["passes"]
    caption = gettext("Every window that passes")
    if len(passes) > 1:
        drawn_pass = next(n for n, p in enumerate(passes, start=1) if p.windows is stage["windows"])
        caption = gettext("Every window of pass %(number)s", number=drawn_pass)
    view = View([_figure("windows", drawn, caption)], values)
    if len(stage["boxes"]):
        boxes = [
            Box(round(x - side / 2), round(y - side / 2), round(side), round(side))
            for x, y, side in stage["boxes"][:, :3].tolist()
        ]
        drawn = visualization.draw_boxes(copy, boxes, 1.0)
        view.figures.append(_figure("squares", drawn, gettext("What the network proposes")))
        values.append((gettext("Squares that the network proposes"), number(len(boxes))))
    values.extend(_list_passes(explanation))
    return view


def _proposals(explanation: Explanation) -> View | None:
    stage, photo = _stage(explanation, "proposals"), _stage(explanation, "photo")["photo"]
    if not stage:
        return None
    shown = visualization.fit(photo)
    passes = stage["passes"]
    scores = sorted((s for each in passes for s in each.proposals.scores.tolist()), reverse=True)
    faces = explanation.analysis.faces
    boxes = [face.box for face in faces]
    drawn = visualization.draw_boxes(shown, boxes, shown.shape[1] / photo.width, explanation.face)
    values = [
        (gettext("Search passes"), number(len(passes))),
        (gettext("Regions classified"), number(len(scores))),
        (
            gettext("Best scores of regions"),
            " · ".join(map(probability, scores[:BEST])) or "–",
        ),
        (gettext("Faces detected"), number(len(faces))),
    ]
    for index, face in enumerate(faces, start=1):
        words = gettext(
            "score %(score)s, %(size)s pixels wide, %(left)s from the left, "
            "%(top)s from the top, turned by %(roll)s°",
            roll=decimal(face.roll_degrees),
            score=probability(face.score),
            size=number(face.box.width),
            left=number(face.box.x),
            top=number(face.box.y),
        )
        values.append((gettext("Face %(number)s", number=index), words))
    figure = _figure("faces", drawn, gettext("The boxes of the detected faces"))
    size = {"width": photo.width, "height": photo.height}
    return View([], values, {"figures": [figure], "boxes": boxes, **size})


def _crop(explanation: Explanation, reading: Reading) -> View | None:
    shape = reading.classifier.card.shape
    face = _best_detection(explanation)
    if explanation.face is None or face is None:
        return None
    photo = _stage(explanation, "photo")["photo"]
    cut = cut_from_photo(photo, face, CropShape(MODEL_SIDE, 3, shape.margin))
    view = _input(reading)
    view.figures.insert(0, _figure("cut", cut, gettext("As cut from the photo")))
    view.values.insert(1, (gettext("Margin on each side"), percent(shape.margin)))
    return view


def _whole(explanation: Explanation, reading: Reading) -> View | None:
    return _input(reading) if explanation.face is None else None


def _input(reading: Reading) -> View:
    shape = reading.classifier.card.shape
    colours = gettext("grey") if shape.channels == 1 else gettext("colour")
    size = gettext("%(size)s × %(size)s pixels, %(channels)s", size=shape.size, channels=colours)
    shown = visualization.as_rgb(reading.crop)
    return View(
        [_figure("input", shown, gettext("The network's input"), "png")],
        [(gettext("Input size"), size), (gettext("Values"), number(reading.crop.size))],
    )


def _filters(_: Explanation, reading: Reading) -> View | None:
    if reading.filters is None or reading.filters.shape[1] not in (1, 3):
        return None
    tiles = visualization.tile_filters(reading.filters)
    count, _channels, height, width = reading.filters.shape
    values = [
        (gettext("Filters"), number(count)),
        (gettext("Size"), _pixels(width, height)),
        (gettext("Weights"), number(reading.filters.size)),
    ]
    figure = Figure("filters", tiles.picture, gettext("The filters of the first layer"))
    more = {"tiles": tiles, "figures": [figure], "convolution": first_convolution(reading)}
    return View([], values, {**more, "layers": _list_layers(reading)})


def _list_layers(reading: Reading) -> list[str]:
    """Name the sizes of what goes through the network, from the crop to the classes."""
    shapes = [reading.crop.shape]
    shapes += [(*each.maps.shape[1:], each.maps.shape[0]) for each in reading.layers]
    return [" × ".join(map(number, each)) for each in shapes] + [
        gettext("%(count)s classes", count=number(len(reading.names)))
    ]


def _maps(_: Explanation, reading: Reading) -> View | None:
    layers = [each for each in reading.layers if each.ends_block] or reading.layers
    blocks, figures = [], []
    for index, layer in enumerate(layers, start=1):
        tiles = visualization.tile_maps(layer.maps)
        strongest = int(layer.maps.mean(axis=(1, 2)).argmax()) + 1
        silent = int((layer.maps.max(axis=(1, 2)) == 0).sum())
        title = gettext("Block %(number)s", number=index)
        figures.append(Figure(f"block-{index}", tiles.picture, title))
        blocks.append({"number": index, "tiles": tiles, "strongest": strongest, "silent": silent})
    return View(more={"blocks": blocks, "figures": figures}) if blocks else None


def _spread(_: Explanation, reading: Reading) -> View | None:
    rows = [_describe_layer(each.maps) for each in reading.layers]
    return View(more={"rows": rows}) if rows else None


def _describe_layer(maps: np.ndarray) -> dict[str, Any]:
    above = maps[maps > 0]
    top = float(np.percentile(above, 99.5)) if above.size else 1.0
    return {
        "shape": " × ".join(map(str, maps.shape)),
        "zero": float((maps == 0).mean()),
        "mean": float(maps.mean()),
        "largest": float(maps.max()),
        "bars": _histogram(np.minimum(above, top), top),
    }


def _where(_: Explanation, reading: Reading) -> View:
    falls = _falls(reading)
    methods = [("occlusion", gettext("Occlusion"), falls)]
    if reading.cam is not None:
        methods.append(("grad-cam", "Grad-CAM", reading.cam))
    classes: list[dict[str, Any]] = []
    for index, name in enumerate(reading.names):
        figures = [
            _figure(f"{method}-{name}", visualization.draw_heat(reading.crop, heat[index]), title)
            for method, title, heat in methods
        ]
        fall = float(falls[index].max())
        classes.append({"name": name, "figures": figures, "fall": fall and decimal(fall, 1)})
    figures = [figure for each in classes for figure in each["figures"]]
    return View(
        more={"classes": classes, "chosen": int(reading.shares.argmax()), "figures": figures}
    )


def _falls(reading: Reading) -> np.ndarray:
    """Return how far occlusion lowers each class's log-odds, (classes, size, size), at least 0.

    A probability near 1 hardly falls where its log-odds do. What falls less than `FAINT` is 0.
    """

    def log_odds(shares: np.ndarray) -> np.ndarray:
        odds = shares / np.maximum(1 - shares, 1 / LARGEST_ODDS)
        return np.asarray(np.log(np.maximum(odds, 1 / LARGEST_ODDS)))

    before = reading.shares[:, None, None].astype(np.float64)
    falls = log_odds(before) - log_odds(np.clip(before - reading.occlusion, 0, 1))
    strong = falls.max(axis=(1, 2), keepdims=True) >= FAINT
    return np.where(strong, np.maximum(falls, 0), 0)


def _softmax(_: Explanation, reading: Reading) -> View:
    temperature = reading.classifier.head.temperature
    columns = (each.tolist() for each in (reading.logits, reading.scaled, reading.shares))
    rows = list(zip(reading.names, *columns, strict=True))
    values = [(gettext("Temperature"), decimal(temperature, 2))]
    return View([], values, {"rows": rows, "temperature": temperature})


def _decision(explanation: Explanation, reading: Reading) -> View:
    prediction = reading.prediction
    values = [
        (gettext("Most probable class"), label(prediction.label)),
        (gettext("Its probability"), probability(prediction.probability)),
        (gettext("Threshold"), probability(prediction.threshold)),
    ]
    if ood := reading.classifier.head.ood:
        none = prediction.probabilities[NONE_OF_THESE]
        values += [
            (gettext("Probability of “none of these”"), probability(none)),
            (gettext("Energy of the logits"), decimal(reading.energy, 2)),
            (gettext("Energy at a probability of one half"), decimal(ood.energy_limit, 2)),
        ]
    return View([], values, {"prediction": prediction, "numbers": list_numbers(explanation)})


def _stage(explanation: Explanation, name: str) -> dict[str, Any]:
    """Return what a stage recorded; nothing where the photo did not reach it."""
    stage = explanation.trace.find(name)
    return stage.values if stage else {}


def _best_detection(explanation: Explanation) -> Detection | None:
    """Return the explained face, or else the proposal with the best score."""
    if explanation.face is not None:
        return explanation.analysis.faces[explanation.face]
    proposals = _stage(explanation, "proposals").get("proposals")
    if not proposals:
        return None
    best: Detection = max(proposals.to_detections(), key=lambda each: each.score)
    return best


# By their steps' ids.
VIEWS: dict[str, Callable[[Explanation], View | None]] = {
    each.__name__.strip("_"): each for each in (_photo, _grey, _features, _windows, _proposals)
}
READING_VIEWS: dict[str, Callable[[Explanation, Reading], View | None]] = {
    each.__name__.strip("_"): each
    for each in (_crop, _whole, _filters, _maps, _spread, _where, _softmax, _decision)
}
