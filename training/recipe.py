"""Read recipes: one TOML file for each model, with every choice in it."""

import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    field_validator,
)

RECIPES = Path(__file__).parent / "recipes"

WORDS = {"purpose", "not_for", "default_head_reason"}  # of a recipe, which change no training
Share = Annotated[float, Field(ge=0, le=1)]


def _check_drawn(value: float) -> float:
    if not (0 < value < 1 or (value > 1 and value == int(value))):
        raise ValueError("give a whole number of pictures, 2 or more, or a share below 1")
    return value


Drawn = Annotated[float, AfterValidator(_check_drawn)]


class DataError(ValueError):
    """Reject a data set, in words that name the folder or files at fault."""


class RecipeError(ValueError):
    """Refuse a recipe, in words that say which key and what may stand there."""


class StrictModel(BaseModel):
    """Refuse keys that don't exist."""

    model_config = ConfigDict(extra="forbid")


class OODSet(StrictModel):
    """Say where pictures lie that show none of the classes, and what of them is seen."""

    folder: Path
    count: int | None = None  # drawn from each split; else all
    window: float = Field(1.0, gt=0, le=1)  # share of the shorter side that is cut out; 1: whole
    jigsaw: PositiveInt = 1  # cut so many times so many pieces, which are shuffled
    train_on: bool = True  # else it is only measured on


class Mining(StrictModel):
    """Say from whose pictures a face classifier's crops are cut, and how its hard negatives are mined."""

    source: Path  # the folder of the data sets
    rounds: PositiveInt  # fits before the last one, after each of which its mistakes are added
    epochs: PositiveInt  # of each of these fits


class Data(StrictModel):
    """Say which pictures are trained on and how they are cropped."""

    folder: Path
    channels: Literal[1, 3]
    size: int  # side of the crop that the finished network takes, in pixels
    stored_size: int  # side at which training pictures wait in memory, for zooming without blur
    margin: float = 0.0  # share of a detected box's side added around it before cutting
    leakage: Literal["refuse", "drop"] = "refuse"  # training pictures standing in validation too
    # split → pictures drawn from it, as many of each class, or the share drawn of each; else all
    subset: dict[Literal["train", "validation"], Drawn] = {}
    oversample: dict[str, PositiveInt] = {}  # class → how often an epoch shows each of its pictures
    ood: dict[str, OODSet] = {}  # pictures of no class: the training splits are learned from
    mining: Mining | None = None  # how `rebuild` makes a face classifier's pictures
    youngest: int = 0  # people younger than this, by the file's name, are left out
    photos: Path | None = None  # whole photos with a labels.csv, to measure from photo to answer
    source: str
    licence: str


class Head(StrictModel):
    """Say what one head learns.

    `labels` are the folders' names, `votes` the raters' shares, `children` whether the file's
    name tells an age under 13, `places` where a face lies in its square. `guarded_by` names a
    head of children: to a face that it takes for a child's, this head has to be surer. `ood_fpr`
    is the share of the validation split's pictures for which "none of these" may be answered; 0
    leaves that answer out.
    """

    targets: Literal["labels", "votes", "children", "places"]
    guarded_by: str | None = None
    weight: NonNegativeFloat = 1.0
    label_smoothing: Share = 0.0
    ood_fpr: Share = 0.0


class Network(StrictModel):
    """Name a network of the registry and its builder's options."""

    name: str
    options: dict[str, Any] = {}
    init_from: Path | None = (
        None  # a finished run or a model, as which this begins but for its heads
    )


class Distillation(StrictModel):
    """Say which finished models teach, and how much of each target is theirs.

    Source: Hinton et al., "Distilling the knowledge in a neural network" (2015), section 2, with
    the teachers' probabilities averaged and mixed into the targets.
    """

    teachers: list[Path]  # model folders, each with some of the recipe's heads
    distill_weight: Share = 0.5  # of each target; labels and votes keep the rest


class Schedule(StrictModel):
    """Say how long and how fast the network learns."""

    epochs: PositiveInt
    batch: PositiveInt
    learning_rate: NonNegativeFloat  # at its height
    optimizer: Literal["sgd", "adam", "adadelta"] = "sgd"  # SGD is Nesterov's, with `momentum`
    warmup_epochs: NonNegativeFloat = 1.0
    decay: Literal["cosine", "none"] = "cosine"
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: NonNegativeFloat = 0.0  # on kernels only
    # Decay of the weights' exponential moving average; 0: none.
    ema_decay: float = Field(0.0, ge=0, lt=1)
    progressive_sizes: list[
        tuple[float, int]
    ] = []  # [until this share of the steps, side in pixels]
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    # What a kill may cost; writing takes a tenth of a second.
    checkpoint_seconds: NonNegativeFloat = 60.0
    # Epochs without a better validation figure until it stops; 0: never.
    patience: NonNegativeInt = 0
    monitor: Literal["accuracy", "loss"] = "accuracy"  # the validation figure that tells better
    keep_best: bool = False  # keep the best epoch's network too, and export that one

    @field_validator("progressive_sizes")
    @classmethod
    def _check_sizes(cls, sizes: list[tuple[float, int]]) -> list[tuple[float, int]]:
        shares = [share for share, _ in sizes]
        if sizes and (shares != sorted(shares) or shares[-1] != 1.0):
            raise ValueError("the shares must rise, and the last one be 1.0")
        return sizes


