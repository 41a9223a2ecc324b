from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tiny_run import fit
from twostream.build import build_datamodule, build_module
from twostream.callbacks import sample_images
from twostream.callbacks.sample_images import CorrespondenceImages, draw_correspondence
from twostream.data.dataset import to_pose_pair
from twostream.data.visualize import GAP, LINE_HEIGHT
from twostream.nets.inspection import attention_matrices, best_matches


class ImageLogger:
    """Receives images as W&B's logger does."""

    def __init__(self):
        self.logged = []

    def log_image(self, key, images, step):
        self.logged.append((key, [Path(image).name for image in images], step))


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_images_are_written_after_each_validation(tiny_config, tmp_path):
    fit(tiny_config("callbacks.correspondence_images.num_pairs=2"))
    paths = sorted((tmp_path / "run/samples").iterdir())
    names = ["000002.png", "000004.png", "correspondence_000002.png", "correspondence_000004.png"]
    assert [path.name for path in paths] == names
    # Two pairs of two rows with source, target and two blocks at six times 32x16, and the footnote.
    first, last = map(pixels, paths[2:])
    assert first.shape == (4 * (192 + LINE_HEIGHT + GAP) + LINE_HEIGHT, 4 * (96 + GAP), 3)
    assert not np.array_equal(first, last)


def test_without_at_modules_no_correspondence_is_drawn(tiny_config, tmp_path):
    fit(tiny_config("ablation=no_at_module"))
    assert sorted(path.name for path in (tmp_path / "run/samples").iterdir()) == ["000002.png", "000004.png"]


@pytest.fixture
def validated(tiny_config, tmp_path, monkeypatch):
    """A trainer after training with a logger of images, its module, the logger and a callback."""
    trainer = fit(tiny_config("callbacks.correspondence_images.num_pairs=9"))
    logger = ImageLogger()
    monkeypatch.setattr(type(trainer), "loggers", [logger, object()])
    return trainer, trainer.lightning_module, logger, CorrespondenceImages(tmp_path / "other", num_pairs=9)


def test_loggers_of_images_receive_the_drawing_of_all_pairs(validated, tmp_path):
    trainer, module, logger, callback = validated
    callback.on_validation_end(trainer, module)
    assert logger.logged == [("correspondence", ["correspondence_000004.png"], 4)]
    height = len(pixels(tmp_path / "other/samples/correspondence_000004.png"))
    assert height == 2 * 3 * (192 + LINE_HEIGHT + GAP) + LINE_HEIGHT


def test_an_image_that_can_not_be_written_leaves_nothing(validated, tmp_path, monkeypatch):
    trainer, module, logger, callback = validated

    def save(image, path):
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(OSError, match="disk full"):
        callback.on_validation_end(trainer, module)
    assert list((tmp_path / "other/samples").iterdir()) == []
    assert logger.logged == []


@torch.no_grad()
def test_the_drawn_attention_is_that_of_the_generator(tiny_config, monkeypatch):
    cfg = tiny_config()
    data, generator = build_datamodule(cfg), build_module(cfg).generator.eval()
    data.prepare_data()
    data.setup("fit")
    batch = data.val.batch([1])
    drawn = []
    draw = sample_images.correspondence_strip
    monkeypatch.setattr(sample_images, "correspondence_strip", lambda *args: drawn.append(args) or draw(*args))
    draw_correspondence(generator, batch, data.heatmaps)
    ((_, generated, points, views),) = drawn
    inputs = to_pose_pair(batch, data.heatmaps)
    inputs = inputs.source_image, inputs.source_heatmaps, inputs.target_heatmaps
    assert generated.shape == (3, 32, 16)
    matches, matrices = best_matches(generator, inputs), attention_matrices(generator, inputs)
    assert list(views) == list(matches) == list(matrices)
    for name, view in views.items():
        assert view.map_size == (8, 4)
        assert torch.equal(view.matches, matches[name][0])
        assert view.attention.shape == (len(points), 32)
        rows, columns = (batch.target_joints[0, points].round().long() // 4).unbind(dim=1)
        assert torch.equal(view.attention, matrices[name][0, rows * 4 + columns])
