from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from twostream.cli import CONF
from twostream.data.synthetic.people import SyntheticPeople
from twostream.types import PosePair

# Nets this small are faster on one thread.
torch.set_num_threads(1)

PEOPLE = {
    "image_size": (32, 16),
    "num_train_identities": 5,
    "num_test_identities": 2,
    "views_per_identity": 4,
    "num_test_pairs": 6,
    "num_workers": 1,
}


@pytest.fixture(scope="session")
def people_parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a tiny set of generated people is rendered."""
    parent = tmp_path_factory.mktemp("people")
    SyntheticPeople(**PEOPLE).prepare(parent)
    return parent


@pytest.fixture(scope="session")
def people_folder(people_parent: Path) -> Path:
    return SyntheticPeople(**PEOPLE).prepare(people_parent)


def overrides_of_tiny_run(people_parent: Path, run_dir: Path) -> list[str]:
    """Overrides that make a run of a second out of any config."""
    source = [f"data.source.{key}={value}" for key, value in PEOPLE.items() if key != "image_size"]
    return [
        *source,
        f"data.root={people_parent}",
        "data.image_size=[32,16]",
        "data.batch_size=2",
        "data.num_val_identities=1",
        "data.num_val_pairs=3",
        "generator.width=4",
        "generator.num_blocks=2",
        "schedule.constant_iterations=2",
        "schedule.decay_iterations=2",
        "trainer=cpu",
        "trainer.val_check_interval=2",
        "trainer.log_every_n_steps=1",
        "callbacks.checkpoints.every_n_iterations=2",
        f"run_dir={run_dir}",
        "variant=full",
    ]


@pytest.fixture
def tiny_config(people_parent: Path, tmp_path: Path) -> Callable[..., DictConfig]:
    """Composes the `train` config of a tiny run with further overrides."""

    def compose_tiny(*overrides: str) -> DictConfig:
        with initialize_config_dir(version_base="1.3", config_dir=CONF):
            return compose("train", [*overrides_of_tiny_run(people_parent, tmp_path / "run"), *overrides])

    return compose_tiny


@pytest.fixture
def random_pair() -> PosePair:
    """A batch of two pairs of random 32x16 pictures and heatmaps."""
    random = torch.Generator().manual_seed(0)

    def draw(channels: int, low: float) -> torch.Tensor:
        return torch.rand(2, channels, 32, 16, generator=random) * (1 - low) + low

    return PosePair(draw(3, -1), draw(18, 0), draw(18, 0), draw(3, -1))
