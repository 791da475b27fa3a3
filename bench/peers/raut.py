"""Answer a path with Raut's reading of faces."""

import json
import sys
from functools import partial
from pathlib import Path

from app.vision.analyzer import FaceAnalyzer
from app.vision.names import choose_names

analyzer = FaceAnalyzer.load("models", needed=partial(choose_names, names=None))
for line in sys.stdin:
    answer = analyzer.analyze_file(Path(line.strip()).read_bytes()).to_json()
    print(json.dumps({"faces": len(answer["faces"]), **answer["timings_ms"]}), flush=True)
