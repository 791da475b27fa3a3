"""Answer a path with Raut's reading of faces."""

import json
import sys
from functools import partial
from pathlib import Path

from app.vision.models.selection import choose_names
from app.vision.pipeline import FaceAnalyzer

TASKS = ("expression", "gender")

analyzer = FaceAnalyzer.load("models", needed=partial(choose_names, names=None))
for line in sys.stdin:
    answer = analyzer.analyze_file(Path(line.strip()).read_bytes()).to_json()
    faces = [
        {
            "box": list(face["box"].values()),
            **{task: face[task]["label"] for task in TASKS},
            "unsure": [task for task in TASKS if not face[task]["confident"]],
        }
        for face in answer["faces"]
    ]
    print(json.dumps({"faces": faces}), flush=True)
