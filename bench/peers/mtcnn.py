"""Answer a path with the faces of MTCNN (Zhang et al. 2016), as mtcnn has it."""

import json
import sys

sys.path.pop(0)  # This folder's mtcnn.py isn't the one meant.

from mtcnn import MTCNN

detector = MTCNN()
for line in sys.stdin:
    found = detector.detect_faces(line.strip())
    print(json.dumps({"faces": [list(map(int, face["box"])) for face in found]}), flush=True)
