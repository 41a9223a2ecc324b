"""`twostream-score`, in a process of its own as called by a user, or in this one."""

import csv
import json
import logging
import re

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from skimage.metrics import structural_similarity

from commands import call
from stand_ins import CPU, by_skimage, fid_of_few, patn_ssim, random_alexnet, random_torchvision_inception, save_image
from tiny_run import compose_config
from twostream.cli import CONF
from twostream.cli.errors import exit_on_error
from twostream.cli.evaluate import print_scores
from twostream.cli.score import main
from twostream.data.images import read_image
from twostream.data.keypoints import ANY_FRAME, NUM_JOINTS, read_annotations, write_annotations
from twostream.data.pose import person_mask
from twostream.evaluation.scoring import METRICS
from twostream.files import sha256_of
from twostream.metrics.inception import TorchvisionInception
from twostream.metrics.lpips import LPIPSNet
from twostream.weights import WeightStore

SIZE = (40, 32)
NUM_PAIRS = 6
NAMES = [f"000{i // 2}_c{i}" for i in range(NUM_PAIRS)]


def draw(seed, kind):
    """Coarse colours whose range is far from 255; the generated image is a noisy true one."""
    random = np.random.default_rng(seed)
    true = np.kron(random.integers(50, 180, (10, 8, 3)), np.ones((4, 4, 1)))
    noise = np.random.default_rng(seed + 50).normal(0, 15, true.shape)
    return np.clip(true + noise, 40, 200).astype(np.uint8) if kind == "generated" else true.astype(np.uint8)


def save(path, pixels):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folders(tmp_path):
    """Generated images (PNG) and true ones of equal names (JPEG), two of each of three people."""
    for i, name in enumerate(NAMES):
        save(tmp_path / "generated" / f"{name}.png", draw(i, "generated"))
        save(tmp_path / "true" / f"{name}.jpg", draw(i, "true"))
    return [f"images={tmp_path / 'generated'}", f"targets={tmp_path / 'true'}"]


@pytest.fixture
def annotations(tmp_path):
    joints = {
        f"{name}.jpg": np.random.default_rng(i).integers(0, SIZE, (NUM_JOINTS, 2)) for i, name in enumerate(NAMES)
    }
    write_annotations(tmp_path / "joints.csv", joints)
    return f"annotations={tmp_path / 'joints.csv'}"


def write_strips(folder, num_panels, target, generated, suffix):
    """The source of each image is the next one; panels that are not compared are black."""
    for i, name in enumerate(NAMES):
        panels = [np.zeros((*SIZE, 3), np.uint8)] * num_panels
        panels[target], panels[generated] = draw(i, "true"), draw(i, "generated")
        source = NAMES[(i + 1) % NUM_PAIRS]
        save(folder / f"{source}.jpg___{name}.jpg_vis.{suffix}", np.concatenate(panels, axis=1))


@pytest.fixture
def score(tmp_path):
    """Runs the command in this process, without weights, and returns what it wrote."""

    def score(*overrides):
        fixed = ["scoring.num_workers=0", "weights.download=false", f"weights.folder={tmp_path / 'weights'}"]
        fixed += [f"scoring.cache_dir={tmp_path / 'cache'}", "device=cpu", f"out={tmp_path / 'new/scores.json'}"]
        main(compose_config("score", *fixed, *overrides))
        return json.loads((tmp_path / "new/scores.json").read_text())

    return score


@pytest.fixture
def refused(score, tmp_path, caplog):
    """Runs the command, which must fail without writing anything, and returns the message."""

    def refused(*overrides):
        caplog.clear()
        with pytest.raises(SystemExit), exit_on_error(logging.getLogger()):
            score(*overrides)
        assert not list(tmp_path.rglob("*scores*"))
        return caplog.messages[-1]

    return refused


def expected_ssim(images):
    """The mean under both protocols."""
    own_range = np.mean([patn_ssim(*pair) for pair in images])
    full_range = np.mean([by_skimage(*pair, 255) for pair in images])
    assert abs(own_range - full_range) > 1e-3
    return {("ssim", "patn"): own_range, ("ssim", "standard"): full_range}


def expected_mask_ssim(images, joints):
    """The same on persons, cut out under each protocol's own masks."""
    expected = {}
    for protocol, has_edges in (("patn", False), ("standard", True)):
        masks = [person_mask(array, SIZE, has_edges=has_edges)[..., None] for array in joints]
        persons = [[image * mask for image in pair] for pair, mask in zip(images, masks, strict=True)]
        expected["mask_ssim", protocol] = expected_ssim(persons)["ssim", protocol]
    return expected


def read_folders(folder):
    paths = [(folder / "generated" / f"{name}.png", folder / "true" / f"{name}.jpg") for name in NAMES]
    return [tuple(map(read_image, pair)) for pair in paths]


def read_strips(folder, target, generated):
    strips = [read_image(path) for path in sorted(folder.iterdir())]
    return [tuple(strip[:, 32 * i : 32 * (i + 1)] for i in (generated, target)) for strip in strips]


