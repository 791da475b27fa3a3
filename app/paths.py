"""Locate Raut's data: beside `app` in a checkout, inside `app` once installed (see setup.py)."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
# Holds models, static, templates, translations, CITATION.cff and gunicorn.conf.py.
DATA = PACKAGE if (PACKAGE / "templates").is_dir() else PACKAGE.parent
MODELS = DATA / "models"
STUDIES = PACKAGE.parent / "training" / "results"
