"""From a data set's download to the data folder that training reads."""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from twostream.data.keypoints import JointArray, found, write_annotations
from twostream.data.manifest import SPLITS, write_manifest
from twostream.data.pairs import Pair, draw_pairs, matching_pairs, pairs_hash, read_pairs, write_pairs
from twostream.data.pose_estimators import PoseEstimator
from twostream.files import first_lines, sha256_of, write_json
from twostream.prepare.folder import (
    SETTINGS,
    check_folder,
    count_tables,
    differences_to_published,
    estimate_joints,
    make_pairs,
    write_images,
)
from twostream.prepare.sources import KINDS, Preset, Source

VERSION = 2  # increases with every change that changes a prepared file
UNPACKED = ".unpacked"
UNFINISHED = ".annotation-{}.unfinished.csv"


@dataclass(frozen=True)
class Request:
    """What a user asks for."""

    source: Path  # the downloaded zip or folder
    estimator: Callable[[], PoseEstimator]  # is called only if a split has no published joints
    estimator_settings: Mapping[str, Any]  # all that determines what the estimator finds
    annotations: Path | None = None  # folder of published files; that of the source is searched next
    files: Mapping[str, Path] = field(default_factory=dict)  # by setting: annotations_SPLIT, pairs_SPLIT, SPLIT_list
    annotation_frame: int | None = None  # width of the images that annotations were made for; None detects it
    strict: bool = True  # refuse images that are named but cannot be used; False leaves them out
    seed: int = 0  # of drawn test pairs
    num_workers: int = 0  # threads that write images


@dataclass
class Subset:
    """A split of the data set, as far as it is known."""

    split: str
    images: dict[str, str]  # image name -> name in the source, in the order of the split
    files: dict[str, Path | None]  # published "annotations" and "pairs", if any
    problems: list[str]  # a line for each image that a list, an annotation or a pair names and that cannot be used
    notes: list[str] = field(default_factory=list)  # on the published annotations, for the report
    joints: dict[str, JointArray] = field(default_factory=dict)  # by image name, in the frame of the prepared images
    annotated_by: str = ""  # origin of the joints
    annotation_frame: int | None = None  # width of the images that `files` annotates, if the data set has several
    pairs: list[Pair] = field(default_factory=list)  # names of source and target image
    paired_by: str = ""  # origin of the pairs


def prepare(preset: Preset, request: Request, root: Path) -> tuple[dict[str, Any], int | None]:
    """Prepare the data folder `root`: resume an interrupted preparation, and only verify a complete one.

    The manifest is written last: a folder with a manifest is complete.

    Returns:
        The manifest, and how many images were written; None if the folder was complete.

    Raises:
        ValueError: inputs are missing, damaged or do not match, or the folder has other settings or files.
    """
    source, lists, subsets = find(preset, request, root / UNPACKED)
    settings = _settings(preset, request, source, subsets)
    images = {subset.split: subset.images for subset in subsets}
    if manifest := check_folder(root, settings, images):
        return manifest, None
    for subset in subsets:
        read_published(preset, subset, request)
    problems = [problem for subset in subsets for problem in subset.problems]
    if problems and request.strict:
        first = f"{len(problems)} images are named but cannot be used; strict=false leaves them out:"
        raise ValueError("\n".join([first, *first_lines(problems)]))
    # Created before any image is written, so that missing weights are reported at once.
    estimator = None if all(subset.joints for subset in subsets) else request.estimator()
    write_json(root / SETTINGS, settings)
    num_written = write_images(source, preset, images, root, request.num_workers)
    for subset in subsets:
        complete_tables(preset, request, subset, estimator, root)
    content = {
        **_counts(preset, subsets),
        "settings": settings,
        "frame": list(preset.image_size),
        "codec": settings["codec"],
        "written_with": f"Pillow {PIL.__version__}",
        "annotated_by": {subset.split: subset.annotated_by for subset in subsets},
        "annotation_frame": {subset.split: subset.annotation_frame for subset in subsets},
        "estimator_weights": None if estimator is None else estimator.weights_hash,
        "pairs": {subset.split: subset.paired_by for subset in subsets},
        "notes": _notes(len(preset.find_images(source.sizes)), subsets),
        "inputs": _inputs(request.source, lists, subsets),
    }
    manifest = write_manifest(root, content)
    shutil.rmtree(root / UNPACKED, ignore_errors=True)
    for split in SPLITS:
        (root / UNFINISHED.format(split)).unlink(missing_ok=True)
    return manifest, num_written


