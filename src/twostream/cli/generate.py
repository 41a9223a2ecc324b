"""`twostream-generate`: people of images in the poses of files, photos, videos and presets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from tqdm import tqdm

from twostream.cli import counted
from twostream.data.frame import Frame
from twostream.data.images import read_image
from twostream.data.keypoints import reach
from twostream.data.pose_estimators import PoseEstimator
from twostream.data.pose_files import Joints, read_poses
from twostream.data.pose_sources import Poses, fill_gaps, find_poses
from twostream.data.videos import check_format, write_video
from twostream.data.visualize import draw_pose
from twostream.evaluation.external import image_names, stem_of
from twostream.files import atomic_write, first_lines, read_object, sha256_of, write_json
from twostream.inference import PoseTransfer, described_in
from twostream.model_package import DEFAULT_MODEL, find_model
from twostream.runs import differences

SETTINGS = "settings.json"  # of the generated files, beside them


def main(cfg: DictConfig) -> None:
    """Generate what `cfg.out` does not hold yet, every source in every pose, and print how many files are there."""
    estimator = instantiate(cfg.pose_estimator) if "pose_estimator" in cfg else None
    suffix = f".{cfg.video}" if cfg.video else ".png"
    if cfg.video:
        check_format(cfg.video)
    if cfg.fps <= 0:
        raise ValueError(f"fps: expected more than 0 frames per second, got {cfg.fps}")
    model = PoseTransfer.load(cfg.model or DEFAULT_MODEL, cfg.device, cfg.averaged, estimator)
    sources = _sources(Path(cfg.source))
    if missing := [path for path in sources if not path.exists()]:
        raise ValueError(f"source: file not found: {missing[0]}")
    joints = {stem_of(name): pose for name, pose in read_poses(Path(cfg.joints)).items()} if cfg.joints else {}
    if estimator is None and (lacking := [path.name for path in sources if stem_of(path.name) not in joints]):
        raise ValueError(f"joints: expected the joints of {lacking[0]}, or a pose_estimator, got neither")
    pose_size = tuple(cfg.pose_size) if cfg.pose_size else None
    poses = find_poses(cfg.pose, model.image_size, estimator, pose_size)
    if cfg.video:
        filled = fill_gaps(np.stack(list(poses.joints.values())), cfg.max_gap)
        poses = poses._replace(joints=dict(zip(poses.joints, filled, strict=True)))
    out = Path(cfg.out)
    pose = Path(cfg.pose)
    names = [pose.stem if pose.is_file() else pose.name] if cfg.video else [stem_of(name) for name in poses.joints]
    paths = {source: [out / f"{source.stem}_2_{name}{suffix}" for name in names] for source in sources}
    note_settings([path for files in paths.values() for path in files], out, _settings(cfg, estimator))
    problems = []
    with tqdm(total=len(sources) * len(poses.joints), desc="Generate", unit="image", disable=None) as bar:
        for source, files in paths.items():
            if all(path.exists() for path in files):
                continue
            images = generate(model, source, joints.get(stem_of(source.name)), poses, cfg.side_by_side)
            try:
                if cfg.video:
                    write_video(files[0], [np.array(image) for image in _counted(images, bar)], cfg.fps)
                else:
                    _write_images(files, _counted(images, bar))
            except UnusableSource as problem:
                problems.append(str(problem))
    count = sum(path.exists() for files in paths.values() for path in files)
    print(f"{counted(count, 'video' if cfg.video else 'image')} in {out}")
    if problems:
        raise ValueError("\n".join(first_lines(problems)))


def note_settings(paths: list[Path], out: Path, settings: dict[str, Any]) -> None:
    """Note in `settings.json` of a folder how files are generated.

    Raises ValueError, in one line with the difference, if a file exists for which other settings are noted.
    """
    noted = read_object(out / SETTINGS) or {}
    for name in (path.name for path in paths if path.exists()):
        if changes := differences({name: noted.get(name, settings)}, {name: settings}):
            raise ValueError(f"{out / SETTINGS}: {changes}; remove {name}, or choose another folder with out=FOLDER")
    write_json(out / SETTINGS, noted | {path.name: settings for path in paths})


def _settings(cfg: DictConfig, estimator: PoseEstimator | None) -> dict[str, Any]:
    """Return what changes the files that are generated of one source and pose."""
    model = sha256_of(described_in(find_model(cfg.model or DEFAULT_MODEL)))[:12]
    found_by = f"{estimator.name} {estimator.weights_hash[:12]}" if estimator else None
    keys = ["averaged", "pose_size", "side_by_side", *(["fps", "max_gap"] if cfg.video else [])]
    chosen: Any = OmegaConf.to_container(OmegaConf.masked_copy(cfg, keys))
    return {"model": model, "pose_estimator": found_by, **chosen}


class UnusableSource(ValueError):
    """A source image that cannot be read, or in which no person was found; the others are generated all the same."""


def generate(
    model: PoseTransfer, source: Path, joints: Joints | None, poses: Poses, side_by_side: bool
) -> Iterator[Image.Image]:
    """Yield the person of an image in each pose; side by side with source and pose on request."""
    try:
        image = Image.fromarray(read_image(source))
        check_inside(joints, image, "joints")
        view = model.view(image, joints)
    except ValueError as error:
        message = str(error)
        raise UnusableSource(message if message.startswith(str(source)) else f"{source}: {message}") from None
    own = view.frame.joints_from_network(view.joints)[0].numpy()
    for pose in poses.joints.values():
        target = torch.from_numpy(pose)[None].float()
        if not poses.in_network_frame:
            try:
                check_inside(pose, image, "pose")
            except ValueError as error:
                raise UnusableSource(f"{source}: {error}") from None
        if poses.in_network_frame:
            target = view.frame.joints_from_network(target)
        generated = model(image, target.numpy(), own)
        yield _strip(image, target[0], generated, view.frame) if side_by_side else generated


def check_inside(joints: Joints | None, image: Image.Image, name: str) -> None:
    """Raise ValueError, beginning with `name`, for joints that are far outside of an image."""
    if joints is None:
        return
    for axis, side, values in zip("yx", (image.height, image.width), joints.T, strict=True):
        lowest, highest = -reach(side), side - 1 + reach(side)
        if (outside := (values < lowest) | (values > highest)).any():
            got = f"{axis} = {values[outside][0]:g}"
            raise ValueError(f"{name}: expected {axis} of {lowest} to {highest} in this image, got {got}")


def _strip(image: Image.Image, target: torch.Tensor, generated: Image.Image, frame: Frame) -> Image.Image:
    """Place source, pose and result side by side; the pose is drawn for the part of the image that the network sees."""
    drawn = draw_pose(target - torch.tensor(frame.start), frame.part, 1).permute(1, 2, 0).numpy()
    strip = Image.new("RGB", (3 * image.width, image.height))
    strip.paste(image, (0, 0))
    strip.paste(Image.fromarray(drawn), (image.width + frame.start[1], frame.start[0]))
    strip.paste(generated, (2 * image.width, 0))
    return strip


def _counted(images: Iterator[Image.Image], bar: tqdm) -> Iterator[Image.Image]:
    for image in images:
        yield image
        bar.update()


def _write_images(paths: list[Path], images: Iterator[Image.Image]) -> None:
    for path, image in zip(paths, images, strict=True):
        if not path.exists():
            with atomic_write(path) as temporary:
                image.save(temporary)


def _sources(path: Path) -> list[Path]:
    return [path / name for name in image_names(path)] if path.is_dir() else [path]
