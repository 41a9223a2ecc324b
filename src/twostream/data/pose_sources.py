"""Target poses from what users have: presets, pose files, photos, folders of them, videos."""

import itertools
import json
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from tqdm import tqdm

from twostream.data.frame import Frame
from twostream.data.images import read_image
from twostream.data.keypoints import MISSING
from twostream.data.pose_estimators import PoseEstimator
from twostream.data.pose_files import Joints, read_poses
from twostream.data.videos import RGB, VIDEO_SUFFIXES, read_video
from twostream.files import IMAGE_SUFFIXES

Size = tuple[int, int]


class Poses(NamedTuple):
    """Poses by name, in order."""

    joints: dict[str, Joints]
    in_network_frame: bool  # pixels of the network's image; otherwise of the source's


def load_presets(network_size: Size) -> dict[str, list[Joints]]:
    """Return the poses that come with the package, in the network's frame: one for a pose, several for a sequence."""
    content = json.loads(files("twostream.data").joinpath("presets.json").read_text(encoding="utf-8"))
    frame = Frame(tuple(content["image_size"]), network_size)
    return {
        name: [_to_network(frame, np.where(np.equal(pose, MISSING), np.nan, pose)) for pose in poses]
        for name, poses in content["poses"].items()
    }


def find_poses(
    source: str, network_size: Size, estimator: PoseEstimator | None = None, pose_size: Size | None = None
) -> Poses:
    """Return the poses of a source.

    Args:
        source: the name of a preset; an annotation file or JSON (`read_poses`); a photo or a video, or a folder of
            photos or of JSON files. A file or folder comes before a preset of its name.
        network_size: height and width of the network's images.
        estimator: finds the poses of photos and videos.
        pose_size: height and width of the image that the poses of files belong to; None: they are in pixels of the
            source image.

    Raises ValueError, in one line that names the source, if there are no poses, no person or no estimator.

    """
    path = Path(source)
    if not path.exists():
        presets = load_presets(network_size)
        if source not in presets:
            raise ValueError(f"pose: expected a file, a folder or a preset ({', '.join(presets)}), got {source!r}")
        poses = presets[source]
        return Poses(_numbered(source, poses), True)
    if path.is_dir():
        return _of_folder(path, network_size, estimator, pose_size)
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES or suffix in VIDEO_SUFFIXES:
        return _estimated([path], network_size, estimator)
    return _framed(read_poses(path), network_size, pose_size)


def fill_gaps(poses: Float[np.ndarray, "t 18 2"], max_gap: int) -> Float[np.ndarray, "t 18 2"]:
    """Interpolate joints that are missing (NaN) in at most `max_gap` consecutive frames between two that have them."""
    filled = poses.copy()
    for joint in range(poses.shape[1]):
        found = np.flatnonzero(~np.isnan(poses[:, joint, 0]))
        for before, after in itertools.pairwise(found):
            if 1 < after - before <= max_gap + 1:
                weights = np.linspace(0, 1, after - before + 1)[1:-1, None]
                filled[before + 1 : after, joint] = (1 - weights) * poses[before, joint] + weights * poses[after, joint]
    return filled


def _of_folder(path: Path, network_size: Size, estimator: PoseEstimator | None, pose_size: Size | None) -> Poses:
    inner = sorted(one for one in path.iterdir() if not one.name.startswith("."))
    photos = [one for one in inner if one.suffix.lower() in IMAGE_SUFFIXES]
    if photos:
        return _estimated(photos, network_size, estimator)
    poses = {name: pose for one in inner if one.suffix.lower() == ".json" for name, pose in read_poses(one).items()}
    if not poses:
        raise ValueError(f"{path}: expected a folder of JSON files or photos, got neither")
    return _framed(poses, network_size, pose_size)


def _framed(poses: dict[str, Joints], network_size: Size, pose_size: Size | None) -> Poses:
    if pose_size is None:
        return Poses(poses, False)
    frame = Frame(pose_size, network_size)
    return Poses({name: _to_network(frame, pose) for name, pose in poses.items()}, True)


def _estimated(paths: list[Path], network_size: Size, estimator: PoseEstimator | None) -> Poses:
    """Return the poses in photos, each in a frame of its own, or those in the frames of a video in a common one."""
    if estimator is None:
        raise ValueError(f"pose_estimator: expected an estimator for the pose in {paths[0]}, got none")
    (first, *_) = paths
    if first.suffix.lower() not in VIDEO_SUFFIXES:
        poses = {}
        for path in tqdm(paths, desc="Estimate poses", unit="image", disable=None):
            image = read_image(path)
            joints = _estimate(image, estimator)
            if np.isnan(joints).all():
                raise ValueError(f"{path}: expected a person, {estimator.name} found none")
            frame = Frame(image.shape[:2], network_size, torch.from_numpy(joints).float())
            poses[path.stem] = _to_network(frame, joints)
        return Poses(poses, True)
    size: Size = (0, 0)
    found = []
    for image in tqdm(read_video(first), desc="Estimate poses", unit="frame", disable=None):
        size = image.shape[:2]
        found.append(_estimate(image, estimator))
    joints = np.stack(found)
    if np.isnan(joints).all():
        raise ValueError(f"{first}: expected a person, {estimator.name} found none in {len(joints)} frames")
    frame = Frame(size, network_size, torch.from_numpy(joints).float())
    return Poses(_numbered(first.stem, [_to_network(frame, one) for one in joints]), True)


def _estimate(image: RGB, estimator: PoseEstimator) -> Joints:
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    (joints,) = estimator(pixels)
    return np.where(joints == MISSING, np.nan, joints).astype(float)


def _to_network(frame: Frame, pose: Joints) -> Joints:
    return frame.joints_to_network(torch.from_numpy(pose)[None]).numpy()[0]


def _numbered(stem: str, poses: Iterable[Joints]) -> dict[str, Joints]:
    listed = list(poses)
    return {stem: listed[0]} if len(listed) == 1 else {f"{stem}_{i:04d}": pose for i, pose in enumerate(listed)}
