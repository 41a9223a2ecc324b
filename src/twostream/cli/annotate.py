"""`twostream-annotate`: estimate the joints in a folder of photos and write an annotation file."""

from pathlib import Path

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig

from twostream.cli import counted
from twostream.data.keypoints import TORSO, found
from twostream.data.pose_estimators import annotate


def main(cfg: DictConfig) -> None:
    """Annotate the images in the folder `cfg.images` and print how many joints were found."""
    estimator = instantiate(cfg.pose_estimator)
    joints = annotate(Path(cfg.images), estimator, Path(cfg.out))
    is_found = found(np.stack(list(joints.values())))
    print(f"{estimator.name}: {counted(int(is_found.sum()), 'joint')} in {counted(len(joints), 'image')}")
    print(f"both shoulders and both hips found in {is_found[:, TORSO].all(axis=1).sum()} of them")
    print(cfg.out)
