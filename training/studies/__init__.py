"""Repeat published studies: one TOML and one module each, joined by `training.studies.study`."""

from app.vision.models.keras_network import load_tensorflow

load_tensorflow()  # before any module here imports it
