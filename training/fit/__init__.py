"""Build and fit networks."""

from app.vision.models.keras_network import load_tensorflow

load_tensorflow()  # before any module here imports it
