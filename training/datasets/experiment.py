"""Carry one training from its data to its export: a recipe, its two splits and its run's folder."""

from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from app.vision.imaging.crops import CropShape
from training.datasets.loading import Split, SubsetSpec, find_shared, list_answers, read_split
from training.datasets.ood import append_ood, check_ood, read_ood
from training.recipe import DataError, Recipe
from training.runs import RECIPE, read_recipe

Splits = tuple[Split, Split]


class Experiment:
    """Hold a recipe, the folder of its run, and its training and validation splits.

    The run is checked when the object is made; the splits are read and checked once, when they
    are first needed. Splits that are in memory already can be given: they may hold a frozen
    base's features instead of pictures. `command` is what begins the run, for the model's card.
    Raises `DataError` if the run is another recipe's.
    """

    def __init__(
        self, recipe: Recipe, run: Path, splits: Splits | None = None, command: str = ""
    ) -> None:
        if (run / RECIPE).is_file() and not read_recipe(run).trains_like(recipe):
            raise DataError(
                f"{run} was fitted by another recipe of the name {recipe.name!r}. Move it away."
            )
        self.recipe, self.run, self.command, self._given = recipe, run, command, splits

    @cached_property
    def splits(self) -> Splits:
        """The training split, with OOD pictures behind its own, and the validation split."""
        return self._given or read_splits(self.recipe)

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """Each head's classes, in the order of its logits."""
        return list_heads(self.recipe, self.splits[0])


def read_splits(recipe: Recipe) -> Splits:
    """Read a recipe's training and validation splits.

    Training pictures have `stored_size` and are followed by out-of-distribution ones; validation
    pictures are cropped as in serving. Pictures in both splits are dropped from training if the
    recipe says so. Raises `DataError` for leakage, different classes and unreadable files.
    """
    data = recipe.data
    stored = CropShape(data.stored_size, data.channels)
    train, validation = (
        read_split(data.folder, name, stored, _subset_spec(recipe, name))
        for name in ("train", "validation")
    )
    if train.classes != validation.classes:
        raise DataError(
            f"The splits have different classes: {train.classes} and {validation.classes}."
        )
    shared = find_shared(train, validation)
    if shared.any() and data.leakage == "refuse":
        names = ", ".join(str(train.files[i]) for i in np.flatnonzero(shared)[:3])
        raise DataError(
            f"{shared.sum()} training pictures are in the validation split too ({names}, ...). "
            'Remove them, or set data.leakage = "drop" to train without them.'
        )
    list_heads(recipe, train)  # raises for targets that the data doesn't have
    served = validation if data.size == data.stored_size else read_validation(recipe)
    learned = train.subset(~shared).repeat(data.oversample)
    if data.mirrored:
        learned = learned.with_mirror_images()
    check_ood(data.ood, recipe.seed)
    return append_ood(learned, read_ood(data.ood, "train", data.stored_size, recipe.seed)), served


def read_validation(recipe: Recipe) -> Split:
    """Read a recipe's validation split, cropped as in serving."""
    shape = CropShape(recipe.data.size, recipe.data.channels)
    spec = _subset_spec(recipe, "validation")
    return read_split(recipe.data.folder, "validation", shape, spec)


def list_heads(recipe: Recipe, split: Split) -> dict[str, tuple[str, ...]]:
    """Return each head's classes, in the order of its logits. Raises `DataError`."""
    return {name: list_answers(split, head.targets)[0] for name, head in recipe.heads.items()}


def _subset_spec(recipe: Recipe, split: Literal["train", "validation"]) -> SubsetSpec:
    return SubsetSpec(recipe.data.subset.get(split), recipe.seed, recipe.data.youngest)
