"""Evaluation with several source images of each person, and the table of it."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tiny_run import by_metric
from twostream.build import build_scoring
from twostream.data.images import read_image
from twostream.data.pairs import identity_of, image_name
from twostream.evaluation.run_evaluation import evaluate_run, generate_run
from twostream.inference import PoseTransfer
from twostream.runs import clear_outputs, results_folder
from twostream.tables.render import write_tables
from twostream.tables.results import collect_all

CPU = torch.device("cpu")
SPEC = Path(__file__).parents[2] / "experiments/table_sources.yaml"


@pytest.fixture(scope="module")
def run(finished_warp, tmp_path_factory):
    """The config and folder of a run of the warp, evaluated with one source image and with two."""
    cfg, folder = finished_warp
    folder = shutil.copytree(folder, tmp_path_factory.mktemp("runs") / "synthetic/smoke/warp/seed0")
    evaluate_run(folder, build_scoring(cfg), CPU, num_sources=2)
    return cfg, folder


def test_the_images_are_those_of_the_model(run):
    folder = run[1]
    generated = generate_run(folder, CPU, 2, num_sources=2)
    model = PoseTransfer.load(folder, "cpu")
    joints, test = generated.dataset.joints, generated.true_images
    for index, pair in enumerate(generated.dataset.pairs):
        (other,) = generated.more_sources(index)
        assert other not in pair
        assert identity_of(other) == identity_of(pair[0])
        sources = [Image.fromarray(read_image(test / name)) for name in (pair[0], other)]
        expected = np.asarray(model(sources, joints[pair[1]], [joints[pair[0]], joints[other]])).astype(int)
        assert np.abs(read_image(folder / "sources_2/images" / image_name(pair)) - expected).max() <= 1


def test_the_results_have_a_folder_and_a_row_of_their_own(run, tmp_path):
    one, two = (json.loads((run[1] / name / "metrics.json").read_text()) for name in (".", "sources_2"))
    assert [content["run"]["variant"] for content in (one, two)] == ["warp", "warp@2"]
    assert "2 source images of each person" in two["run"]["notes"]
    assert one["values"] != two["values"]
    assert ("correspondence", "pck@0.1") in by_metric(two["missing"], "reason")
    write_tables(collect_all([SPEC], run[1].parents[1], [0]), tmp_path)
    with (tmp_path / "table_sources.csv").open(newline="") as file:
        found = {(row["variant"], row["metric"]): row["value"] for row in csv.DictReader(file)}
    for name, content in (("warp", one), ("warp@2", two)):
        ssim = by_metric(content["values"], "value")["ssim", "standard"]
        assert float(found[name, "ssim"]) == pytest.approx(ssim, abs=1e-6)
    # The third row says how to get it.
    assert "num_sources=3" in (tmp_path / "table_sources.md").read_text()


def test_further_sources_of_fewer_are_among_those_of_more(run):
    two, three = (generate_run(run[1], CPU, 2, num_sources=count) for count in (2, 3))
    for index in range(len(two.dataset.pairs)):
        assert three.more_sources(index)[:1] == two.more_sources(index)


def test_what_is_not_possible_is_refused(run, finished_run, tmp_path):
    cfg, folder = run
    with pytest.raises(ValueError, match=r"num_sources: expected 8 more images of the person in .*jpg, got \d"):
        evaluate_run(folder, build_scoring(cfg), CPU, num_sources=9)
    with pytest.raises(ValueError, match="num_sources: expected at least 1, got 0"):
        results_folder(folder, "test", 0)
    other = shutil.copytree(finished_run[1], tmp_path / "full")
    with pytest.raises(ValueError, match="num_sources: expected 1 for TwoStreamGenerator, got 2"):
        evaluate_run(other, build_scoring(cfg), CPU, num_sources=2)
    (other / "sources_2").mkdir()
    clear_outputs(other)
    assert not (other / "sources_2").exists()
