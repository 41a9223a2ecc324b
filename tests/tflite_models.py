"""A tiny .tflite file in place of MediaPipe's pose landmark network."""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema


def save_constant(path, input_shape, *outputs):
    """A model that returns the same arrays for every input."""
    graph = schema.SubGraphT()
    graph.inputs, graph.outputs, graph.operators = [0], list(range(1, 1 + len(outputs))), []
    graph.tensors = []
    buffers = [schema.BufferT()]  # the first one is empty, for tensors without a value
    for shape, array in [(input_shape, None), *((array.shape, array) for array in outputs)]:
        tensor = schema.TensorT()
        tensor.shape, tensor.type = list(shape), schema.TensorType.FLOAT32
        if array is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(array.astype("<f4").tobytes(), np.uint8)
            tensor.buffer = len(buffers)
            buffers.append(buffer)
        graph.tensors.append(tensor)
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [], [graph], buffers
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(builder.Output())
    return path


def save_landmarks(path, landmarks, person=1.0):
    """A landmark network that finds these 39 landmarks, (x, y, z, visibility, presence), and a person."""
    return save_constant(path, (1, 256, 256, 3), landmarks.reshape(1, -1), np.full((1, 1), person))
