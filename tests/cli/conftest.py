import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tiny_run import overrides_of_tiny_run


@pytest.fixture
def tiny(people_parent, tmp_path):
    """Overrides of a tiny run but for its folder, which Hydra chooses."""
    return [
        override.replace("generator.num_blocks=2", "generator.num_blocks=1")
        for override in overrides_of_tiny_run(people_parent, tmp_path)
        if not override.startswith(("run_dir=", "variant="))
    ]


@pytest.fixture
def pose_file(tmp_path):
    """An RTMPose of input 24x32 that finds every joint at the centre of its input."""
    nodes, outputs = [], []
    for name, shape in {"simcc_x": (1, 17, 48), "simcc_y": (1, 17, 64)}.items():
        peak = np.zeros(shape, np.float32)
        peak[:, :, shape[2] // 2] = 0.9
        nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(peak)))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, (1, 3, 32, 24))]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs)
    path = tmp_path / "pose.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path
