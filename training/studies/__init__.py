"""Repeat published studies: one TOML and one module each, joined by `training.studies.study`."""
