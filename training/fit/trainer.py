"""Fit a network by a recipe, from start to end or on from a checkpoint.

Everything random is drawn from the recipe's seed and the step's number, so that a run that was
killed and resumed takes the very steps of one that was not.
"""

import csv
import io
import json
import math
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

import training.fit.pretrained  # noqa: F401 - enters its networks in the registry
from app.files import atomic_write
from app.vision.imaging.crops import CropShape
from app.vision.models.cards import CARD
from app.vision.models.classifiers import KerasNetwork, load_classifier
from training.datasets.loading import (
    OOD,
    DataError,
    Split,
    SubsetSpec,
    find_shared,
    list_answers,
    read_part,
    shape_pictures,
)
from training.datasets.ood import check_outside, join_outside, read_outside
from training.evaluate.network import choose_batch, place_errors
from training.evaluate.reports import write_run_report
from training.export.compression import unfold_normalization
from training.fit.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from training.fit.distillation import distillation_targets
from training.fit.networks import FusedBatchNormalization, build_network, check_network
from training.fit.precision import compute_in
from training.fit.progress import Progress, TensorBoard
from training.recipe import Recipe, RecipeError, Schedule, parse_recipe

MODEL = "model.keras"
BEST = "best.keras"
RECIPE = "recipe.json"
HISTORY = "history.csv"
LOGS = "logs"
HUBER_LIMIT = 0.1
MEASURED_ON = 512  # about as many pictures tell what a folded normalisation was
CHECKPOINTS_ON_DISK = 2  # the last one, and the next one aside until it is whole
MODELS_ON_DISK = 2  # the finished network, and slack for history and curves


def fit(recipe: Recipe, run: Path, tensorboard: bool = False) -> list[dict[str, Any]]:
    """Fit the recipe's network; go on from the run's checkpoint where there is one.

    Leaves in `run` the recipe, the checkpoint, `history.csv` (a row an epoch), `model.keras`
    (averaged weights, float32), curves and a report; with `tensorboard` also its event files.
    Returns the history. Raises `DataError` before training starts where the data or the disk
    won't do, or the run is another recipe's, and `RecipeError` for a network that doesn't exist.
    """
    check_run(run, recipe)
    check_network(recipe.network)
    return fit_parts(recipe, run, *read_parts(recipe), tensorboard)


def fit_parts(
    recipe: Recipe, run: Path, train: Split, validation: Split, tensorboard: bool = False
) -> list[dict[str, Any]]:
    """Fit the recipe's network as `fit` does, on parts that are in memory already.

    Instead of pictures they may hold the features that a frozen base has of them.
    """
    check_run(run, recipe)
    check_network(recipe.network)
    fitting = Trainer(recipe, train, validation)
    run.mkdir(parents=True, exist_ok=True)
    _check_disk(run, fitting)
    atomic_write(
        run / RECIPE, lambda stream: stream.write(recipe.model_dump_json(indent=2).encode())
    )
    saved = load_checkpoint(run)
    if saved:
        fitting.restore(saved)
    last_saved, seconds = time.monotonic(), recipe.schedule.checkpoint_seconds
    board = TensorBoard(run / LOGS) if tensorboard else None
    for epoch_ended in fitting.steps():
        # Before the checkpoint: a kill in between repeats the epoch, and with it the files.
        if epoch_ended:
            if recipe.schedule.keep_best and fitting.epochs_since_best() == 0:
                save_network(fitting.served, run / BEST)
            write_history(run, fitting.history)
        if epoch_ended or time.monotonic() - last_saved > seconds:
            save_checkpoint(run, fitting.checkpoint())
            last_saved = time.monotonic()
        if epoch_ended and board:
            board.write(fitting.history[-1])
    save_network(fitting.served, run / MODEL)
    best = fitting.history[-1 - fitting.epochs_since_best()]
    write_run_report(run, recipe, fitting.history, best)
    return fitting.history


def is_finished(run: Path, recipe: Recipe) -> bool:
    """Tell whether a run holds the recipe's network. Raises `DataError` as `check_run` does."""
    check_run(run, recipe)
    return (run / MODEL).is_file()


def check_run(run: Path, recipe: Recipe) -> None:
    """Refuse to go on with another recipe's run. Raises `DataError`."""
    if (run / RECIPE).is_file() and not load_recipe_of(run).trains_like(recipe):
        raise DataError(
            f"{run} was fitted by another recipe of the name {recipe.name!r}. Move it away."
        )


