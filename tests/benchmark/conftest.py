from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from tiny_run import compose_config, overrides_of_tiny_run

SMALL = [f"generators.{name}.{key}" for name in ("two_stream", "patn") for key in ("width=8", "num_blocks=2")]
SMALL += [f"discriminators.{name}.{key}" for name in ("appearance", "shape") for key in ("width=8", "num_blocks=1")]


@pytest.fixture(scope="session")
def cfg() -> DictConfig:
    """The `benchmark` config as it is."""
    return compose_config("benchmark")


@pytest.fixture
def benchmark_config(people_parent, tmp_path) -> Callable[..., DictConfig]:
    """Composes the `benchmark` config of tiny networks and data with further overrides."""
    tiny = [
        override
        for override in overrides_of_tiny_run(people_parent, tmp_path)
        if override.split(".")[0] in ("data", "generator")
    ]

    def compose_tiny(*overrides: str) -> DictConfig:
        return compose_config("benchmark", *tiny, *SMALL, *overrides)

    return compose_tiny


@pytest.fixture
def about() -> dict[str, object]:
    """What the command adds to the results of every part."""
    versions = {"torch": "2.15.0"}
    return {"hardware": "cpu", "commit": "abc", "dirty": False, "versions": versions, "optimized": ["attention"]}
