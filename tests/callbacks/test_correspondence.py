from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from twostream.build import build_datamodule, build_module, build_trainer
from twostream.callbacks import correspondence
from twostream.callbacks.correspondence import CorrespondencePictures, draw_pair
from twostream.data.visualize import GAP, LINE_HEIGHT


class PictureLogger:
    """Takes pictures as W&B's logger does."""

    def __init__(self):
        self.taken = []

    def log_image(self, key, images, step):
        self.taken.append((key, [Path(image).name for image in images], step))


def fit(cfg):
    build_trainer(cfg).fit(build_module(cfg), datamodule=build_datamodule(cfg))


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_a_picture_is_written_after_each_validation(tiny_config, tmp_path):
    fit(tiny_config("callbacks.correspondence.num_pairs=2"))
    paths = sorted((tmp_path / "run/samples").glob("correspondence_*"))
    assert [path.name for path in paths] == ["correspondence_000002.png", "correspondence_000004.png"]
    # Two pairs of two rows, source, target and two blocks beside each other at six times 32x16, and the footnote.
    first, last = map(pixels, paths)
    assert first.shape == (4 * (192 + LINE_HEIGHT + GAP) + LINE_HEIGHT, 4 * (96 + GAP), 3)
    assert not np.array_equal(first, last)
    assert not list((tmp_path / "run/samples").glob(".*"))


def test_without_at_modules_there_is_nothing_to_draw(tiny_config, tmp_path):
    fit(tiny_config("ablation=no_at_module"))
    assert sorted(path.name for path in (tmp_path / "run/samples").iterdir()) == ["000002.png", "000004.png"]


@pytest.fixture
def validated(tiny_config, tmp_path, monkeypatch):
    """A trainer after its training, with a logger that takes pictures, its module and the callback."""
    cfg = tiny_config("callbacks.correspondence.num_pairs=9")
    trainer = build_trainer(cfg)
    module = build_module(cfg)
    trainer.fit(module, datamodule=build_datamodule(cfg))
    logger = PictureLogger()
    monkeypatch.setattr(type(trainer), "loggers", [logger, object()])
    return trainer, module, logger, CorrespondencePictures(tmp_path / "other", num_pairs=9)


def test_it_hands_the_picture_to_loggers_that_take_one(validated):
    trainer, module, logger, callback = validated
    callback.on_validation_end(trainer, module)
    assert logger.taken == [("correspondence", ["correspondence_000004.png"], 4)]


def test_no_more_pairs_are_drawn_than_there_are(validated, tmp_path):
    trainer, module, _, callback = validated
    callback.on_validation_end(trainer, module)
    height = len(pixels(tmp_path / "other/samples/correspondence_000004.png"))
    assert height == 2 * 3 * (192 + LINE_HEIGHT + GAP) + LINE_HEIGHT


def test_a_picture_that_can_not_be_drawn_leaves_nothing(validated, tmp_path, monkeypatch):
    trainer, module, logger, callback = validated

    def save(image, path):
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(OSError, match="disk full"):
        callback.on_validation_end(trainer, module)
    assert list((tmp_path / "other/samples").iterdir()) == []
    assert logger.taken == []


@torch.no_grad()
def test_the_drawn_blocks_are_those_of_the_generator(tiny_config, monkeypatch):
    cfg = tiny_config()
    data, generator = build_datamodule(cfg), build_module(cfg).generator.eval()
    data.prepare_data()
    data.setup("fit")
    batch = data.val.batch([1])
    drawn = []
    draw = correspondence.correspondence_strip
    monkeypatch.setattr(correspondence, "correspondence_strip", lambda *given: drawn.append(given) or draw(*given))
    draw_pair(generator, batch, data.heatmaps)
    ((_, generated, points, blocks, map_size),) = drawn
    inputs = correspondence.to_pose_pair(batch, data.heatmaps)
    inputs = inputs.source_image, inputs.source_heatmaps, inputs.target_heatmaps
    assert map_size == (8, 4)
    assert generated.shape == (3, 32, 16)
    for view, matches, d in zip(blocks, generator.matches(*inputs), generator.correspondences(*inputs), strict=True):
        assert torch.equal(view.matches, matches[0])
        assert view.attention.shape == (len(points), 32)
        rows, columns = (batch.target_joints[0, points].round().long() // 4).unbind(dim=1)
        assert torch.equal(view.attention, d[0, rows * 4 + columns])
