"""`twostream-prepare`: from a data set's official download to the folder that the trainer reads."""

import logging
from functools import partial
from pathlib import Path

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig

from twostream.cli import CONF
from twostream.cli.errors import exit_on_error
from twostream.prepare.pipeline import Choices, Estimation, pairs_alone, prepare
from twostream.prepare.plan import Inputs
from twostream.prepare.preparation_report import report

log = logging.getLogger(__name__)

FILES = ("annotations_train", "annotations_test", "pairs_train", "pairs_test", "train_list", "test_list")
# Of an estimator's settings, those that do not change what it finds.
NOT_OF_THE_DATA = ("device", "download")


@hydra.main(version_base="1.3", config_path=CONF, config_name="prepare")
def main(cfg: DictConfig) -> None:
    """Do the step `cfg.step` and print what came out."""
    with exit_on_error(log):
        do_step(cfg)


def do_step(cfg: DictConfig) -> None:
    """Do the step `cfg.step`. Raises ValueError where there is none of that name."""
    if cfg.step not in STEPS:
        raise ValueError(f"step: expected {' or '.join(STEPS)}, got {cfg.step!r}")
    STEPS[cfg.step](cfg)


def whole_way(cfg: DictConfig) -> None:
    """Prepare the data folder and print the report."""
    preset = instantiate(cfg.preparation)
    annotations = None if cfg.annotations is None else Path(cfg.annotations)
    inputs = Inputs(_path(cfg, "source"), annotations, {key: Path(cfg[key]) for key in FILES if cfg[key] is not None})
    choices = Choices(cfg.annotation_frame, cfg.strict, cfg.seed, cfg.num_workers)
    settings = {str(key): value for key, value in cfg.pose_estimator.items() if key not in NOT_OF_THE_DATA}
    root = Path(cfg.data.root)
    outcome = prepare(preset, inputs, root, choices, Estimation(partial(instantiate, cfg.pose_estimator), settings))
    print(report(outcome.manifest, preset.about.published))
    if outcome.num_written is None:
        print(f"{root} was whole already: every file was checked, nothing was written")
    else:
        print(f"{root}: {outcome.num_written} pictures written now")


def pairs_step(cfg: DictConfig) -> None:
    """Write the pairs of one annotation file and print their number."""
    out = _path(cfg, "out")
    num_pairs = pairs_alone(instantiate(cfg.preparation), _path(cfg, "annotations"), out)
    print(f"{num_pairs} pairs")
    print(out)


STEPS = {"all": whole_way, "pairs": pairs_step}


def _path(cfg: DictConfig, key: str) -> Path:
    if not cfg[key]:
        raise ValueError(f"{key}: expected a path, step={cfg.step} needs {key}=PATH")
    return Path(cfg[key])
