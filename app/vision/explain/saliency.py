"""Compute which parts of a crop a prediction depends on."""

import numpy as np

from app.vision.budget import Budget
from app.vision.models.classifiers import Classifier, read_probabilities, run_in_batches
from app.vision.models.keras_network import KerasNetwork

PATCH = 1 / 4  # of the crop's side: about a mouth's width or the height of a pair of eyes
STRIDE = 1 / 8  # half a patch, so that each pixel is covered by four of them
# In one batch: all variants of a small face, three of a whole image, whose maps take 80 MB then.
MOST_PIXELS = 2**17


def occlude(classifier: Classifier, crop: np.ndarray, budget: Budget | None = None) -> np.ndarray:
    """Return the drop of each class's probability when a part of the crop is occluded.

    `crop` is uint8 (size, size, channels). A patch of the crop's mean grey or colour slides over
    it; a pixel's value is the mean over the patches that cover it. Returns float (classes, size,
    size), in the order of the answerable classes. Raises `RautError` as the budget does.

    Source: Zeiler and Fergus, "Visualizing and understanding convolutional networks" (2014),
    section 4.2.
    """
    size = crop.shape[0]
    side, stride = round(size * PATCH), max(1, round(size * STRIDE))
    starts = range(0, size - side + 1, stride)
    patches = [
        (slice(top, top + side), slice(left, left + side)) for top in starts for left in starts
    ]
    variants = np.repeat(crop[None], len(patches) + 1, axis=0)
    for covered, (rows, columns) in zip(variants[1:], patches, strict=True):
        covered[rows, columns] = crop.mean(axis=(0, 1))
    count = max(1, MOST_PIXELS // size**2)
    logits = run_in_batches(classifier, variants, count, budget)
    _, probabilities = read_probabilities(classifier.head, logits[classifier.head_name])
    drops = np.zeros((probabilities.shape[1], size, size))
    counts = np.zeros((size, size))
    for after, (rows, columns) in zip(probabilities[1:], patches, strict=True):
        drops[:, rows, columns] += (probabilities[0] - after)[:, None, None]
        counts[rows, columns] += 1
    return drops / np.maximum(counts, 1)


def grad_cam(classifier: Classifier, crop: np.ndarray) -> np.ndarray | None:
    """Return each answerable class's Grad-CAM, float (classes, height, width), at least 0.

    `crop` is uint8 (size, size, channels); the maps have the size of the last feature maps. None
    without the Keras runtime, which alone has gradients.
    """
    if not isinstance(classifier.network, KerasNetwork):
        return None
    return classifier.network.grad_cam(crop, _combine_logits(classifier))


def _combine_logits(classifier: Classifier) -> dict[str, np.ndarray]:
    """Return what each logit of the network adds to each class: head → (classes, logits)."""
    heads, head = classifier.card.heads, classifier.head
    if head.join is None:
        return {classifier.head_name: np.eye(len(head.classes))[head.answerable_indices]}
    return {
        name: weight
        / heads[name].temperature
        * np.eye(len(heads[name].classes))[[heads[name].classes.index(n) for n in head.answerable]]
        for name, weight in head.join.weights.items()
    }