def values_of(content):
    return {(entry["metric"], entry["protocol"]): entry["value"] for entry in content["values"]}


def test_two_folders_are_scored(tmp_path, folders, annotations):
    nothing = ["weights.download=false", f"weights.folder={tmp_path}", f"scoring.cache_dir={tmp_path / 'cache'}"]
    done = call("score", tmp_path, *folders, annotations, *nothing)
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads((tmp_path / "scores.json").read_text())
    images = read_folders(tmp_path)
    joints = read_annotations(tmp_path / "joints.csv", ANY_FRAME)
    expected = expected_ssim(images) | expected_mask_ssim(images, [joints[f"{name}.jpg"] for name in NAMES])
    assert values_of(content) == pytest.approx(expected, abs=1e-6)

    assert set(content) == {"format", "run", "scored_by", "test", "values", "missing"}
    assert content["format"] == 2
    assert content["run"] == {"images": str(tmp_path / "generated"), "scored": 6, "left_out": 0}
    assert content["test"]["identities"] == 3
    for entry in content["values"]:
        low, high = entry["interval"]
        assert low < entry["value"] < high
        about = {"n": 6, "version": 1, "frame": "40x32", "codec": "png", "data_range": "255"}
        about |= {"window": "gaussian 11x11, sigma 1.5"}
        if entry["protocol"] == "patn":
            about |= {"version": 2, "data_range": "max - min of the generated image"}
            about |= {"window": "gaussian 13x13, sigma 1.5"}
        assert {key: entry[key] for key in set(entry) - {"metric", "protocol", "value", "interval"}} == about
    inception = {(n, p) for n in ("inception_score", "mask_inception_score") for p in ("patn", "standard")}
    missing = inception | {("fid_test", "standard"), ("lpips", "standard"), ("pckh", "patn")}
    assert {(entry["metric"], entry["protocol"]) for entry in content["missing"]} == missing
    assert all(entry["reason"] for entry in content["missing"])

    rows = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
    columns = [f"{name}/{protocol}" for name, protocol in expected]
    assert set(rows[0]) == {"image", "source", "target", *columns}
    assert [row["image"] for row in rows] == [f"{name}.png" for name in NAMES]
    for (name, protocol), value in expected.items():
        assert np.mean([float(row[f"{name}/{protocol}"]) for row in rows]) == pytest.approx(value, abs=1e-6)
    lines = done.stdout.splitlines()
    assert lines[-2:] == ["6 images scored, 0 left out", "scores.json"]
    start = f"ssim (patn): {expected['ssim', 'patn']:.4f} ["
    assert len([line for line in lines if " ".join(line.split()).startswith(start)]) == 1
    assert sum("not computed: " in line for line in lines) == 3


@pytest.mark.parametrize(
    ("layout", "num_panels", "target", "generated", "suffix"), [("strip3", 3, 1, 2, "jpg"), ("strip5", 5, 2, 4, "png")]
)
def test_strips_are_scored(score, tmp_path, layout, num_panels, target, generated, suffix):
    write_strips(tmp_path / "strips", num_panels, target, generated, suffix)
    content = score(f"layout={layout}", f"images={tmp_path / 'strips'}", "metrics=[ssim]")
    expected = expected_ssim(read_strips(tmp_path / "strips", target, generated))
    assert values_of(content) == pytest.approx(expected, abs=1e-6)
    assert {entry["codec"] for entry in content["values"]} == {suffix}
    rows = list(csv.DictReader((tmp_path / "new/scores.csv").read_text().splitlines()))
    assert (rows[1]["source"], rows[1]["target"]) == (f"{NAMES[1]}.jpg", f"{NAMES[0]}.jpg")


@pytest.mark.slow
def test_gflas_metrics_are_computed_with_own_weight_files(score, tmp_path):
    # One identity, so that there is no bootstrap, which takes minutes for FID.
    panels = [
        [save_image(tmp_path / name / f"0001_{i}.png", 20 * k + i, (64, 64)) for i in range(4)]
        for k, name in enumerate(("generated", "true", "train"))
    ]
    alexnet, inception = tmp_path / "alexnet.pth", tmp_path / "inception.pth"
    torch.save(random_alexnet(), alexnet)
    torch.save(random_torchvision_inception(), inception)
    folders = {"images": "generated", "targets": "true", "train_images": "train"}
    content = score(
        *(f"{key}={tmp_path / name}" for key, name in folders.items()),
        *("protocol=gfla", "metrics=[ssim,fid,lpips]"),
        *(f"weights.lpips={alexnet}", f"weights.torchvision_inception={inception}"),
    )

    generated, true, train = (np.stack([panel.read() for panel in some]) for some in panels)
    window = {"win_size": 51, "data_range": 255, "channel_axis": -1}
    ssim = [structural_similarity(*pair, **window) for pair in zip(generated, true, strict=True)]
    generated, true, train = (torch.from_numpy(images).permute(0, 3, 1, 2) for images in (generated, true, train))
    store = WeightStore(lpips=alexnet, torchvision_inception=inception)
    net = TorchvisionInception(store, CPU)
    expected = {
        ("ssim", "gfla"): np.mean(ssim),
        ("fid_all_train", "gfla"): fid_of_few(net(generated).features, net(train).features),
        ("lpips", "gfla"): LPIPSNet(store, CPU)(generated, true).mean(),
    }
    assert values_of(content) == pytest.approx(expected, rel=1e-3)
    assert min(expected.values()) > 1e-3
    assert content["missing"] == []
    _, *of_nets = content["values"]
    assert {entry["metric"]: (entry["feature_net"], entry["feature_net_hash"]) for entry in of_nets} == {
        "fid_all_train": ("inception-v3 (torchvision) (own file)", sha256_of(inception)),
        "lpips": ("AlexNet, LPIPS v0.1 (own file)", sha256_of(alexnet)),
    }