def find(preset: Preset, request: Request, scratch: Path) -> tuple[Source, dict[str, bytes], list[Subset]]:
    """Find the images, their split and the published files; a zip inside a zip is extracted to the folder `scratch`.

    Returns the source that contains the images, the content of the lists that split them, by file name, and the splits.
    Raises ValueError if there are no images, nothing determines their split, a file that the user names does not exist,
    or there are several published files of one kind.
    """
    for setting, path in request.files.items():
        if not path.is_file():
            raise ValueError(f"{setting}: file not found: {path}")
    folders = [request.source if request.source.is_dir() else request.source.parent]
    if request.annotations is not None:
        if not request.annotations.is_dir():
            raise ValueError(f"annotations: folder not found: {request.annotations}")
        folders.insert(0, request.annotations)
    outer = Source(request.source)
    for source in chain([outer], outer.open_inner(preset.archives, scratch)):
        if all_images := preset.find_images(source.sizes):
            break
    else:
        shutil.rmtree(scratch, ignore_errors=True)
        raise ValueError(f"{outer.path}: expected images of {preset.label} ({preset.layout}), got none")
    named = {f"{split}.lst": request.files[f"{split}_list"] for split in SPLITS if f"{split}_list" in request.files}
    lists = preset.find_lists(named, folders, (outer, source))
    subsets = []
    for split, names in preset.split(all_images, lists).items():
        images = {name: all_images[name] for name in names if name in all_images}
        if not images:
            split_by = f", split by {' and '.join(lists)}" if lists else ""
            raise ValueError(f"{request.source}: expected {split} images ({preset.layout}{split_by}), got none")
        where = f"is in {' or '.join(lists)} but not in the source"
        missing = [f"{split}: {name} {where}" for name in names if name not in images]
        files = {kind: request.files.get(f"{kind}_{split}") or preset.find_file(kind, split, folders) for kind in KINDS}
        if request.annotations is not None and files["annotations"] is None:
            expected = " or ".join(preset.file_names("annotations", split))
            raise ValueError(f"{request.annotations}: expected {expected}, file not found")
        subsets.append(Subset(split, images, files, missing))
    return source, lists, subsets


def read_published(preset: Preset, subset: Subset, request: Request) -> None:
    """Read the published annotations and pairs of a split into its subset, as far as they name its images.

    A published draw of pairs that has no file is drawn again from the annotations, if they are the published ones.
    Raises ValueError for a malformed file, one that names no image of the split, and a frame that cannot be detected.
    """
    joints = _read_joints(preset, subset, request.annotation_frame) if subset.files["annotations"] else {}
    pairs: list[Pair] = []
    if path := subset.files["pairs"]:
        pairs = [(preset.plain_name(source), preset.plain_name(target)) for source, target in read_pairs(path)]
        subset.paired_by = f"file {path.name}"
    elif request.seed == 0 and (pairs := _published_draw(preset, subset.split, joints)):
        subset.paired_by = f"the published {len(pairs):,}, drawn again from the annotations"
    usable = subset.joints.keys() or subset.images.keys()
    subset.pairs = [pair for pair in pairs if usable >= set(pair)]
    for name in dict.fromkeys(chain.from_iterable(pairs)):
        if name not in usable:
            lack = "annotated" if name in subset.images else "in the source"
            subset.problems.append(f"{subset.split}: {name} is in a pair but not {lack}")
    if pairs and not subset.pairs:
        where = path or f"pairs_{subset.split}"
        raise ValueError(f"{where}: expected pairs of annotated {subset.split} images, got none of them")


def _read_joints(preset: Preset, subset: Subset, frame: int | None) -> dict[str, JointArray]:
    """Return all published joints in the frame of the prepared images; those of its images enter the subset."""
    split, path = subset.split, subset.files["annotations"]
    assert path is not None
    joints = preset.read_joints(path)
    moved, subset.annotation_frame = preset.to_frame(joints, frame, path)
    subset.joints = {name: array for name, array in moved.items() if name in subset.images}
    subset.annotated_by = f"file {path.name}"
    unknown = [name for name in moved if name not in subset.images]
    subset.problems += [f"{split}: {name} is annotated but not in the source" for name in unknown]
    if not subset.joints:
        raise ValueError(f"{path}: expected annotations of {split} images, got none of them")
    if num_lost := sum(int((found(array) & ~found(moved[name])).sum()) for name, array in joints.items()):
        subset.notes.append(
            f"{split}: {num_lost:,} keypoints move to x = -1 in the images' frame and read as not found"
        )
    if bare := len(subset.images) - len(subset.joints):
        subset.notes.append(f"{split}: {bare:,} images have no annotation")
    return moved


