"""`twostream-annotate`: estimate the joints in a folder of photos and write an annotation file."""

import logging
from pathlib import Path

import hydra
import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig

from twostream.cli import CONF
from twostream.cli.errors import exit_on_error
from twostream.data.keypoints import TORSO, found
from twostream.data.pose_estimators import annotate

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path=CONF, config_name="annotate")
def main(cfg: DictConfig) -> None:
    """Annotate the images in the folder `cfg.images` and print how many joints were found."""
    with exit_on_error(log):
        estimator = instantiate(cfg.pose_estimator)
        joints = annotate(Path(cfg.images), estimator, Path(cfg.out))
        is_found = found(np.stack(list(joints.values())))
        print(f"{estimator.name}: {is_found.sum()} joints in {len(joints)} images")
        print(f"both shoulders and both hips found in {is_found[:, TORSO].all(axis=1).sum()} of them")
        print(cfg.out)
