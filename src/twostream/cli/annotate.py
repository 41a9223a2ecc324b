"""`twostream-annotate`: estimate the keypoints of a folder of photos and write PATN's annotation file."""

import logging
from pathlib import Path

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig

from twostream.cli import CONF
from twostream.cli.errors import exit_on_error
from twostream.data.pose_estimators import annotate

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path=CONF, config_name="annotate")
def main(cfg: DictConfig) -> None:
    """Annotate the images in the folder `cfg.images` and print how many keypoints were found."""
    images, out = Path(cfg.images), Path(cfg.out)
    with exit_on_error(log):
        estimator = instantiate(cfg.pose_estimator)
        report = annotate(images, estimator, out)
        print(f"{estimator.name}: {report.num_found_joints} keypoints in {report.num_images} images")
        print(f"both shoulders and both hips in {report.num_torsos} of them")
        print(out)
