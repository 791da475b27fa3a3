"""Fit a network by a recipe, from start to end or on from a checkpoint.

Everything random is drawn from the recipe's seed and the step's number, so that a run that was
killed and resumed takes the very steps of one that was not.
"""

import csv
import io
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from app.vision.crops import CropShape
from training.checkpoints import Checkpoint, load_checkpoint, save_checkpoint, write_whole
from training.data import (
    PLACE_VALUES,
    PLACES_FILE,
    VOTED_CLASSES,
    VOTES_FILE,
    DataError,
    Part,
    find_majority,
    find_shared,
    read_part,
)
from training.distillation import mix_in_teachers
from training.evaluation import place_errors
from training.networks import build_network
from training.progress import Progress
from training.recipes import Recipe

MODEL = "model.keras"
RECIPE = "recipe.json"
HISTORY = "history.csv"
HUBER_LIMIT = 0.1
CHECKPOINT_SECONDS = 60.0  # What a kill may cost; writing one takes about a tenth of a second.


def fit(recipe: Recipe, run: Path) -> list[dict[str, Any]]:
    """Fit the recipe's network; go on from the run's checkpoint where there is one.

    Leaves in `run` the recipe, the checkpoint, `history.csv` (a row an epoch) and `model.keras`
    (the network for serving: averaged weights, float32). Returns the history. Raises `DataError`
    before training starts where the data won't do.
    """
    train, validation = read_parts(recipe)
    run.mkdir(parents=True, exist_ok=True)
    write_whole(
        run / RECIPE, lambda stream: stream.write(recipe.model_dump_json(indent=2).encode())
    )
    fitting = Fitting(recipe, train, validation)
    saved = load_checkpoint(run)
    if saved:
        fitting.restore(saved)
    last_saved = time.monotonic()
    for epoch_ended in fitting.steps():
        if epoch_ended or time.monotonic() - last_saved > CHECKPOINT_SECONDS:
            save_checkpoint(run, fitting.checkpoint())
            last_saved = time.monotonic()
        if epoch_ended:
            write_history(run, fitting.history)
    fitting.served.save(run / MODEL)
    return fitting.history


def read_parts(recipe: Recipe) -> tuple[Part, Part]:
    """Read a recipe's training and validation parts and settle what stands in both."""
    data = recipe.data
    train = read_part(data.folder, "train", CropShape(data.stored_size, data.channels))
    validation = read_part(data.folder, "validation", CropShape(data.stored_size, data.channels))
    if train.classes != validation.classes:
        raise DataError(
            f"The parts have different classes: {train.classes} and {validation.classes}."
        )
    shared = find_shared(train, validation)
    if shared.any() and data.leakage == "refuse":
        names = ", ".join(str(train.files[i]) for i in np.flatnonzero(shared)[:3])
        raise DataError(
            f"{shared.sum()} training pictures stand in the validation part too ({names}, ...). "
            'Take them out, or set data.leakage = "drop" to train without them.'
        )
    for targets, given, table in (
        ("votes", train.votes, VOTES_FILE),
        ("places", train.places, PLACES_FILE),
    ):
        if given is None and any(head.targets == targets for head in recipe.heads.values()):
            raise DataError(f"A head learns {targets}, but {data.folder} has no {table}.")
    # Validation pictures are cropped as in serving, training pictures as augmentation wants them.
    exact = read_part(data.folder, "validation", CropShape(data.size, data.channels))
    return train.subset(~shared), exact