class Augmentation(StrictModel):
    """Set how far each random change of a training picture may go; 0 leaves it out."""

    flip: bool = True
    rotation: float = 0.0  # degrees to either side
    scale: tuple[float, float] = (1.0, 1.0)  # how much of the picture is seen: 1.1 zooms out
    shift: float = 0.0  # share of the side, in both directions
    gamma: float = 0.0  # 0.5: exponents between 1/1.5 and 1.5
    contrast: float = 0.0  # share by which contrast grows or shrinks
    noise: float = 0.0  # largest deviation of Gaussian noise, in grey levels
    blur: float = 0.0  # share of pictures that are shrunk to half and enlarged again
    compression: float = 0.0  # share of pictures with a JPEG's losses, of quality 10 to 60
    grey: float = 0.0  # share of colour pictures turned grey
    erasing: float = 0.0  # share of pictures with a rectangle of noise


class Recipe(StrictModel):
    """Hold all choices of one training."""

    name: str
    task: Literal["expression", "gender", "face", "clothing", "animals"]
    region: Literal["face", "image"] = "face"  # what of a photo the model reads
    seed: int
    purpose: str
    not_for: str
    data: Data
    heads: dict[str, Head]
    default_head: str  # the head that answers by default
    default_head_reason: str = ""  # why it does, where there are several
    target_precision: Share  # share of given answers that must be right, for the "unsure" limit
    network: Network
    schedule: Schedule
    distillation: Distillation | None = None
    augmentation: Augmentation = Augmentation()

    @property
    def watched(self) -> str:
        """Name the figure of a run's history by which an epoch is better than another."""
        loss, accuracy = "validation_loss", f"validation_accuracy_{self.default_head}"
        return loss if self.schedule.monitor == "loss" else accuracy

    @property
    def needed_models(self) -> list[Path]:
        """List the folders of the models that teach or that the network begins as."""
        teachers = self.distillation.teachers if self.distillation else []
        begun_as = [self.network.init_from] if self.network.init_from else []
        return list(dict.fromkeys(teachers + begun_as))

    def trains_like(self, other: "Recipe") -> bool:
        """Tell whether both fit the same network, whatever words they have for it."""
        return self.model_dump(exclude=WORDS) == other.model_dump(exclude=WORDS)


def load_recipe(name: str, changes: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe by its name in training/recipes or by its path.

    `changes` are "key=value" strings, with dots between a section and its key and the value
    written as in TOML. Raises `RecipeError` for what can't be found, read or understood.
    """
    path = find_recipe(name)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise RecipeError(f"There is no recipe {name!r}. Choose one of {known}, or give a path.")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path} is not valid TOML: {error}.") from error
    for change in changes:
        _set(values, change)
    return parse_recipe(values)


def find_recipe(name: str) -> Path:
    """Return where a recipe lies that is named as in training/recipes or by its path."""
    return Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"


def parse_recipe(values: dict[str, Any]) -> Recipe:
    """Check a recipe's values. Raises `RecipeError` that names the key at fault."""
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError("\n".join(_explain(fault) for fault in error.errors())) from error
    named: list[tuple[str, str | None]] = [("default_head", recipe.default_head)]
    named += [(f"heads.{name}.guarded_by", h.guarded_by) for name, h in recipe.heads.items()]
    for key, head in named:
        if head is not None and head not in recipe.heads:
            raise RecipeError(f"{key}: {head!r} is no head. Heads: {', '.join(recipe.heads)}.")
    sizes = recipe.schedule.progressive_sizes
    if sizes and sizes[-1][1] != recipe.data.size:
        raise RecipeError(
            f"schedule.progressive_sizes: the last one must be data.size, {recipe.data.size}."
        )
    _check_outside(recipe)
    return recipe


def _check_outside(recipe: Recipe) -> None:
    for name, outside in recipe.data.ood.items():
        if outside.jigsaw > recipe.data.size:
            raise RecipeError(
                f"data.ood.{name}.jigsaw: {recipe.data.size} pixels can't be cut into "
                f"{outside.jigsaw} pieces."
            )
    learned = any(outside.train_on for outside in recipe.data.ood.values())
    for name, head in recipe.heads.items():
        if head.ood_fpr and not learned:
            raise RecipeError(
                f"heads.{name}.ood_fpr: no pictures of no class are learned from. Name some in "
                "data.ood."
            )


def change_recipe(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    """Return a recipe with other values for some keys, as {"schedule.epochs": 10}.

    Raises `RecipeError` for a key or value that doesn't exist.
    """
    values = recipe.model_dump(mode="json")
    for key, value in changes.items():
        _place(values, key, value)
    return parse_recipe(values)


def _place(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        inner = values.get(section)
        if inner is None:  # as a section that may be left out
            inner = values[section] = {}
        if not isinstance(inner, dict):
            raise RecipeError(f"{key}: {section} holds a value, and no keys of its own.")
        values = inner
    values[last] = value


def _set(values: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals:
        raise RecipeError(f"--set takes key=value, for example schedule.epochs=10; got {change!r}.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # A bare word or path needs no quotes.
    _place(values, key, value)


def _explain(fault: Any) -> str:
    location = ".".join(str(key) for key in fault["loc"] if key != "[key]")
    if fault["type"] != "extra_forbidden":
        return f"{location}: {fault['msg']} (got {fault['input']!r})."
    near = find_nearest(str(fault["loc"][-1]), _find_section(fault["loc"][:-1]).model_fields)
    return f"{location}: there is no such key. Did you mean {near!r}?"


def find_nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that is most like a name."""
    return difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]


def _find_section(location: tuple[str, ...]) -> Any:
    kind: Any = Recipe
    for key in location:
        kind = get_args(kind)[1] if get_origin(kind) is dict else kind.model_fields[key].annotation
        if get_origin(kind) is UnionType:  # a section that may be left out
            kind = get_args(kind)[0]
    return kind
