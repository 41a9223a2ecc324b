import pytest

from onnx_models import save_rtmpose
from tiny_run import overrides_of_tiny_run


@pytest.fixture
def tiny(people_parent):
    """Overrides of a tiny run but for its folder, which Hydra chooses."""
    return overrides_of_tiny_run(people_parent)


@pytest.fixture
def pose_file(tmp_path):
    """An RTMPose of input 24x32 that finds every joint at the centre of its input."""
    return save_rtmpose(tmp_path / "pose.onnx", {joint: (24, 32) for joint in range(17)})
