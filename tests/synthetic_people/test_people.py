import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from commands import wait_until
from synthetic_people import SyntheticPeople, people
from twostream.data.keypoints import ANY_FRAME, read_annotations
from twostream.data.pairs import identity_of, read_pairs


def small(**changes):
    settings = {
        "image_size": (32, 16),
        "num_train_identities": 3,
        "num_test_identities": 2,
        "views_per_identity": 5,
        "num_test_pairs": 4,
        "num_workers": 1,
    }
    return SyntheticPeople(**(settings | changes))


def data_hash(root):
    return json.loads((root / "manifest.json").read_text())["data_hash"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return small().prepare(tmp_path_factory.mktemp("people"))


def test_the_layout_is_that_of_market1501(root):
    splits = {"train": (15, {"0001", "0002", "0003"}), "test": (10, {"0004", "0005"})}
    for split, (num_images, identities) in splits.items():
        names = sorted(path.name for path in (root / split).iterdir())
        assert len(names) == num_images
        assert {identity_of(name) for name in names} == identities
        assert sorted(read_annotations(root / f"annotation-{split}.csv", ANY_FRAME)) == names
        assert {name for pair in read_pairs(root / f"pairs-{split}.csv") for name in pair} <= set(names)
        with Image.open(root / split / names[0]) as image:
            assert image.size == (16, 32)
    assert len(read_pairs(root / "pairs-test.csv")) == 4
    surfaces = [*(root / "surface-test").iterdir()]
    assert {path.stem for path in surfaces} == {path.stem for path in (root / "test").iterdir()}
    for path in surfaces:
        with np.load(path) as surface:
            assert surface["part"].shape == surface["u"].shape == surface["v"].shape == (32, 16)
            assert surface["part"].dtype == np.uint8
            assert surface["part"].any()
    manifest = json.loads((root / "manifest.json").read_text())
    assert (manifest["label"], manifest["num_test_pairs"]) == ("synthetic people", 4)
    assert (manifest["num_train_images"], manifest["num_test_images"]) == (15, 10)
    assert manifest["num_train_pairs"] == len(read_pairs(root / "pairs-train.csv"))


def test_the_renderer_gives_the_files_of_its_version(people_folder):
    """If a change is intended, increase RENDERER_VERSION."""
    assert people.RENDERER_VERSION == 1
    assert data_hash(people_folder) == "a22b0d36a6bbf62e183a303f002c57499d7cca86c7487e4a25bb29790f0a76cb"


def test_same_seed_gives_the_same_files_with_any_number_of_workers(root, tmp_path):
    assert data_hash(small(num_workers=2).prepare(tmp_path)) == data_hash(root)


def test_other_seed_gives_other_files(root, tmp_path):
    assert data_hash(small(seed=1).prepare(tmp_path)) != data_hash(root)


def test_a_complete_set_is_reused(root, monkeypatch):
    monkeypatch.setattr(people, "render_identity", None)
    assert small().prepare(root.parent) == root


def test_a_second_process_waits_for_the_first_one(root, tmp_path, monkeypatch):
    monkeypatch.setattr(people, "render_identity", None)
    second = threading.Thread(target=small().prepare, args=[tmp_path])
    with FileLock(tmp_path / f"{root.name}.lock"):
        second.start()
        second.join(timeout=0.3)
        assert second.is_alive()
        shutil.copytree(root, tmp_path / root.name)
    second.join()


def test_a_failed_run_leaves_no_folder(tmp_path, monkeypatch):
    render = people.render_identity

    def fail_late(settings, folder, split, identity):
        if split == "test":
            raise OSError("disk full")
        return render(settings, folder, split, identity)

    with monkeypatch.context() as patch:
        patch.setattr(people, "render_identity", fail_late)
        with pytest.raises(OSError, match="disk full"):
            small().prepare(tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    assert (small().prepare(tmp_path) / "manifest.json").is_file()


def test_leftovers_of_a_killed_run_are_removed(root, tmp_path):
    partial = tmp_path / f".{small().key()}.partial"
    (partial / "train").mkdir(parents=True)
    assert data_hash(small().prepare(tmp_path)) == data_hash(root)
    assert not partial.exists()


def test_a_folder_without_or_with_another_manifest_is_refused(tmp_path):
    folder = tmp_path / small().key()
    folder.mkdir()
    with pytest.raises(ValueError, match=r"manifest\.json: expected settings .*, got no file; remove the folder"):
        small().prepare(tmp_path)
    (folder / "manifest.json").write_text(json.dumps({"settings": small(seed=5).settings()}))
    with pytest.raises(ValueError, match="expected settings"):
        small().prepare(tmp_path)


def test_the_key_depends_on_what_changes_the_files():
    assert small().key().startswith("32x16-3+2x5-seed0-")
    assert small().key() == small(num_workers=7, image_size=[32, 16]).key()
    assert len({small(num_test_pairs=n).key() for n in (4, 5)}) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_size", (0, 16)),
        ("image_size", [32, 16, 3]),
        ("num_train_identities", 0),
        ("num_test_identities", 0),
        ("views_per_identity", 1),
        ("num_test_pairs", 0),
        ("num_workers", 0),
        ("seed", -1),
    ],
)
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected .* got"):
        small(**{name: value})


def test_views_are_those_of_the_files_without_writing_any(root):
    for stem, view in small().views("test", 0):
        with np.load(root / "surface-test" / f"{stem}.npz") as surface:
            np.testing.assert_array_equal(surface["part"], view.part)
        assert (read_annotations(root / "annotation-test.csv", ANY_FRAME)[f"{stem}.jpg"] == view.joints).all()


@pytest.mark.slow
def test_the_workers_of_a_killed_rendering_end_with_it(tmp_path):
    code = "from synthetic_people.people import *; from pathlib import Path\n"
    code += "if __name__ == '__main__': SyntheticPeople((32, 16), 500, 1, 4, 1, num_workers=2).prepare(Path('people'))"
    (tmp_path / "render.py").write_text(code)
    process = subprocess.Popen([sys.executable, "render.py"], cwd=tmp_path)
    wait_until(lambda: any(tmp_path.rglob("*.jpg")))
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(workers) >= 2
    process.kill()
    process.wait()
    wait_until(lambda: not any(Path("/proc", worker).exists() for worker in workers), 10)
