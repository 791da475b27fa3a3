"""Answer a path with Raut's reading."""

import json
import sys
from pathlib import Path

from app.vision.analyzer import FaceAnalyzer

analyzer = FaceAnalyzer.load("models")
for line in sys.stdin:
    answer = analyzer.analyze_file(Path(line.strip()).read_bytes()).to_json()
    print(json.dumps({"faces": len(answer["faces"]), **answer["timings_ms"]}), flush=True)
