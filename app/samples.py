"""Read the sample photos of the start page, which the operator puts into a folder."""

import mimetypes
from dataclasses import dataclass
from pathlib import Path

MOST = 3
# What browsers show; the ending is trusted, as the folder is the operator's.
TYPES = frozenset({"image/jpeg", "image/png", "image/webp"})


@dataclass(frozen=True)
class Sample:
    """Hold a photo's bytes, and its title: the file's name, which tells its source."""

    title: str
    content_type: str
    data: bytes


def read_samples(folder: Path | None) -> tuple[Sample, ...]:
    """Read the first photos of a folder by name, once, at the start."""
    if not folder:
        return ()
    typed = ((file, mimetypes.guess_type(file.name)[0]) for file in sorted(folder.iterdir()))
    photos = [(file, kind) for file, kind in typed if kind in TYPES][:MOST]
    return tuple(Sample(file.stem, kind, file.read_bytes()) for file, kind in photos)
