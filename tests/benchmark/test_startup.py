import pytest
import torch

from twostream.benchmark.output import to_markdown
from twostream.benchmark.startup import measure_startup, run_process, write_people
from twostream.data.dataset import read_split
from twostream.data.manifest import verify


def test_the_people_are_a_data_folder(tmp_path):
    num_pairs = write_people(tmp_path / "data", {"train": 25, "test": 12}, 6, (32, 16))
    verify(tmp_path / "data", trust_times=False)
    joints, pairs = read_split(tmp_path / "data", "train", (32, 16))
    assert (len(joints), len(pairs), num_pairs["train"]) == (25, 20 * 6 + 5 * 4, 140)


@pytest.mark.slow
def test_time_and_memory_of_a_process(tmp_path):
    mine = b"1" * 3 * 10**8
    used = run_process("x = b'1' * 10**8", cwd=tmp_path)
    assert 10**8 < used["peak_bytes"] < 2 * 10**8 < len(mine)
    assert used["cpu_seconds"] > 0
    assert used["seconds"] > 0
    with pytest.raises(ValueError, match=r"^raise ValueError\('x'\): failed: ValueError: x$"):
        run_process("raise ValueError('x')", cwd=tmp_path)


@pytest.mark.slow
def test_every_process_is_measured(benchmark_config, about):
    counts = ["startup.num_images=60", "startup.num_scored=20"]
    results = measure_startup(benchmark_config(*counts, "data.num_val_identities=2"), torch.device("cpu"))
    (table,) = results["tables"]
    assert table["title"] == "60 images of 32x16 and 360 pairs"
    assert [row["process"] for row in table["rows"]][-1] == "scoring 20 images"
    assert all(row["peak_bytes"] > 2**27 and row["seconds"] > 0 for row in table["rows"])
    assert "peak memory, GiB" in to_markdown(about | results)
