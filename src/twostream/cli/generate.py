"""`twostream-generate`: people of images in the poses of files."""

from pathlib import Path

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig
from PIL import Image
from tqdm import tqdm

from twostream.cli.errors import command
from twostream.data.images import read_image
from twostream.data.pose_files import Joints, read_poses
from twostream.evaluation.external import image_names, stem_of
from twostream.files import atomic_write
from twostream.inference import PoseTransfer


@command("generate")
def main(cfg: DictConfig) -> None:
    """Generate every source in every pose that `cfg.out` does not hold yet, and print how many images are there."""
    estimator = instantiate(cfg.pose_estimator) if "pose_estimator" in cfg else None
    model = PoseTransfer.load(cfg.model, cfg.device, cfg.averaged, estimator)
    sources = _sources(Path(cfg.source))
    joints = {stem_of(name): pose for name, pose in read_poses(Path(cfg.joints)).items()} if cfg.joints else {}
    if estimator is None and (lacking := [path.name for path in sources if stem_of(path.name) not in joints]):
        raise ValueError(f"joints: expected the joints of {lacking[0]}, or a pose_estimator, got neither")
    poses = read_poses(Path(cfg.pose))
    out = Path(cfg.out)
    todo = [(source, name) for source in sources for name in poses]
    for source, name in tqdm(todo, desc="Generate", unit="image", disable=None):
        path = out / f"{source.stem}_2_{stem_of(name)}.png"
        if path.exists():
            continue
        image = Image.fromarray(read_image(source, apply_orientation=True))
        pose = _in_frame(poses[name], cfg.pose_size, image)
        generated = model(image, pose, joints.get(stem_of(source.name)))
        with atomic_write(path) as temporary:
            generated.save(temporary)
    print(f"{len(todo)} images in {out}")


def _sources(path: Path) -> list[Path]:
    return [path / name for name in image_names(path)] if path.is_dir() else [path]


def _in_frame(pose: Joints, size: list[int] | None, image: Image.Image) -> Joints:
    """Scale a pose from an image of height and width `size` to the frame of an image."""
    return pose if size is None else (pose + 0.5) * np.divide((image.height, image.width), size) - 0.5
