"""Fit a network by a recipe, from the start or on from a checkpoint.

Everything random is sampled from the recipe's seed and the step's number, so that a run that was
killed and resumed takes the same steps as one that was not. Keras' own callbacks and schedules
don't give that: they keep their state outside the checkpoint, and its average of the weights
leaves the moments of batch normalisation out.
"""

import math
import shutil
import sys
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import click
import keras
import numpy as np
import tensorflow as tf

import training.fit.pretrained  # noqa: F401 - registers its networks
from app.files import write_text
from app.vision.models.cards import CARD, ONE_CLASS
from training import runs
from training.datasets.augmentation import augment
from training.datasets.experiment import Experiment
from training.datasets.loading import GIVEN, OOD, Split, list_answers
from training.evaluate.network import MEASURES, choose_batch
from training.evaluate.reports import write_run_report
from training.fit.distillation import distillation_targets
from training.fit.networks import FusedBatchNormalization, build_network, check_network, compute_in
from training.fit.transfer import load_backbone
from training.recipe import DataError, Recipe

HUBER_LIMIT = 0.1
BOX_WEIGHT = 0.3  # of a proposal's square beside its score
MOMENTS_COUNT = 512  # pictures from which a folded normalisation's moments are measured
# Attributes of a trainer that a checkpoint keeps, beside the variables.
POSITION = ("step", "seconds", "loss_sum", "right_sums", "history")
CHECKPOINTS_ON_DISK = 2  # the last one, and the next one aside until it is whole
MODELS_ON_DISK = 2  # the finished network, and slack for history and curves


def fit(experiment: Experiment, tensorboard: bool = False) -> runs.History:
    """Fit the recipe's network; go on from the run's checkpoint if it has one.

    Leaves in the run's folder the recipe, the checkpoint, `history.csv` (a row per epoch),
    `model.keras` (averaged weights, float32), curves and a report; with `tensorboard` also event
    files. Returns the history. Raises before training starts: `DataError` if the data or the disk
    won't do or a needed model is missing, `RecipeError` for a network that doesn't exist.
    """
    recipe, run = experiment.recipe, experiment.run
    check_network(recipe.network)
    for folder in recipe.needed_models:
        if not ((folder / CARD).is_file() or runs.is_finished(folder)):
            raise DataError(
                f"{recipe.name} needs the model {folder}, which isn't there. Where there is a "
                f"recipe for it, `python -m training rebuild {recipe.name}` fits it first."
            )
    trainer = Trainer(experiment)
    run.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(run).free, trainer.count_bytes()
    if free < needed:
        raise DataError(
            f"The disk of {run} has {free // 10**6} MB free; this training needs "
            f"{-(-needed // 10**6)} MB. Make room, or choose another folder with --out."
        )
    write_text(recipe.model_dump_json(indent=2), run / runs.RECIPE)
    if experiment.command:
        write_text(experiment.command, run / runs.COMMAND)
    if saved := runs.load_checkpoint(run):
        trainer.restore(saved)
    last_saved = time.monotonic()
    board = tf.summary.create_file_writer(str(run / runs.LOGS)) if tensorboard else None
    for epoch_ended in trainer.steps():
        # Before the checkpoint: a kill in between repeats the epoch, and with it the files.
        if epoch_ended:
            if recipe.schedule.keep_best and trainer.epochs_since_best(recipe.best_by) == 0:
                runs.save_network(trainer.served, run / runs.BEST)
            # A run begun before a figure was measured has no number for its first epochs.
            runs.write_csv(run / runs.HISTORY, trainer.history, missing="nan")
        if epoch_ended or time.monotonic() - last_saved > recipe.schedule.checkpoint_seconds:
            runs.save_checkpoint(run, trainer.checkpoint())
            last_saved = time.monotonic()
        if epoch_ended and board:
            with board.as_default(step=trainer.history[-1]["epoch"]):
                for name, value in trainer.history[-1].items():
                    tf.summary.scalar(name, value)
            board.flush()
    runs.save_network(trainer.served, run / runs.MODEL)
    best = trainer.history[-1 - trainer.epochs_since_best(recipe.best_by)]
    write_run_report(run, recipe, trainer.history, best)
    return trainer.history


