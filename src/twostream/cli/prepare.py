"""`twostream-prepare`: from a data set's official download to the data folder that training reads."""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from twostream.cli import counted
from twostream.data.pairs import write_pairs
from twostream.prepare.folder import make_pairs, report
from twostream.prepare.own import OwnPhotos, prepare_own
from twostream.prepare.pipeline import Request, prepare

FILES = ("annotations_train", "annotations_test", "pairs_train", "pairs_test", "train_list", "test_list")


def main(cfg: DictConfig) -> None:
    """Run the step `cfg.step` and print its results. Raises ValueError if it is unknown or lacks a path."""
    if cfg.step not in STEPS:
        raise ValueError(f"step: expected {' or '.join(STEPS)}, got {cfg.step!r}")
    required, step = STEPS[cfg.step]
    for key in required:
        if not cfg[key]:
            raise ValueError(f"{key}: expected a path, step={cfg.step} needs {key}=PATH")
    step(cfg)


def _prepare(cfg: DictConfig) -> None:
    preset, estimator, root = instantiate(cfg.preparation), cfg.pose_estimator, Path(cfg.data.root)
    settings = {str(key): estimator[key] for key in estimator if key not in ("device", "download")}
    if isinstance(preset, OwnPhotos):
        print(report(prepare_own(preset, Path(cfg.source), instantiate(estimator), settings, root, cfg.seed), {}))
        print(root)
        return
    request = Request(
        source=Path(cfg.source),
        estimator=lambda: instantiate(estimator),
        estimator_settings=settings,
        annotations=Path(cfg.annotations) if cfg.annotations else None,
        files={key: Path(cfg[key]) for key in FILES if cfg[key] is not None},
        annotation_frame=cfg.annotation_frame,
        strict=cfg.strict,
        seed=cfg.seed,
        num_workers=cfg.num_workers,
    )
    manifest, num_written = prepare(preset, request, root)
    print(report(manifest, preset.published))
    done = "complete, all files verified" if num_written is None else f"{counted(num_written, 'image')} written"
    print(f"{root}: {done}")


def _write_pairs(cfg: DictConfig) -> None:
    joints = instantiate(cfg.preparation).read_joints(Path(cfg.annotations))
    pairs, _ = make_pairs(joints, num_drawn=None, seed=0, where=cfg.annotations)
    write_pairs(Path(cfg.out), pairs)
    print(f"{counted(len(pairs), 'pair')}\n{cfg.out}")


STEPS = {"all": (("source",), _prepare), "pairs": (("annotations", "out"), _write_pairs)}
