"""Distil finished models: mix their probabilities into a new network's targets."""

import numpy as np

from app.vision.geometry import softmax
from app.vision.models.cards import ONE_CLASS
from app.vision.models.classifiers import Classifier, load_classifier
from training.datasets.loading import OOD, Split, shape_pictures
from training.evaluate import Logits
from training.evaluate.network import run_network
from training.recipe import DataError, Distillation


def distillation_targets(targets: Logits, train: Split, distillation: Distillation) -> Logits:
    """Return each head's targets, float32 (count, classes), mixed with the teachers' predictions.

    A head that no teacher has, or whose answers are no probabilities, keeps its targets, as do OOD
    pictures, for which the teachers were not trained. A row of zeros, an unknown label, becomes the
    teachers' prediction alone. Raises `DataError` if a teacher has none of the heads or other
    classes.
    """
    taught = train.labels != OOD
    own = train.subset(taught)
    sums = {name: np.zeros_like(values[taught]) for name, values in targets.items()}
    for folder in distillation.teachers:
        teacher = load_classifier(folder, "onnx", threads=0)
        named, heads = f"The teacher {teacher.card.name!r} has", teacher.card.heads
        if not heads.keys() & targets:
            raise DataError(f"{named} none of the heads {', '.join(targets)}.")
        for name in heads.keys() & targets:
            if len(classes := heads[name].classes) != targets[name].shape[1]:
                others = f"a head {name!r} of other classes: {', '.join(classes)}."
                raise DataError(f"{named} {others}")
        for name, probabilities in _predict(teacher, own).items():
            if name in sums:
                sums[name] += probabilities
    mixed = {name: values.copy() for name, values in targets.items()}
    for name, predicted in sums.items():
        if predicted.any():
            values = targets[name][taught]
            known = values.sum(axis=1, keepdims=True) > 0
            share = np.where(known, distillation.distill_weight, 1.0).astype(np.float32)
            predicted /= predicted.sum(axis=1, keepdims=True)
            mixed[name][taught] = (1 - share) * values + share * predicted
    return mixed


def _predict(teacher: Classifier, split: Split) -> Logits:
    """Return a teacher's probabilities, summed over each picture and its mirror image.

    A picture that is in the split several times is predicted once.
    """
    names = [str(file) for file in split.files]
    _, first, inverse = np.unique(names, return_index=True, return_inverse=True)
    pictures = shape_pictures(split.pictures[first], teacher.card.shape)
    plain, mirrored = (
        run_network(teacher.network, np.ascontiguousarray(side))
        for side in (pictures, pictures[:, :, ::-1])
    )
    return {
        name: (softmax(logits) + softmax(mirrored[name]))[inverse]
        for name, logits in plain.items()
        if teacher.card.heads[name].targets in ONE_CLASS
    }
