"""Tiny .onnx files in place of published pose estimators."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save_onnx(path, input_shape, nodes, outputs):
    inputs = {"input": input_shape}
    described = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in values.items()]
        for values in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "tiny", *described)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


def constant(name, array):
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(array)))


def save_constant(path, input_shape, **answers):
    """A model that returns the same arrays for every image."""
    nodes = [constant(name, array.astype(np.float32)) for name, array in answers.items()]
    return save_onnx(path, input_shape, nodes, {name: array.shape for name, array in answers.items()})


def save_rtmpose(path, peaks, size=(24, 32), input_shape=None, num_joints=17):
    """An RTMPose of input `size` (width x height) with the same peaks for every image.

    Peaks are at bins (x, y), half a pixel of the model's input each, by COCO joint; the other joints have none.
    """
    width, height = size
    simcc_x, simcc_y = np.zeros((1, num_joints, 2 * width)), np.zeros((1, num_joints, 2 * height))
    for joint, (x, y) in peaks.items():
        simcc_x[0, joint, x], simcc_y[0, joint, y] = 0.9, 0.9
    return save_constant(path, input_shape or [1, 3, height, width], simcc_x=simcc_x, simcc_y=simcc_y)


def save_detector(path, *boxes):
    """A YOLOX of input 32x32 that returns these boxes (left, top, right, bottom, score)."""
    return save_constant(path, [1, 3, 32, 32], dets=np.array(boxes)[None])
