"""Answer a path with the reading of fer."""

import json
import sys

sys.path.pop(0)  # This folder's fer.py isn't the one meant.

import cv2
from fer.fer import FER

detector = FER()
for line in sys.stdin:
    found = detector.detect_emotions(cv2.imread(line.strip()))
    faces = [
        {
            "box": [int(each) for each in face["box"]],
            "expression": max(face["emotions"], key=face["emotions"].get),
        }
        for face in found
    ]
    print(json.dumps({"faces": faces}), flush=True)
