"""Read recipes: one TOML file per model, with every choice in it."""

import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

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

from app.vision.models.cards import NAME, ONE_CLASS, FeatureBody, LocalizedText, Targets

RECIPES = Path(__file__).parent / "recipes"

Model = TypeVar("Model", bound=BaseModel)
JOINED = "joined"  # the name of the head that joins others
# Keys that change no training.
WORDS = {"purpose", "not_for", "default_head_reason", "features", "feature_body"}
Share = Annotated[float, Field(ge=0, le=1)]


def _check_subset(value: float) -> float:
    if not (0 < value < 1 or (value > 1 and value == int(value))):
        raise ValueError("give a whole number of pictures, 2 or more, or a share below 1")
    return value


SubsetSize = Annotated[float, AfterValidator(_check_subset)]


class DataError(ValueError):
    """Reject a data set, in words that name the folder or files at fault."""


class RecipeError(ValueError):
    """Reject a recipe: the message names the key and what it may hold."""


class StrictModel(BaseModel):
    """Forbid unknown keys."""

    model_config = ConfigDict(extra="forbid")


class OODSet(StrictModel):
    """Name a folder of out-of-distribution (OOD) pictures, which show none of the classes."""

    folder: Path
    count: int | None = None  # sampled from each split; None: all
    window: float = Field(1.0, gt=0, le=1)  # side of a random crop, as a share of the shorter side
    jigsaw: PositiveInt = 1  # pieces in each row and column that are shuffled; 1: none
    train_on: bool = True  # false: only for measuring


class Mining(StrictModel):
    """Configure how a face classifier's crops are cut and its hard negatives mined."""

    source: Path  # the folder of the data sets
    rounds: NonNegativeInt  # fits before the last one, each followed by adding its false positives
    epochs: PositiveInt  # of each of these fits


class Data(StrictModel):
    """Name the pictures to train on, and how they are cropped."""

    folder: Path
    channels: Literal[1, 3]
    size: int  # side of the network's input, in pixels
    stored_size: int  # side of training pictures in memory: larger ones zoom without blur
    margin: float = 0.0  # added around a detected box before cropping, as a share of its side
    leakage: Literal["refuse", "drop"] = "refuse"  # of pictures in validation too
    # Split → how many pictures are sampled, balanced, or below 1 which share of each class.
    subset: dict[Literal["train", "validation"], SubsetSize] = {}
    oversample: dict[str, PositiveInt] = {}  # class → how often an epoch repeats its pictures
    mirrored: bool = False  # an epoch has each picture's mirror image too, with its face's place
    ood: dict[str, OODSet] = {}
    mining: Mining | None = None  # for `rebuild` of a face classifier
    youngest: int = 0  # smallest age, by UTKFace's file names
    photos: Path | None = None  # whole photos with a labels.csv, for end-to-end figures
    source: str
    licence: str


class Head(StrictModel):
    """Configure one head of the network.

    Targets: `labels` are the folders' names, `votes` the raters' shares, `children` whether the
    age in the file's name is under 13, `places` a face's position in its crop, `boxes` a map of
    the faces in a picture, `reasons` why a face can't be read. `guarded_by` names
    a head with the targets `children`, on which a second threshold is conditional: that of faces
    predicted as a child's. `ood_fpr` is the share of validation pictures that may be predicted as
    "none of these"; 0 leaves that prediction out.
    """

    targets: Targets
    guarded_by: str | None = None
    weight: NonNegativeFloat = 1.0
    label_smoothing: Share = 0.0
    ood_fpr: Share = 0.0


class JoinSettings(StrictModel):
    """Configure the head `JOINED`, which joins two others' evidence and is fitted on photos.

    The confident answers reach both precisions on photos: `precision_on_photos` on `data.photos`,
    which have a natural mix of classes, and `precision_by_class` on `photos`, sampled by class.
    How many hidden faces stay unanswered is measured on `hard_faces`.
    """

    heads: tuple[str, str]
    photos: Path
    hard_faces: Path | None = None  # the folder of `data prepare faces`'s hard-faces
    precision_on_photos: Share
    precision_by_class: Share


