"""Make the files of a finished network smaller and faster, with the same weights."""

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
        stored = f"{tensor.name}_half"
        graph.initializer.append(numpy_helper.from_array(half, stored))
        cast = helper.make_node("Cast", [stored], [tensor.name], to=onnx.TensorProto.FLOAT)
        graph.node.insert(0, cast)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def store_8_bits(path: Path) -> None:
    """Store an ONNX file's kernels in 8 bits, with a scale for each output channel.

    Kernels of one channel stay as they are: they are few. Computing stays in single precision.
    """
    model = onnx.load(path)
    graph = model.graph
    for tensor in list(graph.initializer):
        if len(tensor.dims) != 4 or tensor.dims[1] == 1:
            continue
        values = numpy_helper.to_array(tensor)
        scale = np.abs(values).max(axis=(1, 2, 3)) / 127
        kernels = np.rint(values / np.maximum(scale, 1e-12)[:, None, None, None]).astype(np.int8)
        graph.initializer.remove(tensor)
        stored = [f"{tensor.name}_int8", f"{tensor.name}_scale"]
        graph.initializer.extend(map(numpy_helper.from_array, (kernels, scale), stored))
        graph.node.insert(0, helper.make_node("DequantizeLinear", stored, [tensor.name], axis=0))
    onnx.checker.check_model(model)
    onnx.save(model, path)


def flatten_scaling(path: Path) -> None:
    """Let an ONNX file's network scale its input as rows of pixels.

    ONNX Runtime 1.32 takes forty times as long for numbers whose last axis has the length 1, as
    grey crops have.
    """
    model = onnx.load(path)
    graph = model.graph
    users = [node for node in graph.node if graph.input[0].name in node.input]
    if [node.op_type for node in users] != ["Cast"]:
        return
    cast = users[0]
    scalars = {tensor.name for tensor in graph.initializer if not tensor.dims}
    chain, last = [], cast.output[0]
    while len(users := [node for node in graph.node if last in node.input]) == 1:
        if users[0].op_type not in ("Mul", "Add") or not scalars & set(users[0].input):
            break
        chain.append(users[0])
        last = users[0].output[0]
    if chain:
        flat, scaled = f"{cast.output[0]}_flat", f"{last}_flat"
        chain[0].input[:] = [flat if name == cast.output[0] else name for name in chain[0].input]
        chain[-1].output[0] = scaled
        rows = numpy_helper.from_array(np.array([0, -1]), "rows_of_pixels")
        graph.initializer.append(rows)
        shape = helper.make_node("Shape", [graph.input[0].name], ["crop_shape"])
        before = helper.make_node("Reshape", [cast.output[0], rows.name], [flat])
        after = helper.make_node("Reshape", [scaled, *shape.output], [last])
        graph.node.insert(list(graph.node).index(chain[0]), before)
        graph.node.insert(list(graph.node).index(chain[-1]) + 1, after)
        graph.node.insert(0, shape)
    onnx.checker.check_model(model)
    onnx.save(model, path)
