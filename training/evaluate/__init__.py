"""Measure networks and models."""

from typing import Any

import numpy as np

from app.vision.models.cards import Head

Heads = dict[str, Head]
Logits = dict[str, np.ndarray]  # head → (count, classes)
Figures = dict[str, Any]