class Network(StrictModel):
    """Name a network of the registry and its options."""

    name: str
    options: dict[str, Any] = {}
    init_from: Path | None = None  # a finished run or a model whose body this starts from


class Distillation(StrictModel):
    """Name the teachers of knowledge distillation, and their weight in the targets.

    Source: Hinton et al., "Distilling the knowledge in a neural network" (2015), section 2; the
    teachers' probabilities are averaged and mixed into the targets.
    """

    teachers: list[Path]  # model folders, each with at least one of the recipe's heads
    distill_weight: Share = 0.5  # labels and votes have the rest


class Schedule(StrictModel):
    """Configure the optimisation."""

    epochs: PositiveInt
    batch: PositiveInt
    learning_rate: NonNegativeFloat  # its peak
    optimizer: Literal["sgd", "adam", "adadelta"] = "sgd"  # SGD is Nesterov's, with `momentum`
    warmup_epochs: NonNegativeFloat = 1.0
    decay: Literal["cosine", "none"] = "cosine"
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: NonNegativeFloat = 0.0  # on kernels only
    ema_decay: float = Field(0.0, ge=0, lt=1)  # of the weights' moving average; 0: none
    progressive_sizes: list[tuple[float, int]] = []  # [until this share of the steps, side]
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    checkpoint_seconds: NonNegativeFloat = 60.0  # between checkpoints within an epoch
    patience: NonNegativeInt = 0  # epochs without a better figure until it stops; 0: never
    monitor: Literal["accuracy", "loss"] = "accuracy"  # the validation figure to improve
    keep_best: bool = False  # keep and export the best epoch's network
    best_by: Literal["accuracy", "loss"] | None = None  # the best epoch's figure; None: `monitor`

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
    """Configure one training."""

    name: str
    task: str = Field(pattern=NAME)
    region: Literal["face", "image"] = "face"  # the part of a photo that the model takes
    seed: int
    purpose: LocalizedText
    not_for: LocalizedText
    data: Data
    heads: dict[str, Head]
    join: JoinSettings | None = None
    default_head: str
    default_head_reason: LocalizedText | None = None  # for models with several heads
    features: list[int] = []  # of the card: ReLUs whose maps serve new heads
    feature_body: FeatureBody | None = None  # a pretrained body that has them
    mirror_averaging: bool = False  # photos' faces are read as mirror images too
    target_precision: Share  # of confident predictions, from which the threshold follows
    network: Network
    schedule: Schedule
    distillation: Distillation | None = None
    augmentation: Augmentation = Augmentation()

    def name_figure(self, figure: str) -> str:
        """Return the column of the history for a figure of validation, "accuracy" or "loss"."""
        return "validation_loss" if figure == "loss" else f"validation_accuracy_{self.fitted_head}"

    @property
    def best_by(self) -> str:
        """Name the figure by which the best epoch is chosen: "accuracy" or "loss"."""
        return self._measured(self.schedule.best_by or self.schedule.monitor)

    @property
    def monitor(self) -> str:
        """Name the figure that has to improve within `schedule.patience`: "accuracy" or "loss"."""
        return self._measured(self.schedule.monitor)

    def _measured(self, figure: str) -> str:
        has_accuracy = self.heads[self.fitted_head].targets in ONE_CLASS
        return figure if has_accuracy else "loss"

    @property
    def fitted_head(self) -> str:
        """Name the default head, or where that joins others the last of these."""
        joined = self.join if self.default_head == JOINED else None
        return joined.heads[-1] if joined else self.default_head

    @property
    def takes_any_size(self) -> bool:
        """Tell whether the network's heads are maps, and its pictures of any size."""
        return self.heads[self.fitted_head].targets == "boxes"

    @property
    def needed_models(self) -> list[Path]:
        """Folders of the teachers and of the model or run to start from."""
        teachers = self.distillation.teachers if self.distillation else []
        start = [self.network.init_from] if self.network.init_from else []
        return list(dict.fromkeys(teachers + start))

    def trains_like(self, other: "Recipe") -> bool:
        """Return whether both fit the same network; `WORDS`, and what joins heads, may differ."""
        changing_nothing = {"join", "default_head", "mirror_averaging", *WORDS}
        ours, theirs = (each.model_dump(exclude=changing_nothing) for each in (self, other))
        return self.fitted_head == other.fitted_head and ours == theirs