def test_a_named_weight_file_that_is_missing_is_listed(score, folders):
    content = score(*folders, "metrics=[lpips,ssim]", "weights.lpips=nothere.pth")
    (missing,) = content["missing"]
    assert (missing["metric"], missing["protocol"]) == ("lpips", "standard")
    reason = r"weights\.lpips: expected .*alexnet-owt-7be5be79\.pth, file not found: nothere\.pth"
    assert re.fullmatch(reason, missing["reason"])


def test_unusable_images_are_refused_or_left_out(score, refused, folders, tmp_path, capsys, caplog):
    images = read_folders(tmp_path)
    (tmp_path / "generated" / f"{NAMES[2]}.png").write_bytes(b"not an image")
    (tmp_path / "true" / f"{NAMES[4]}.jpg").unlink()
    missing, broken = (tmp_path / "generated" / f"{NAMES[i]}.png: expected " for i in (4, 2))
    first, *problems = refused(*folders, "metrics=[ssim]").splitlines()
    assert first == "ValueError: 2 problems in 6 images; strict=false scores the rest:"
    assert problems[0].startswith(f"{missing}one true image")
    assert problems[1].startswith(f"{broken}an image")
    assert len(problems) == 2
    caplog.clear()
    content = score(*folders, "metrics=[ssim]", "strict=false")
    assert caplog.messages[:2] == problems
    rest = [image for i, image in enumerate(images) if i not in (2, 4)]
    assert values_of(content) == pytest.approx(expected_ssim(rest), abs=1e-6)
    assert content["run"] == {"images": str(tmp_path / "generated"), "scored": 4, "left_out": 2}
    assert {entry["n"] for entry in content["values"]} == {4}
    assert "4 images scored, 2 left out" in capsys.readouterr().out


def test_invalid_options_are_refused_in_one_line(refused, folders, tmp_path):
    correspondence = "correspondence needs the network, not its images: twostream-evaluate run=FOLDER"
    known = ", ".join(METRICS)
    for override, message in {
        "metrics=[ssim,l1]": f"scoring.metrics: expected some of {known}, got ['l1']",
        "metrics=[]": f"scoring.metrics: expected some of {known}, got none",
        "metrics=[ssim,correspondence]": f"metrics: {correspondence}",
        "protocol=pantn": "protocol: expected patn, standard, gfla, cfld, all, patn_v1, got 'pantn'",
        f"out={tmp_path / 'scores.csv'}": f"out: expected a name that ends in .json, got {tmp_path / 'scores.csv'}",
        "targets=null": "targets: expected the folder of the true images, got none",
    }.items():
        assert refused(*folders, override) == f"ValueError: {message}"
    message = refused(*folders, f"annotations={tmp_path / 'none.csv'}")
    assert message.startswith("FileNotFoundError: ")
    assert str(tmp_path / "none.csv") in message


def test_by_default_all_metrics_are_computed_except_those_of_synthetic_people(folders):
    cfg = compose_config("score", *folders)
    everything = set(OmegaConf.load(f"{CONF}/scoring/default.yaml").metrics)
    assert set(cfg.scoring.metrics) == everything - {"evaluator", "correspondence"}


def test_values_are_printed_in_columns(capsys):
    entries = [
        {"metric": "ssim", "protocol": "patn", "value": 0.31234, "interval": [0.30001, 0.32], "n": 12000},
        {"metric": "inception_score", "protocol": "standard", "value": 3.5, "interval": None, "n": 70},
        {"metric": "fid_test", "protocol": "standard", "value": 123.45678, "interval": [101.5, 145.4], "n": 7},
    ]
    entries[1] |= {"splits_std": 0.25, "splits": 10}
    print_scores({"values": entries})
    lines = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "ssim (patn): 0.3123 [0.3000, 0.3200] n = 12000",
        "inception_score (standard): 3.5000 n = 70, 0.2500 over 10 splits",
        "fid_test (standard): 123.4568 [101.5000, 145.4000] n = 7",
    ]
    assert len({line.index(" n = ") for line in lines}) == 1
    assert len({line.index(":") for line in lines}) == 1
