"""`twostream-score`: score images that were generated elsewhere."""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from twostream.build import build_scoring, choose_device
from twostream.cli import counted
from twostream.cli.evaluate import print_scores
from twostream.evaluation.external import find_pairs, usable_pairs
from twostream.evaluation.scoring import score_external


def main(cfg: DictConfig) -> None:
    """Find the pairs in `cfg.images`, score them, print the values and write them to `cfg.out`."""
    scoring = build_scoring(cfg)
    found = find_pairs(instantiate(cfg.layout), Path(cfg.images), _path(cfg.targets), _path(cfg.annotations))
    pairs, left_out = usable_pairs(found, cfg.strict, scoring.num_workers)
    record = {"images": str(cfg.images), "scored": len(pairs), "left_out": left_out}
    content = score_external(
        pairs,
        scoring,
        Path(cfg.out),
        record,
        choose_device(cfg.device),
        protocol=cfg.protocol,
        train_images=_path(cfg.train_images),
        people_root=Path(cfg.people_root),
    )
    print_scores(content)
    print(f"{counted(len(pairs), 'image')} scored, {left_out} left out")
    print(cfg.out)


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)