def list_heads(recipe: Recipe, classes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Name each head's classes or values, in the order of its outputs."""
    names = {"labels": classes, "votes": tuple(VOTED_CLASSES), "places": PLACE_VALUES}
    return {name: names[head.targets] for name, head in recipe.heads.items()}


def write_history(run: Path, history: list[dict[str, Any]]) -> None:
    """Replace a run's history, a CSV row an epoch."""
    text = io.StringIO()
    rows = csv.DictWriter(text, list(history[0]))
    rows.writeheader()
    rows.writerows(history)
    write_whole(run / HISTORY, lambda stream: stream.write(text.getvalue().encode()))


class Fitting:
    """Hold a training's state and take its steps."""

    def __init__(self, recipe: Recipe, train: Part, validation: Part) -> None:
        """Build the networks and the optimiser, and turn labels and votes into targets."""
        keras.utils.set_random_seed(recipe.seed)
        self.recipe = recipe
        self.train = train
        self.validation = validation
        self.heads = list_heads(recipe, train.classes)
        self.targets = {name: self._targets(name, train) for name in self.heads}
        if recipe.distillation:
            self.targets = mix_in_teachers(self.targets, train, recipe.distillation)
        sizes = {name: len(classes) for name, classes in self.heads.items()}
        network, data = recipe.network, recipe.data
        with _precision(recipe.schedule.precision):
            self.network = build_network(
                network.name,
                data.channels,
                sizes,
                network.options,
                None if recipe.schedule.sizes else data.size,
                for_training=True,
            )
        self.served = build_network(network.name, data.channels, sizes, network.options, data.size)
        self.served.set_weights(self.network.get_weights())
        self.optimizer = keras.optimizers.SGD(momentum=recipe.schedule.momentum, nesterov=True)
        self.optimizer.build(self.network.trainable_variables)
        self.history: list[dict[str, Any]] = []
        self.step = 0
        self.seconds = 0.0
        self.loss_sum = 0.0
        self._take_step = {size: self._compile(size) for _, size in self._sizes()}

    @property
    def steps_per_epoch(self) -> int:
        """Count an epoch's batches; a last, smaller one is left out."""
        return max(1, len(self.train.labels) // self.recipe.schedule.batch)

    @property
    def total_steps(self) -> int:
        """Count the whole training's batches."""
        return self.steps_per_epoch * self.recipe.schedule.epochs

    def steps(self) -> Iterator[bool]:
        """Take all steps that are left; yield after each whether an epoch ended with it."""
        progress = Progress(self.recipe.name, self.total_steps, self.step)
        while self.step < self.total_steps and not self._out_of_patience():
            started = time.monotonic()
            epoch, place = divmod(self.step, self.steps_per_epoch)
            if place == 0:
                self.loss_sum = 0.0
            self.loss_sum += self._step(epoch, place)
            self.step += 1
            ended = place + 1 == self.steps_per_epoch
            self.seconds += time.monotonic() - started
            progress.advance()
            if ended:
                self.history.append(self._measure(epoch + 1))
                progress.report(self.history[-1])
            yield ended
        progress.finish()

    def checkpoint(self) -> Checkpoint:
        """Copy the state out."""
        position = {
            "step": self.step,
            "seconds": self.seconds,
            "loss_sum": self.loss_sum,
            "history": self.history,
        }
        return Checkpoint([keras.ops.convert_to_numpy(v) for v in self._variables()], position)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take a state over."""
        for variable, value in zip(self._variables(), checkpoint.values, strict=True):
            variable.assign(value)
        self.step = checkpoint.position["step"]
        self.seconds = checkpoint.position["seconds"]
        self.loss_sum = checkpoint.position["loss_sum"]
        self.history = checkpoint.position["history"]

    def learning_rate(self, step: int) -> float:
        """Return a step's learning rate: a linear warm-up, then a cosine to 0.

        Source: Loshchilov and Hutter, "SGDR" (2017), equation 5 without restarts.
        """
        schedule = self.recipe.schedule
        warmup = schedule.warmup_epochs * self.steps_per_epoch
        if step < warmup:
            return schedule.learning_rate * (step + 1) / warmup
        done = (step - warmup) / max(1.0, self.total_steps - warmup)
        return schedule.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def _variables(self) -> list[keras.Variable]:
        """List all that changes in training; dropout's random state is among the network's."""
        return [*self.network.variables, *self.optimizer.variables, *self.served.weights]

    def _sizes(self) -> list[tuple[float, int]]:
        """List which side is used up to which share of the steps."""
        return self.recipe.schedule.sizes or [(1.0, self.recipe.data.size)]

    def _targets(self, head: str, part: Part) -> np.ndarray:
        """Return a head's target distributions or values, float32 (count, classes).

        A row of zeros says that the right answer is unknown.
        """
        settings = self.recipe.heads[head]
        if settings.targets == "votes":
            assert part.votes is not None
            return part.votes
        if settings.targets == "places":
            assert part.places is not None
            return part.places
        count = len(self.heads[head])
        one_hot = np.eye(count, dtype=np.float32)[part.labels]
        return one_hot * (1 - settings.label_smoothing) + settings.label_smoothing / count

    def _step(self, epoch: int, place: int) -> float:
        """Take one step and return its loss."""
        schedule = self.recipe.schedule
        order = np.random.default_rng((self.recipe.seed, epoch)).permutation(len(self.train.labels))
        chosen = order[place * schedule.batch : (place + 1) * schedule.batch]
        share = self.step / self.total_steps
        size = next(side for until, side in self._sizes() if share < until)
        loss = self._take_step[size](
            tf.constant(self.train.pictures[chosen]),
            {name: tf.constant(targets[chosen]) for name, targets in self.targets.items()},
            tf.constant(self.learning_rate(self.step), tf.float32),
            tf.constant([self.recipe.seed, self.step], tf.int32),
        )
        return float(loss)

    def _compile(self, size: int) -> Any:
        """Build the function that takes one step on pictures of a size."""
        recipe, network, optimizer = self.recipe, self.network, self.optimizer
        schedule = recipe.schedule
        decayed = [variable.path.endswith("kernel") for variable in network.trainable_variables]

        @tf.function
        def take_step(
            pictures: tf.Tensor, targets: dict[str, tf.Tensor], rate: tf.Tensor, seed: tf.Tensor
        ) -> tf.Tensor:
            crops = recipe.augmentation.apply(pictures, size, seed)
            with tf.GradientTape() as tape:
                logits = network(crops, training=True)
                loss = sum(
                    head.weight * LOSSES[head.targets](targets[name], logits[name])
                    for name, head in recipe.heads.items()
                )
            variables = network.trainable_variables
            gradients = [
                gradient + schedule.weight_decay * variable if decays else gradient
                for gradient, variable, decays in zip(
                    tape.gradient(loss, variables), variables, decayed, strict=True
                )
            ]
            optimizer.learning_rate.assign(rate)
            optimizer.apply(gradients, variables)
            # Early on the average must not drag the random start along.
            step = tf.cast(seed[1], tf.float32)
            decay = tf.minimum(schedule.average, (1.0 + step) / (10.0 + step))
            for average, weight in zip(self.served.weights, network.weights, strict=True):
                average.assign(weight + decay * (average - weight))
            return loss

        return take_step

    def _measure(self, epoch: int) -> dict[str, Any]:
        """Measure the averaged network on the validation part; return the epoch's row."""
        logits = self.served.predict(self.validation.pictures, batch_size=256, verbose=0)
        row: dict[str, Any] = {
            "epoch": epoch,
            "step": self.step,
            "learning_rate": round(self.learning_rate(self.step - 1), 6),
            "loss": round(self.loss_sum / self.steps_per_epoch, 4),
        }
        for name in self.heads:
            if self.recipe.heads[name].targets == "places":
                errors = place_errors(logits[name], self.validation)
                row |= {f"validation_{value}_{name}": error for value, error in errors.items()}
                continue
            labels = self._validation_labels(name)
            right = logits[name].argmax(axis=1) == labels
            counted = labels >= 0
            row[f"validation_accuracy_{name}"] = round(float(right[counted].mean()), 4)
        row["seconds"] = round(self.seconds, 1)
        return row

    def _validation_labels(self, head: str) -> np.ndarray:
        """Return a head's right answers on the validation part; -1: nobody knows."""
        if self.recipe.heads[head].targets == "labels":
            return self.validation.labels
        votes = self.validation.votes
        assert votes is not None
        return find_majority(votes)

    def _out_of_patience(self) -> bool:
        """Tell whether the answering head has been without progress for too long."""
        patience = self.recipe.schedule.patience
        figures = [row[f"validation_accuracy_{self.recipe.answers}"] for row in self.history]
        return bool(patience and len(figures) > patience + int(np.argmax(figures)))


def _distance(targets: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Average Huber's distance over the pictures whose place is known.

    Source: Huber, "Robust estimation of a location parameter" (1964), with its limit at 0.1: a
    labelled place is a median, and single faces stray from it.
    """
    losses = tf.reduce_sum(
        tf.where(
            tf.abs(values - targets) < HUBER_LIMIT,
            0.5 * tf.square(values - targets) / HUBER_LIMIT,
            tf.abs(values - targets) - 0.5 * HUBER_LIMIT,
        ),
        axis=1,
    )
    known = tf.cast(tf.reduce_any(targets != 0, axis=1), tf.float32)
    return tf.reduce_sum(losses * known) / tf.maximum(tf.reduce_sum(known), 1.0)


def _cross_entropy(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Average over the pictures whose target is known."""
    losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
    known = tf.cast(tf.reduce_sum(targets, axis=1) > 0, tf.float32)
    return tf.reduce_sum(losses * known) / tf.maximum(tf.reduce_sum(known), 1.0)


LOSSES = {"labels": _cross_entropy, "votes": _cross_entropy, "places": _distance}


class _precision:  # noqa: N801 - reads as a statement
    """Use a precision for the layers built inside the `with` block."""

    def __init__(self, policy: str) -> None:
        self.policy = policy

    def __enter__(self) -> None:
        self.before = keras.mixed_precision.dtype_policy()
        keras.mixed_precision.set_dtype_policy(self.policy)

    def __exit__(self, *_: object) -> None:
        keras.mixed_precision.set_dtype_policy(self.before)


def load_recipe_of(run: Path) -> Recipe:
    """Read the recipe that a run was started with. Raises `DataError` where there is no run."""
    if not (run / RECIPE).is_file():
        raise DataError(f"{run} holds no training: {RECIPE} is not there.")
    return Recipe.model_validate(json.loads((run / RECIPE).read_text(encoding="utf-8")))


def load_run(run: Path) -> tuple[Recipe, keras.Model]:
    """Load a finished run's recipe and network. Raises `DataError` for one that isn't."""
    if not (run / MODEL).is_file():
        raise DataError(f"{run} holds no finished training: {MODEL} is not there. Resume it first.")
    return load_recipe_of(run), keras.saving.load_model(run / MODEL, compile=False, safe_mode=True)
