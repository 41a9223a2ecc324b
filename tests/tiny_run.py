"""A run of one second, of few people, few pixels and few iterations, and what it leaves behind."""

import csv
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from twostream.cli import CONF

EXPERIMENTS = Path(CONF).resolve().parent / "experiments"
PEOPLE = {
    "image_size": (32, 16),
    "num_train_identities": 5,
    "num_test_identities": 2,
    "views_per_identity": 4,
    "num_test_pairs": 6,
    "num_workers": 1,
}


def tiny_people():
    """Return the data set of `PEOPLE`; imported here, after the axis checks are installed."""
    from synthetic_people.people import SyntheticPeople

    return SyntheticPeople(**PEOPLE)


def overrides_of_tiny_run(people_parent: Path, run_dir: Path | None = None) -> list[str]:
    """Return overrides that make any config a run of one second; without a folder for it, Hydra chooses one."""
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
        f"scoring.cache_dir={people_parent / 'cache'}",
        "scoring.num_workers=0",
        "scoring.evaluator.num_identities=4",
        "scoring.evaluator.num_val_identities=1",
        "scoring.evaluator.views_per_identity=2",
        "scoring.evaluator.iterations=2",
        *([f"run_dir={run_dir}", "variant=full"] if run_dir else []),
    ]


def compose_config(name: str, *overrides: str, **options: Any) -> DictConfig:
    """Compose the config of a command."""
    with initialize_config_dir(version_base="1.3", config_dir=CONF):
        return compose(name, [*overrides], **options)


def train_tiny(people_parent: Path, run_dir: Path, *overrides: str) -> DictConfig:
    """Train and evaluate a run of one second with further overrides; return its config."""
    from twostream.cli.train import train_and_evaluate

    cfg = compose_config("train", *overrides_of_tiny_run(people_parent, run_dir), *overrides)
    train_and_evaluate(cfg, run_dir)
    return cfg


def fit(cfg: DictConfig) -> Any:
    """Train the run of a config from fixed weights, without evaluation; return its trainer."""
    import torch

    from twostream.build import build_datamodule, build_module, build_trainer

    torch.manual_seed(0)
    module, trainer = build_module(cfg), build_trainer(cfg)
    with warnings.catch_warnings():
        # Python 3.12 on forks of processes with threads.
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork")
        trainer.fit(module, datamodule=build_datamodule(cfg))
    return trainer


def read_curves(run_dir: Path) -> list[dict[str, float]]:
    """Return the rows of a run's curves, without empty cells."""
    with (run_dir / "logs" / "metrics.csv").open(newline="") as file:
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]


def by_metric(entries: list[dict[str, Any]], key: str) -> dict[tuple[str, str], Any]:
    """Return a key of the entries of a metrics.json by metric and protocol."""
    return {(entry["metric"], entry["protocol"]): entry[key] for entry in entries}


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested dicts, lists and tuples with their paths."""
    if isinstance(value, dict | list | tuple):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, f"{name}.{key}")
    else:
        yield name, value


def assert_same_leaves(one: Any, other: Any, ignored: str = "nothing") -> None:
    """Check that nested values are equal bit by bit, except for paths that contain `ignored`."""
    import torch

    left, right = ({name: leaf for name, leaf in leaves(end) if ignored not in name} for end in (one, other))
    assert left.keys() == right.keys()
    for name, value in left.items():
        same = torch.equal(value, right[name]) if isinstance(value, torch.Tensor) else value == right[name]
        assert same, name
