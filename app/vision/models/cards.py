"""Read model cards: a model's input, outputs and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.vision.imaging.crops import CropShape

CARD = "card.json"
NAME = "^[a-z][a-z0-9_-]{0,31}$"  # of a model that is taught or fitted
Region = Literal["face", "image"]
Targets = Literal["labels", "votes", "children", "places", "boxes", "reasons"]
ONE_CLASS = ("labels", "votes", "children")  # targets of which one class holds
NONE_OF_THESE = "none_of_these"  # the label of an image that shows none of a head's classes


class ModelError(Exception):
    """Raised for a model that is missing, altered or unlike its card; the text names the file."""


class StrictModel(BaseModel):
    """Forbid unknown keys."""

    model_config = ConfigDict(extra="forbid")


class LocalizedText(StrictModel):
    """Hold a text of a card in the languages of the pages."""

    en: str
    id: str


class ConditionalThreshold(StrictModel):
    """Require a higher probability for some images.

    Where the class `found` is the likeliest of the model's head `head`, a prediction is confident
    only from `threshold` on.
    """

    head: str
    found: str
    threshold: float = Field(ge=0, le=1)


class OODThreshold(StrictModel):
    """Set from which energy on an image is out of distribution.

    An image's energy is -logsumexp of its raw logits (Liu et al., "Energy-based
    out-of-distribution detection", 2020, equation 4 at temperature 1). At `energy_limit` it is as
    likely to show none of the classes as one; `slope` is that of the logistic function around it.
    """

    energy_limit: float
    slope: float = Field(gt=0)


class VisibilityLimits(StrictModel):
    """Say which faces a model does not read, as its answers there were wrong too often.

    These are faces whose box has a side below `tiny` pixels, whose light is below `dark` or whose
    sharpness is below `blurred` (both as `app.vision.models.visibility` measures them), and those
    rotated by more than `turned` degrees.
    """

    tiny: float = Field(0.0, ge=0)
    dark: float = Field(0.0, ge=0, le=255)
    blurred: float = Field(0.0, ge=0)
    turned: float = Field(180.0, ge=0, le=180)


class Join(StrictModel):
    """Compute a head's logits from those of other heads.

    They are the sum of the other heads' log-probabilities, each by its weight, minus `strength`
    times the logarithm of the class's share in the training data, `prior`. A strength of 1 answers
    as if all classes were equally frequent. Source: Menon et al., "Long-tail learning via logit
    adjustment" (2021), section 4.1.
    """

    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(min_length=1)
    prior: dict[str, Annotated[float, Field(gt=0, le=1)]]
    strength: float = Field(ge=0)


class Head(StrictModel):
    """Describe one set of logits and how they become a prediction.

    `targets` names what it was trained on: the data set's labels, raters' votes, whether the
    file's name marks a child, the position of a face (`places`) or a map of faces' positions
    (`boxes`), whose values are numbers named by `classes`, or why a face can't be read
    (`reasons`), of which several may hold. `classes` are in the order of the logits. Logits of
    classes in `excluded` are dropped before the softmax, so that the others share their
    probability in proportion. A prediction whose probability is less than `threshold`, or than its
    class's own in `class_thresholds`, is not confident. With `ood`, `NONE_OF_THESE` is one more
    label. With `join`, the logits are computed from other heads'; without, they are an output of
    the network.
    """

    targets: Targets = "labels"
    classes: list[str]
    excluded: list[str] = []
    temperature: float = Field(1.0, gt=0)
    threshold: float = Field(0.0, ge=0, le=1)
    class_thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}
    conditional_threshold: ConditionalThreshold | None = None
    ood: OODThreshold | None = None
    join: Join | None = None

    @property
    def answerable(self) -> list[str]:
        """Return the classes that may be predicted, in the order of their logits."""
        return [name for name in self.classes if name not in self.excluded]

    @property
    def answerable_indices(self) -> list[int]:
        """Return the indices of the answerable classes among the logits."""
        return [self.classes.index(name) for name in self.answerable]

    @property
    def labels(self) -> list[str]:
        """Return the answerable classes and, with `ood`, `NONE_OF_THESE`."""
        return self.answerable + ([NONE_OF_THESE] if self.ood else [])

    @model_validator(mode="after")
    def _check_classes(self) -> Head:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("A class stands twice in classes.")
        if self.ood and NONE_OF_THESE in self.classes:
            raise ValueError(
                f"A head with outside answers {NONE_OF_THESE!r}; no class may be that."
            )
        for key in ("excluded", "class_thresholds"):
            if strangers := [name for name in getattr(self, key) if name not in self.classes]:
                raise ValueError(f"{key} names {strangers[0]!r}, which is no class.")
        if self.join and set(self.join.prior) != set(self.classes):
            raise ValueError("The prior of a join must name each class.")
        if not self.answerable:
            raise ValueError("excluded leaves no class to answer.")
        return self


class FeatureBody(StrictModel):
    """Describe the network whose features serve new heads instead of the model's own.

    It takes the model's crops; `cells` is how many its maps are averaged over along each side.
    """

    name: str
    cells: int = Field(ge=1)
    source: str
    licence: str


class Card(StrictModel):
    """Describe a model; `training` writes cards and `app` follows them.

    `files` maps each model file to its SHA-256 in hexadecimal. `region` is what the model reads: a
    face's crop or the whole image. `default_head` names the head used by default, and
    `default_head_reason` says why. `visibility` says which faces are not read, `mirror_averaging`
    whether the thresholds are meant for logits averaged over a face and its mirror image.
    `features` are indices of the network's ReLUs, or those of its `feature_body`, whose maps serve
    as the features of new heads; a model without any is no body for them. `labels` are the words of
    classes in the languages of the pages, as whoever taught them typed them; other classes have
    theirs in the catalogue. `data`, `training` and `figures` are for people: nothing is computed
    from them.
    """

    name: str
    task: str
    region: Region
    purpose: LocalizedText
    not_for: LocalizedText
    size: int
    channels: Literal[1, 3]
    margin: float
    heads: dict[str, Head]
    default_head: str
    default_head_reason: LocalizedText | None = None
    visibility: VisibilityLimits | None = None
    mirror_averaging: bool = False
    features: list[int] = []
    feature_body: FeatureBody | None = None
    labels: dict[str, LocalizedText] = {}
    files: dict[str, str]
    data: dict[str, Any]
    training: dict[str, Any]
    figures: dict[str, Any]

    @model_validator(mode="after")
    def _check_heads(self) -> Card:
        guards = [
            head.conditional_threshold for head in self.heads.values() if head.conditional_threshold
        ]
        for name in (self.default_head, *(guard.head for guard in guards)):
            if name not in self.heads:
                raise ValueError(f"{name!r} is no head. Heads: {', '.join(self.heads)}.")
        for guard in guards:
            answerable = self.heads[guard.head].answerable
            if guard.found not in answerable:
                raise ValueError(
                    f"{guard.found!r} is no answer of the head {guard.head!r}. "
                    f"Answers: {', '.join(answerable)}."
                )
        for name, head in self.heads.items():
            for joined in head.join.weights if head.join else ():
                if joined not in self.outputs:
                    raise ValueError(f"{name!r} joins {joined!r}, which is no output.")
                if set(self.outputs[joined].answerable) != set(head.classes):
                    raise ValueError(f"{name!r} joins {joined!r}, which answers other classes.")
        return self

    @property
    def outputs(self) -> dict[str, Head]:
        """Return the heads that the network itself has: all but those that join others."""
        return {name: head for name, head in self.heads.items() if head.join is None}

    @property
    def shape(self) -> CropShape:
        """Return the crop that the model takes."""
        return CropShape(self.size, self.channels, self.margin)


def load_card(folder: Path) -> Card:
    """Read a model folder's card. Raises `ModelError` where it is missing or malformed."""
    path = folder / CARD
    try:
        return Card.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing.") from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is no model card: {error}") from error