def load_recipe(name: str, changes: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe by its name in training/recipes or by its path.

    `changes` are "section.key=value" with TOML values. Raises `RecipeError` for an invalid recipe.
    """
    values = read_toml(find_recipe(name), "recipe", RECIPES)
    for change in changes:
        _set(values, change)
    return parse_recipe(values)


def read_toml(path: Path, kind: str, folder: Path) -> dict[str, Any]:
    """Read a TOML file. Raises `RecipeError`, which lists those in `folder` if there is none."""
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in folder.glob("*.toml")))
        raise RecipeError(f"There is no {kind} {path.stem!r}. Choose one of {known}.")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path} is not valid TOML: {error}.") from error


def find_recipe(name: str) -> Path:
    """Return the path of a recipe given by its name in training/recipes or its path."""
    return Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"


def parse_recipe(values: dict[str, Any]) -> Recipe:
    """Validate a recipe's values. Raises `RecipeError` that names the invalid key."""
    recipe = validate(Recipe, values)
    named: list[tuple[str, str | None]] = [("default_head", recipe.fitted_head)]
    named += [("join.heads", name) for name in recipe.join.heads] if recipe.join else []
    named += [(f"heads.{name}.guarded_by", h.guarded_by) for name, h in recipe.heads.items()]
    for key, head in named:
        if head is not None and head not in recipe.heads:
            raise RecipeError(f"{key}: {head!r} is no head. Heads: {', '.join(recipe.heads)}.")
    size, sizes = recipe.data.size, recipe.schedule.progressive_sizes
    if sizes and sizes[-1][1] != size:
        raise RecipeError(f"schedule.progressive_sizes: the last one must be data.size, {size}.")
    for name, ood in recipe.data.ood.items():
        if ood.jigsaw > size:
            pieces = f"{size} pixels can't be cut into {ood.jigsaw} pieces."
            raise RecipeError(f"data.ood.{name}.jigsaw: {pieces}")
    for name, settings in recipe.heads.items():
        if settings.ood_fpr and not any(ood.train_on for ood in recipe.data.ood.values()):
            missing = "there are no pictures to train it on; add some to data.ood."
            raise RecipeError(f"heads.{name}.ood_fpr: {missing}")
    return recipe


def validate(model: type[Model], values: dict[str, Any]) -> Model:
    """Validate values read from TOML. Raises `RecipeError` that names the invalid keys."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise RecipeError("\n".join(_explain(model, each) for each in error.errors())) from error


def change_recipe(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    """Return a recipe with other values for some keys, as {"schedule.epochs": 10}.

    Raises `RecipeError` for a key or value that doesn't exist.
    """
    values = recipe.model_dump(mode="json")
    for key, value in changes.items():
        _assign(values, key, value)
    return parse_recipe(values)


def _assign(values: dict[str, Any], key: str, value: Any) -> None:
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
    _assign(values, key, value)


def _explain(model: type[BaseModel], fault: Any) -> str:
    location = ".".join(str(key) for key in fault["loc"] if key != "[key]")
    if fault["type"] != "extra_forbidden":
        return f"{location}: {fault['msg']} (got {fault['input']!r})."
    *sections, key = fault["loc"]
    kind: Any = model
    for section in sections:
        if get_origin(kind) in (dict, list):
            kind = get_args(kind)[-1]
        else:
            kind = kind.model_fields[section].annotation
        if get_origin(kind) is UnionType:  # a section that may be left out
            kind = get_args(kind)[0]
    near = find_nearest(str(key), kind.model_fields)
    return f"{location}: there is no such key. Did you mean {near!r}?"


def find_nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that is most similar to a name."""
    return difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