def _check_disk(run: Path, fitting: "Trainer") -> None:
    """Refuse to start a run that its disk can't hold. Raises `DataError`."""
    state = sum(value.nbytes for value in fitting.checkpoint().values)
    model = sum(weight.numpy().nbytes for weight in fitting.served.weights)
    needed = CHECKPOINTS_ON_DISK * state + MODELS_ON_DISK * model
    free = shutil.disk_usage(run).free
    if free < needed:
        raise DataError(
            f"The disk of {run} has {free / 1e6:.0f} MB free; this training needs "
            f"{needed / 1e6:.0f} MB. Make room, or choose another folder with --out."
        )


def read_parts(recipe: Recipe) -> tuple[Split, Split]:
    """Read a recipe's training and validation parts and settle what stands in both."""
    data = recipe.data
    stored = CropShape(data.stored_size, data.channels)
    train, validation = (
        read_part(data.folder, part, stored, _choose_drawing(recipe, part))
        for part in ("train", "validation")
    )
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
    for head in recipe.heads.values():
        list_answers(train, head.targets)
    # Validation pictures are cropped as in serving, training pictures as augmentation wants them.
    exact = read_validation(recipe)
    learned = train.subset(~shared).repeat(data.oversample)
    check_outside(data.ood, recipe.seed)
    outside = read_outside(data.ood, "train", data.stored_size, recipe.seed)
    return join_outside(learned, outside), exact


def read_validation(recipe: Recipe) -> Split:
    """Read a recipe's validation part, cropped as in serving."""
    shape = CropShape(recipe.data.size, recipe.data.channels)
    drawing = _choose_drawing(recipe, "validation")
    return read_part(recipe.data.folder, "validation", shape, drawing)


def _choose_drawing(recipe: Recipe, part: Literal["train", "validation"]) -> SubsetSpec:
    """Return which of a part's pictures a recipe takes."""
    return SubsetSpec(recipe.data.subset.get(part), recipe.seed, recipe.data.youngest)


def list_heads(recipe: Recipe, part: Split) -> dict[str, tuple[str, ...]]:
    """Name each head's classes, in the order of its logits."""
    return {name: list_answers(part, head.targets)[0] for name, head in recipe.heads.items()}


def save_network(network: keras.Model, path: Path) -> None:
    """Write a `.keras` file, whole or not at all: a run that has one is taken for finished."""
    with tempfile.TemporaryDirectory(dir=path.parent) as aside:  # Keras writes only files.
        made = Path(aside) / path.name
        network.save(made)
        atomic_write(path, lambda stream: stream.write(made.read_bytes()))


def write_history(run: Path, history: list[dict[str, Any]]) -> None:
    """Replace a run's history, a CSV row an epoch."""
    text = io.StringIO()
    # A run begun before a figure was measured has no number for its first epochs.
    rows = csv.DictWriter(text, list(history[-1]), restval="nan")
    rows.writeheader()
    rows.writerows(history)
    atomic_write(run / HISTORY, lambda stream: stream.write(text.getvalue().encode()))


def read_history(run: Path) -> list[dict[str, Any]]:
    """Read a run's history, a row an epoch, its figures as numbers."""
    with (run / HISTORY).open(newline="", encoding="utf-8") as stream:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)]


