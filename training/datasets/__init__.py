"""Prepare, check, load and augment data sets."""

import numpy as np

Random = np.random.Generator
