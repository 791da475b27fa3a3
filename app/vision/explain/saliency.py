"""Find the places of a crop that an answer hangs on."""

import numpy as np

from app.vision.models.classifiers import (
    Classifier,
    KerasNetwork,
    read_probabilities,
    run_in_batches,
)

PATCH = 1 / 4  # A patch's side as a share of the crop's: about a mouth or a pair of eyes' height.
STRIDE = 1 / 8  # Half a patch, so that each place is covered by four of them.
# In one batch: all copies of a face, some of a whole picture, whose maps would take a gigabyte.
MOST_PIXELS = 2**18


def occlude(classifier: Classifier, crop: np.ndarray) -> np.ndarray:
    """Return how much of each class's probability goes when a place is covered.

    `crop` is uint8 (size, size, channels). A patch of the crop's mean grey or colour covers one
    place after another; a pixel's value is the mean over the patches that cover it. Returns float
    (classes, size, size), in the order of the answerable classes.

    Source: Zeiler and Fergus, "Visualizing and understanding convolutional networks" (2014),
    section 4.2.
    """
    size = crop.shape[0]
    side, stride = round(size * PATCH), max(1, round(size * STRIDE))
    starts = range(0, size - side + 1, stride)
    places = [
        (slice(top, top + side), slice(left, left + side)) for top in starts for left in starts
    ]
    copies = np.repeat(crop[None], len(places) + 1, axis=0)
    for covered, (rows, columns) in zip(copies[1:], places, strict=True):
        covered[rows, columns] = crop.mean(axis=(0, 1))
    count = max(1, MOST_PIXELS // size**2)
    logits = run_in_batches(classifier.network, copies, count)
    _, probabilities = read_probabilities(classifier.head, logits[classifier.head_name])
    drops = np.zeros((probabilities.shape[1], size, size))
    counts = np.zeros((size, size))
    for after, (rows, columns) in zip(probabilities[1:], places, strict=True):
        drops[:, rows, columns] += (probabilities[0] - after)[:, None, None]
        counts[rows, columns] += 1
    return drops / np.maximum(counts, 1)


def grad_cam(classifier: Classifier, crop: np.ndarray) -> np.ndarray | None:
    """Return where the last feature maps speak for each class; None without the Keras runtime.

    `crop` is uint8 (size, size, channels). Returns float (classes, height, width) of the last
    maps, not below 0, in the order of the answerable classes.

    Source: Selvaraju et al., "Grad-CAM" (2017), section 3.
    """
    if not isinstance(classifier.network, KerasNetwork):
        return None
    import keras
    import tensorflow as tf

    model = classifier.network.model
    last = [layer.output for layer in model.layers if len(layer.output.shape) == 4][-1]
    inspected = keras.Model(model.inputs, [last, model.output[classifier.head_name]])
    head = classifier.head
    kept = [index for index, name in enumerate(head.classes) if name not in head.excluded]
    with tf.GradientTape(persistent=True) as tape:
        maps, logits = inspected(crop[None])
        chosen = [logits[0, index] for index in kept]
    cams = []
    for logit in chosen:
        weights = tf.reduce_mean(tape.gradient(logit, maps), axis=(1, 2))
        cams.append(tf.nn.relu(tf.einsum("bhwc,bc->hw", maps, weights)).numpy())
    return np.stack(cams)
