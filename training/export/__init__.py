"""Turn a finished run into a model that is served."""

from app.vision.models.keras_network import load_tensorflow

load_tensorflow()  # before any module here imports it
