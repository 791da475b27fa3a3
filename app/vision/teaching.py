"""Teach new classes from a few samples: the features of photos, and heads fitted to them."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from app.errors import RautError
from app.vision.budget import Budget
from app.vision.geometry import Box
from app.vision.imaging.crops import CropShape, cut_from_photo, shape_crop
from app.vision.imaging.decoding import open_image
from app.vision.models.cards import ModelError, Region
from app.vision.models.features import FeatureNetwork
from app.vision.pipeline import FaceAnalyzer, check_effort, image_scale

REGIONS: tuple[Region, ...] = ("face", "image")
PIXELS = CropShape(24, 1)  # what a lesson compares the features with


@dataclass(frozen=True)
class Sample:
    """Hold what a photo is taught with.

    `features` are float32 (length,), `pixels` the grey crop, uint8 (24, 24). `box` is the face's,
    None for whole pictures.
    """

    features: np.ndarray
    pixels: np.ndarray
    box: Box | None


class Teacher:
    """Turn photos into features; it keeps the networks, and nothing of a photo."""

    def __init__(self, analyzer: FaceAnalyzer, threads: int = 1) -> None:
        self._analyzer = analyzer
        self._threads = threads
        self._networks: dict[Region, FeatureNetwork] = {}
        self._lock = threading.Lock()

    def network(self, region: str) -> FeatureNetwork:
        """Return the bodies of a region of `REGIONS`, loaded at first use. Raises `RautError`."""
        for known in REGIONS:
            if region == known:
                with self._lock:
                    if known not in self._networks:
                        self._networks[known] = self._load(known)
                    return self._networks[known]
        raise RautError(
            "unknown_region",
            f"There is no region {region!r}. Choose from {', '.join(REGIONS)}.",
            choices=list(REGIONS),
        )

    def _load(self, region: Region) -> FeatureNetwork:
        try:
            return FeatureNetwork(self._analyzer.classifiers.values(), region, self._threads)
        except ModelError as error:
            raise RautError("features_missing", str(error)) from error

    def read(
        self, data: bytes, region: str, effort: str = "balanced", budget: Budget | None = None
    ) -> Sample | None:
        """Return the sample of a photo's largest face or of the whole photo; None without a face.

        `effort` is as in `FaceAnalyzer.analyze_file`. Raises `RautError` as it does.
        """
        network, checked = self.network(region), check_effort(effort)
        budget = budget or Budget()
        photo = open_image(data)
        if network.region == "image":
            box = None
            pixels, _ = photo.pixels(image_scale(photo, network.shape))
            crop = shape_crop(pixels, network.shape)
        else:
            found = self._analyzer.detector.detect(photo, checked, [], budget)
            if not found:
                return None
            face = max(found, key=lambda each: each.box.width * each.box.height)
            box = face.box
            crop = cut_from_photo(photo, face, network.shape)
        budget.check()
        return Sample(network.read(crop[None])[0], shape_crop(crop, PIXELS)[:, :, 0], box)
