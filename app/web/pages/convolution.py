"""Lay a network's first convolution open in numbers, for the steps page."""

from typing import Any

import cv2
import numpy as np

from app.vision.explain.explanation import Reading

EPSILON = 1e-4 * 255**2  # that the network's first layer adds to the variance, in grey levels
MOST_DEVIATION = 0.005  # of what is shown from the network's own maps


def first_convolution(reading: Reading) -> dict[str, Any] | None:
    """Return the first convolution in numbers: the normalised grey crop, filters and biases.

    The crop is brought to mean 0 and a variance below 1, as the network's first layer does, and the
    biases follow from the maps; None where that doesn't give the network's own maps.
    """
    filters, layers = reading.filters, reading.layers
    if filters is None or filters.shape[1] != 1 or not layers:
        return None
    maps, crop = layers[0].maps, reading.crop.squeeze().astype(np.float32)
    if maps.shape != (len(filters), *crop.shape):
        return None
    crop = (crop - crop.mean()) / np.sqrt(crop.var() + EPSILON)
    sums = np.stack(
        [cv2.filter2D(crop, -1, each[0], borderType=cv2.BORDER_CONSTANT) for each in filters]
    )
    # What the ReLU made zero tells nothing; a map of zeros alone has a bias below all sums.
    shifts = np.where(maps > 0, maps - sums, np.nan).reshape(len(maps), -1)
    silent = np.isnan(shifts).all(axis=1)
    shifts[silent] = -sums[silent].max(axis=(1, 2))[:, None]
    biases = np.nanmedian(shifts, axis=1)
    if np.abs(np.maximum(sums + biases[:, None, None], 0) - maps).max() > MOST_DEVIATION:
        return None
    return {
        "size": crop.shape[0],
        "side": filters.shape[2],
        "filters": filters.reshape(len(filters), -1).round(4).tolist(),
        "biases": biases.round(4).tolist(),
        "crop": crop.ravel().round(3).tolist(),
    }