class Trainer:
    """Hold a training's state and take its steps."""

    def __init__(self, experiment: Experiment) -> None:
        recipe = self.recipe = experiment.recipe
        keras.utils.set_random_seed(recipe.seed)
        self.train, self.validation = experiment.splits
        self.heads = experiment.classes
        self.targets = {name: self._targets(name, self.train) for name in self.heads}
        if recipe.distillation:
            self.targets = distillation_targets(self.targets, self.train, recipe.distillation)
        start = recipe.network.init_from
        # Growing pictures need a network for any size; dense layers need one size.
        any_size = bool(recipe.schedule.progressive_sizes)
        with compute_in(recipe.schedule.precision):
            self.network = build_network(recipe, self.heads, FusedBatchNormalization, any_size)
            if start:
                load_backbone(self.network, start, self.train.spread(MOMENTS_COUNT))
        self.served = build_network(recipe, self.heads)
        self.served.set_weights(self.network.get_weights())
        optimizer = recipe.schedule.optimizer
        sgd = keras.optimizers.SGD(momentum=recipe.schedule.momentum, nesterov=True)
        self.optimizer = sgd if optimizer == "sgd" else keras.optimizers.get(optimizer)
        self.optimizer.build(self.network.trainable_variables)
        # A last, smaller batch of an epoch is left out.
        self.steps_per_epoch = max(1, len(self.train.labels) // recipe.schedule.batch)
        self.total_steps = self.steps_per_epoch * recipe.schedule.epochs
        self.history: runs.History = []
        self.step, self.seconds, self.loss_sum = 0, 0.0, 0.0
        self.right_sums = dict.fromkeys(self.heads, 0.0)
        self._take_step = {size: self._compile(size) for _, size in self._sizes()}

    def count_bytes(self) -> int:
        """Count the bytes that a run takes on disk."""
        state = sum(value.nbytes for value in self.checkpoint()[0])
        model = sum(weight.numpy().nbytes for weight in self.served.weights)
        return CHECKPOINTS_ON_DISK * state + MODELS_ON_DISK * model

    def steps(self) -> Iterator[bool]:
        """Take all steps that are left; yield after each whether an epoch ended with it."""
        shown = sys.stderr.isatty()
        with click.progressbar(
            length=self.total_steps - self.step,
            label=self.recipe.name,
            file=sys.stderr,
            show_pos=True,
            hidden=not shown,
        ) as bar:
            while self.step < self.total_steps and not self._out_of_patience():
                started = time.monotonic()
                epoch, position = divmod(self.step, self.steps_per_epoch)
                if position == 0:
                    self.loss_sum = 0.0
                    self.right_sums = dict.fromkeys(self.heads, 0.0)
                self._step(epoch, position)
                self.step += 1
                ended = position + 1 == self.steps_per_epoch
                self.seconds += time.monotonic() - started
                bar.update(1)
                if ended:
                    self.history.append(self._measure(epoch + 1))
                    figures = "  ".join(f"{key} {value}" for key, value in self.history[-1].items())
                    # On a terminal the line replaces the bar's.
                    click.echo(f"{chr(13) * shown}{figures}  left {bar.format_eta()}", err=True)
                yield ended

    def checkpoint(self) -> runs.Checkpoint:
        """Copy the state out."""
        values = [keras.ops.convert_to_numpy(variable) for variable in self._variables()]
        return values, {name: getattr(self, name) for name in POSITION}

    def restore(self, checkpoint: runs.Checkpoint) -> None:
        """Take a state over."""
        values, position = checkpoint
        for variable, value in zip(self._variables(), values, strict=True):
            variable.assign(value)
        for name, value in position.items():
            setattr(self, name, value)

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
        return [*self.network.variables, *self.optimizer.variables, *self.served.weights]

    def _sizes(self) -> list[tuple[float, int]]:
        return self.recipe.schedule.progressive_sizes or [(1.0, self.recipe.data.size)]

    def _targets(self, head: str, split: Split) -> np.ndarray:
        """Return a head's target distributions or values, float32 (count, classes).

        A row of zeros says that the right answer is unknown.
        """
        settings = self.recipe.heads[head]
        if settings.targets in GIVEN:
            given: np.ndarray = getattr(split, settings.targets)
            return given
        classes, labels = list_answers(split, settings.targets)
        count = len(classes)
        one_hot = np.eye(count, dtype=np.float32)[labels]
        smoothed = one_hot * (1 - settings.label_smoothing) + settings.label_smoothing / count
        known = np.where(labels[:, None] >= 0, smoothed, np.float32(0))
        # Outlier exposure: out of distribution, all classes are equally likely.
        return np.where(labels[:, None] == OOD, np.float32(1 / count), known)

    def _step(self, epoch: int, position: int) -> None:
        schedule = self.recipe.schedule
        order = _shuffle(self.recipe.seed, epoch, len(self.train.labels))
        chosen = order[position * schedule.batch : (position + 1) * schedule.batch]
        share = self.step / self.total_steps
        size = next(side for until, side in self._sizes() if share < until)
        targets = {n: tf.constant(t[chosen], tf.float32) for n, t in self.targets.items()}
        loss, right = self._take_step[size](
            tf.constant(self.train.pictures[chosen]),
            targets,
            tf.constant(self.learning_rate(self.step), tf.float32),
            tf.constant([self.recipe.seed, self.step], tf.int32),
        )
        self.loss_sum += float(loss)
        for name, share in right.items():
            self.right_sums[name] += float(share)

    def _compile(self, size: int) -> Any:
        recipe, network, optimizer = self.recipe, self.network, self.optimizer
        schedule = recipe.schedule
        classifying = [n for n, head in recipe.heads.items() if head.targets in ONE_CLASS]
        decayed = [variable.path.endswith("kernel") for variable in network.trainable_variables]

        @tf.function
        def take_step(
            pictures: tf.Tensor, targets: dict[str, tf.Tensor], rate: tf.Tensor, seed: tf.Tensor
        ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
            # Features of a frozen base can't be turned or lit as pictures can.
            crops = pictures
            if pictures.dtype == tf.uint8:
                crops = augment(recipe.augmentation, pictures, size, seed)
            with tf.GradientTape() as tape:
                logits = network(crops, training=True)
                loss = _add_losses(recipe, targets, logits)
            variables = network.trainable_variables
            fitted = zip(tape.gradient(loss, variables), variables, decayed, strict=True)
            gradients = [
                gradient + schedule.weight_decay * variable if decays else gradient
                for gradient, variable, decays in fitted
            ]
            optimizer.learning_rate.assign(rate)
            optimizer.apply(gradients, variables)
            # Early on the average must not drag the random start along.
            step = tf.cast(seed[1], tf.float32)
            decay = tf.minimum(schedule.ema_decay, (1.0 + step) / (10.0 + step))
            for average, weight in zip(self.served.weights, network.weights, strict=True):
                average.assign(weight + decay * (average - weight))
            return loss, {name: _share_right(targets[name], logits[name]) for name in classifying}

        return take_step

    def _measure(self, epoch: int) -> dict[str, Any]:
        pictures = self.validation.pictures
        logits = self.served.predict(pictures, batch_size=choose_batch(pictures), verbose=0)
        row: dict[str, Any] = {
            "epoch": epoch,
            "step": self.step,
            "learning_rate": round(self.learning_rate(self.step - 1), 6),
            "loss": round(self.loss_sum / self.steps_per_epoch, 4),
        }
        targets = {n: np.float32(self._targets(n, self.validation)) for n in self.heads}
        row["validation_loss"] = round(float(_add_losses(self.recipe, targets, logits)), 4)
        for name in self.heads:
            kind = self.recipe.heads[name].targets
            if kind in MEASURES:
                figures = MEASURES[kind](logits[name], self.validation)
                row |= {f"validation_{value}_{name}": figure for value, figure in figures.items()}
                continue
            row[f"accuracy_{name}"] = round(self.right_sums[name] / self.steps_per_epoch, 4)
            _, labels = list_answers(self.validation, kind)
            right = logits[name].argmax(axis=1) == labels
            counted = labels >= 0
            row[f"validation_accuracy_{name}"] = round(float(right[counted].mean()), 4)
        row["seconds"] = round(self.seconds, 1)
        return row

    def epochs_since_best(self, figure: str) -> int:
        """Count the epochs since the best one by a figure of validation, "accuracy" or "loss"."""
        values = [row[self.recipe.name_figure(figure)] for row in self.history]
        best = np.argmin(values) if figure == "loss" else np.argmax(values)
        return len(self.history) - 1 - int(best)

    def _out_of_patience(self) -> bool:
        patience = self.recipe.schedule.patience
        waiting = bool(patience and self.history)
        return waiting and self.epochs_since_best(self.recipe.monitor) >= patience


@lru_cache(maxsize=1)  # each step of an epoch asks, and a small network's takes no longer
def _shuffle(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(count)


def _huber(targets: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    count = values.shape[-1]  # Keras averages over the values; ours are added.
    return keras.losses.huber(targets, values, HUBER_LIMIT) * count / HUBER_LIMIT


def _distance(targets: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Average the Huber loss over the pictures whose face's position is known.

    Source: Huber, "Robust estimation of a location parameter" (1964), with its limit at 0.1: a
    labelled position is a median, from which single faces differ.
    """
    return _average(_huber(targets, values), tf.reduce_any(targets != 0, axis=1))


def _cross_entropy(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
    return _average(losses, tf.reduce_sum(targets, axis=1) > 0)


def _share_right(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    known = tf.reduce_max(targets, axis=1) > tf.reduce_min(targets, axis=1)
    return _average(tf.argmax(targets, axis=1) == tf.argmax(logits, axis=1), known)


def _average(values: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
    values, known = tf.cast(values, tf.float32), tf.cast(known, tf.float32)
    return tf.reduce_sum(values * known) / tf.maximum(tf.reduce_sum(known), 1.0)


def _independent(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Average the binary cross-entropy over the known ones of several independent answers."""
    losses = tf.nn.sigmoid_cross_entropy_with_logits(tf.maximum(targets, 0.0), logits)
    return _average(losses, targets >= 0)


def _boxes(targets: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Join the focal loss of the scores and the Huber loss of the squares, per positive.

    Source: Lin et al., "Focal loss for dense object detection" (2017), equation 5.
    """
    truth, logits = targets[..., 0], values[..., 0]
    right = tf.maximum(truth, 0.0)
    losses = tf.nn.sigmoid_cross_entropy_with_logits(right, logits)
    focal = losses * tf.square(right - tf.sigmoid(logits)) * tf.cast(truth >= 0, tf.float32)
    positive = tf.cast(truth > 0, tf.float32)
    squares = _huber(targets[..., 1:], values[..., 1:]) * positive
    count = tf.maximum(tf.reduce_sum(positive), 1.0)
    return (tf.reduce_sum(focal) + BOX_WEIGHT * tf.reduce_sum(squares)) / count


# How far a head's values are from its targets.
LOSSES = {"places": _distance, "reasons": _independent, "boxes": _boxes}
LOSSES |= dict.fromkeys(ONE_CLASS, _cross_entropy)


def _add_losses(recipe: Recipe, targets: dict[str, Any], logits: dict[str, Any]) -> Any:
    weighted = ((each.weight, LOSSES[each.targets], name) for name, each in recipe.heads.items())
    return sum(weight * loss(targets[name], logits[name]) for weight, loss, name in weighted)