def _published_draw(preset: Preset, split: str, joints: Mapping[str, JointArray]) -> list[Pair]:
    """Draw the published pairs of a split again; empty if there is no such draw or the joints give another one."""
    pairs = matching_pairs(joints)
    if len(pairs) < preset.num_drawn.get(split, np.inf):
        return []
    drawn = draw_pairs(pairs, preset.num_drawn[split], seed=0)
    return drawn if pairs_hash(drawn) == preset.draw_hash[split] else []


def complete_tables(
    preset: Preset, request: Request, subset: Subset, estimator: PoseEstimator | None, root: Path
) -> None:
    """Estimate the joints and make the pairs of a split that are not published, and write both tables.

    Raises ValueError if no pair can be made.
    """
    split = subset.split
    if estimator is not None and not subset.joints:
        unfinished = root / UNFINISHED.format(split)
        subset.joints = estimate_joints(root / split, subset.images, estimator, unfinished, preset.image_size)
        subset.annotated_by = f"annotated by {estimator.name}, not the published keypoints"
    if not subset.pairs:
        num_drawn = preset.num_drawn.get(split)
        subset.pairs, subset.paired_by = make_pairs(subset.joints, num_drawn, request.seed, f"pairs_{split}")
    write_annotations(root / f"annotation-{split}.csv", subset.joints)
    write_pairs(root / f"pairs-{split}.csv", subset.pairs)


def _settings(preset: Preset, request: Request, source: Source, subsets: Sequence[Subset]) -> dict[str, Any]:
    """Return all that determines the files of the data folder."""
    first = next(iter(subsets[0].images.values()))
    try:
        _, codec = preset.convert(source.read(first))
    except ValueError as error:
        raise ValueError(f"{source.path}: {first}: {error}") from None
    names_and_sizes = hashlib.sha256()  # equal for a zip and what is unpacked from it
    for subset in subsets:
        for name in sorted(subset.images):
            names_and_sizes.update(f"{subset.split}/{name} {source.sizes[subset.images[name]]}\n".encode())
    settings: dict[str, Any] = {
        "version": VERSION,
        "label": preset.label,
        "codec": codec,
        "images": names_and_sizes.hexdigest(),
        "annotation_frame": request.annotation_frame,
        "strict": request.strict,
    }
    for subset in subsets:
        num_drawn = preset.num_drawn.get(subset.split)
        settings[f"annotations_{subset.split}"] = dict(request.estimator_settings)
        settings[f"pairs_{subset.split}"] = (
            "rule" if num_drawn is None else f"{num_drawn} drawn with seed {request.seed}"
        )
        settings |= {f"{kind}_{subset.split}": sha256_of(path) for kind, path in subset.files.items() if path}
    return settings


def _counts(preset: Preset, subsets: Sequence[Subset]) -> dict[str, Any]:
    """Return the counts of all splits, their differences to the published ones, and the label, which names a subset."""
    counts: dict[str, int] = {}
    for subset in subsets:
        counts |= count_tables(subset.split, len(subset.images), subset.joints, len(subset.pairs))
    is_subset = any(counts[key] < published for key, published in preset.published.items())
    label = f"{preset.label} subset" if is_subset else preset.label
    return {"label": label, **counts, "differences": differences_to_published(counts, preset.published)}


def _notes(num_images: int, subsets: Sequence[Subset]) -> list[str]:
    notes = []
    if num_unlisted := num_images - sum(len(subset.images) for subset in subsets):
        notes.append(f"{num_unlisted:,} images of the source are in no split and were left out")
    if left_out := sum(len(subset.problems) for subset in subsets):
        notes.append(f"{left_out:,} images that the lists, annotations or pairs name cannot be used and were left out")
    return [*notes, *chain.from_iterable(subset.notes for subset in subsets)]


def _inputs(source: Path, lists: Mapping[str, bytes], subsets: Sequence[Subset]) -> list[dict[str, str | None]]:
    """Name each input file with its SHA-256; of an unpacked download the settings contain a hash of names and sizes."""
    tables = [path for kind in KINDS for subset in subsets if (path := subset.files[kind])]
    files = [(path.name, None if path.is_dir() else sha256_of(path)) for path in (source, *tables)]
    files += [(name, hashlib.sha256(content).hexdigest()) for name, content in lists.items()]
    return [{"file": name, "sha256": digest} for name, digest in files]