class Trainer:
    """Hold a training's state and take its steps."""

    def __init__(self, recipe: Recipe, train: Split, validation: Split) -> None:
        """Build the networks and the optimiser, and turn labels and votes into targets."""
        keras.utils.set_random_seed(recipe.seed)
        self.recipe = recipe
        self.train = train
        self.validation = validation
        self.heads = list_heads(recipe, train)
        self.targets = {name: self._targets(name, train) for name in self.heads}
        if recipe.distillation:
            self.targets = distillation_targets(self.targets, train, recipe.distillation)
        sizes = {name: len(classes) for name, classes in self.heads.items()}
        network, data = recipe.network, recipe.data
        with compute_in(recipe.schedule.precision):
            self.network = build_network(
                network.name,
                data.channels,
                sizes,
                network.options,
                # Growing pictures need a network for any size; dense layers need one size.
                None if recipe.schedule.progressive_sizes else data.size,
                FusedBatchNormalization,
            )
            if network.init_from:
                load_backbone(self.network, network.init_from, train.spread(MEASURED_ON))
        self.served = build_network(network.name, data.channels, sizes, network.options, data.size)
        self.served.set_weights(self.network.get_weights())
        self.optimizer = _build_optimizer(recipe.schedule)
        self.optimizer.build(self.network.trainable_variables)
        self.history: list[dict[str, Any]] = []
        self.step = 0
        self.seconds = 0.0
        self.loss_sum = 0.0
        self.right_sums = dict.fromkeys(self.heads, 0.0)
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
                self.right_sums = dict.fromkeys(self.heads, 0.0)
            self._step(epoch, place)
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
            "right_sums": self.right_sums,
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
        self.right_sums = checkpoint.position.get("right_sums", self.right_sums)
        self.history = checkpoint.position["history"]

    def learning_rate(self, step: int) -> float:
        """Return a step's learning rate: a linear warm-up, then a cosine to 0 or no decay.

        Source: Loshchilov and Hutter, "SGDR" (2017), equation 5 without restarts.
        """
        schedule = self.recipe.schedule
        warmup = schedule.warmup_epochs * self.steps_per_epoch
        if step < warmup:
            return schedule.learning_rate * (step + 1) / warmup
        if schedule.decay == "none":
            return schedule.learning_rate
        done = (step - warmup) / max(1.0, self.total_steps - warmup)
        return schedule.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def _variables(self) -> list[keras.Variable]:
        """List all that changes in training; dropout's random state is among the network's."""
        return [*self.network.variables, *self.optimizer.variables, *self.served.weights]

    def _sizes(self) -> list[tuple[float, int]]:
        """List which side is used up to which share of the steps."""
        return self.recipe.schedule.progressive_sizes or [(1.0, self.recipe.data.size)]

    def _targets(self, head: str, part: Split) -> np.ndarray:
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
        classes, labels = list_answers(part, settings.targets)
        count = len(classes)
        one_hot = np.eye(count, dtype=np.float32)[labels]
        smoothed = one_hot * (1 - settings.label_smoothing) + settings.label_smoothing / count
        known = np.where(labels[:, None] >= 0, smoothed, np.float32(0))
        # Of a picture of no class nothing is to be known: each class is as likely.
        return np.where(labels[:, None] == OOD, np.float32(1 / count), known)

    def _step(self, epoch: int, place: int) -> None:
        """Take one step and count its loss and right answers."""
        schedule = self.recipe.schedule
        order = np.random.default_rng((self.recipe.seed, epoch)).permutation(len(self.train.labels))
        chosen = order[place * schedule.batch : (place + 1) * schedule.batch]
        share = self.step / self.total_steps
        size = next(side for until, side in self._sizes() if share < until)
        loss, right = self._take_step[size](
            tf.constant(self.train.pictures[chosen]),
            {name: tf.constant(targets[chosen]) for name, targets in self.targets.items()},
            tf.constant(self.learning_rate(self.step), tf.float32),
            tf.constant([self.recipe.seed, self.step], tf.int32),
        )
        self.loss_sum += float(loss)
        for name, share in right.items():
            self.right_sums[name] += float(share)

    def _compile(self, size: int) -> Any:
        """Build the function that takes one step on pictures of a size."""
        recipe, network, optimizer = self.recipe, self.network, self.optimizer
        schedule = recipe.schedule
        decayed = [variable.path.endswith("kernel") for variable in network.trainable_variables]

        @tf.function
        def take_step(
            pictures: tf.Tensor, targets: dict[str, tf.Tensor], rate: tf.Tensor, seed: tf.Tensor
        ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
            # Features of a frozen base can't be turned or lit as pictures can.
            crops = pictures
            if pictures.dtype == tf.uint8:
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
            decay = tf.minimum(schedule.ema_decay, (1.0 + step) / (10.0 + step))
            for average, weight in zip(self.served.weights, network.weights, strict=True):
                average.assign(weight + decay * (average - weight))
            return loss, {name: _share_right(targets[name], logits[name]) for name in targets}

        return take_step

    def _measure(self, epoch: int) -> dict[str, Any]:
        """Measure the averaged network on the validation part; return the epoch's row."""
        pictures = self.validation.pictures
        logits = self.served.predict(pictures, batch_size=choose_batch(pictures), verbose=0)
        row: dict[str, Any] = {
            "epoch": epoch,
            "step": self.step,
            "learning_rate": round(self.learning_rate(self.step - 1), 6),
            "loss": round(self.loss_sum / self.steps_per_epoch, 4),
            "validation_loss": round(self._validation_loss(logits), 4),
        }
        for name in self.heads:
            if self.recipe.heads[name].targets == "places":
                errors = place_errors(logits[name], self.validation)
                row |= {f"validation_{value}_{name}": error for value, error in errors.items()}
                continue
            row[f"accuracy_{name}"] = round(self.right_sums[name] / self.steps_per_epoch, 4)
            _, labels = list_answers(self.validation, self.recipe.heads[name].targets)
            right = logits[name].argmax(axis=1) == labels
            counted = labels >= 0
            row[f"validation_accuracy_{name}"] = round(float(right[counted].mean()), 4)
        row["seconds"] = round(self.seconds, 1)
        return row

    def _validation_loss(self, logits: dict[str, np.ndarray]) -> float:
        """Return the loss on the validation part, with targets and weights as in training."""
        losses = [
            head.weight * LOSSES[head.targets](self._targets(name, self.validation), logits[name])
            for name, head in self.recipe.heads.items()
        ]
        return float(sum(losses))

    def epochs_since_best(self) -> int:
        """Count the epochs since the best one by the watched validation figure."""
        values = [row[self.recipe.watched] for row in self.history]
        best = np.argmin(values) if self.recipe.schedule.monitor == "loss" else np.argmax(values)
        return len(self.history) - 1 - int(best)

    def _out_of_patience(self) -> bool:
        """Tell whether the watched figure has been without progress for too long."""
        patience = self.recipe.schedule.patience
        return bool(patience and self.history) and self.epochs_since_best() >= patience


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


def _share_right(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Return the share of right answers among the pictures that have one."""
    likeliest, unlikeliest = tf.reduce_max(targets, axis=1), tf.reduce_min(targets, axis=1)
    known = tf.cast(likeliest > unlikeliest, tf.float32)
    right = tf.cast(tf.argmax(targets, axis=1) == tf.argmax(logits, axis=1), tf.float32)
    return tf.reduce_sum(right * known) / tf.maximum(tf.reduce_sum(known), 1.0)


# How far a head's values are from its targets.
LOSSES = {"places": _distance} | dict.fromkeys(("labels", "votes", "children"), _cross_entropy)


def _build_optimizer(schedule: Schedule) -> keras.optimizers.Optimizer:
    """Build the schedule's optimiser; its learning rate is set at each step."""
    if schedule.optimizer == "adam":
        return keras.optimizers.Adam()
    if schedule.optimizer == "adadelta":
        return keras.optimizers.Adadelta()
    return keras.optimizers.SGD(momentum=schedule.momentum, nesterov=True)


def load_backbone(network: keras.Model, start: Path, pictures: np.ndarray) -> None:
    """Begin with the weights of a finished run's or a model's network, but for the heads.

    Normalisation that a model has folded away is found again on `pictures`. Raises `RecipeError`
    where the two have different bodies, or the model takes crops of another size or colour,
    `ModelError` for a bad model.
    """
    other_body = RecipeError(
        f"network.init_from: the network in {start} has another body. Take the same network and "
        "options, and as many channels."
    )
    if (start / CARD).is_file():
        model = load_classifier(start, "keras")
        assert isinstance(model.network, KerasNetwork)
        if model.card.channels != pictures.shape[-1]:
            raise other_body
        crops = shape_pictures(pictures, model.card.shape)
        try:
            return unfold_normalization(model.network.model, network, crops)
        except ValueError as error:
            raise other_body from error
    _, finished = load_run(start)
    bodies = [_list_body_weights(model) for model in (network, finished)]
    shapes = [[weight.shape for weight in body] for body in bodies]
    if shapes[0] != shapes[1]:
        raise other_body
    for weight, value in zip(*bodies, strict=True):
        weight.assign(value)


def _list_body_weights(network: keras.Model) -> list[keras.Variable]:
    """List the weights of all layers that are no head."""
    heads = set(network.output_names)
    layers = [layer for layer in network.layers if layer.name not in heads]
    return [weight for layer in layers for weight in layer.weights]


def load_recipe_of(run: Path) -> Recipe:
    """Read the recipe that a run was started with.

    Raises `DataError` where there is no run, `RecipeError` for a recipe that means nothing today.
    """
    if not (run / RECIPE).is_file():
        raise DataError(f"{run} holds no training: {RECIPE} is not there.")
    return parse_recipe(json.loads((run / RECIPE).read_text(encoding="utf-8")))


def load_run(run: Path) -> tuple[Recipe, keras.Model]:
    """Load a finished run's recipe and network: its best epoch's where the recipe keeps that.

    Raises `DataError` for a run that isn't finished.
    """
    if not (run / MODEL).is_file():
        raise DataError(f"{run} holds no finished training: {MODEL} is not there. Resume it first.")
    recipe = load_recipe_of(run)
    chosen = run / (BEST if recipe.schedule.keep_best else MODEL)
    return recipe, keras.saving.load_model(chosen, compile=False, safe_mode=True)
