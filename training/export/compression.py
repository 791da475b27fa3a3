"""Make the files of a finished network smaller, with the same weights."""

from pathlib import Path
from typing import IO
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np
import onnx
from onnx import helper, numpy_helper

from app.files import atomic_write

SMALLEST_COMPRESSED = 1024  # values; a smaller tensor saves less than its node costs


def pack(path: Path) -> None:
    """Deflate a `.keras` file, which Keras stores: kernels in half precision have many zeros."""

    def write(stream: IO[bytes]) -> None:
        with ZipFile(path) as stored, ZipFile(stream, "w", ZIP_DEFLATED) as packed:
            for member in stored.infolist():
                copy = ZipInfo(member.filename, member.date_time)
                packed.writestr(copy, stored.read(member), ZIP_DEFLATED)

    atomic_write(path, write)


def store_half_precision(path: Path) -> None:
    """Store an ONNX file's tensors in half precision if that is exact.

    They are cast back when the file is loaded; computing stays in single precision.
    """
    model = onnx.load(path)
    graph = model.graph
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        half = values.astype(np.float16) if values.dtype == np.float32 else None
        if half is None or half.size < SMALLEST_COMPRESSED or (half != values).any():
            continue
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(half, f"{tensor.name}_half"))
        cast = helper.make_node(
            "Cast", [f"{tensor.name}_half"], [tensor.name], to=onnx.TensorProto.FLOAT
        )
        graph.node.insert(0, cast)
    onnx.checker.check_model(model)
    onnx.save(model, path)
