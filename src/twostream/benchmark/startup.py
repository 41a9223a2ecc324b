"""Time and memory with many images: the start of a training, and scoring, each in a process of its own."""

import io
import json
import os
import re
import resource
import subprocess
import sys
import time
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from twostream.data.keypoints import NUM_JOINTS, write_annotations
from twostream.data.manifest import SPLITS, write_manifest
from twostream.data.pairs import matching_pairs, write_pairs
from twostream.tables.content import size_text

NUM_DIFFERENT = 16  # images, of which the others are copies
IMAGES_OF_ONE = 10  # images of an identity
# The peak of a process alone: its resource usage would begin with the memory of the process that started it.
STATUS = "status.txt"
NOTE_PEAK = f"""
import atexit, shutil
atexit.register(shutil.copyfile, "/proc/self/status", "{STATUS}")
"""
START = (
    "import json, sys; from hydra.utils import instantiate; data = instantiate(json.loads(sys.argv[1])); "
    "data.prepare_data(); data.setup('fit'); next(iter(data.training_loader(1)))"
)
SCORE = (
    "from twostream.cli.main import run; run('score')",
    "metrics=[ssim,mask_ssim,psnr]",
    "protocol=standard",
    "scoring.num_workers=0",
)


def measure_startup(cfg: DictConfig, device: torch.device) -> dict[str, Any]:
    """Measure processes that start a training on `cfg.startup.num_images`, and that score `cfg.startup.num_scored`.

    A training has started when it has its first batch. The images are not kept in memory (`data.cache=none`).
    """
    counts = {"train": int(cfg.startup.num_images), "test": int(cfg.startup.num_scored)}
    size = (int(cfg.data.image_size[0]), int(cfg.data.image_size[1]))
    with TemporaryDirectory() as folder:
        root = Path(folder, "data")
        num_pairs = write_people(root, counts, int(cfg.startup.pairs_per_image), size)
        data: Any = OmegaConf.to_container(cfg.data, resolve=True)
        start = (START, json.dumps(data | {"source": None, "root": str(root), "cache": "none"}))
        annotations = root / "annotation-test.csv"
        score = (*SCORE, f"images={root}/test", f"targets={root}/test", f"annotations={annotations}", "out=scores.json")
        processes = {
            "imports of training": ("import twostream.data.datamodule",),
            "first start": start,
            "later start": start,
            "imports of scoring": ("import twostream.evaluation.scoring",),
            f"scoring {counts['test']:,} images": score,
        }
        rows = [{"process": name, **run_process(*words, cwd=folder)} for name, words in processes.items()]
        assert Path(folder, "scores.json").is_file()
    title = f"{counts['train']:,} images of {size_text(size)} and {num_pairs['train']:,} pairs"
    load = os.getloadavg()[0]
    text = f"Every row is a process, with its imports. Load of the machine: {load:.1f} on {os.cpu_count()} cores."
    return {"text": text, "load": load, "tables": [{"title": title, "rows": rows}]}


def run_process(code: str, *arguments: str, cwd: str | Path) -> dict[str, float]:
    """Run code of Python with arguments; return wall and CPU seconds and the peak memory in bytes. It needs Linux.

    Raises ValueError with the process's last line if it fails.
    """
    command = [sys.executable, "-c", NOTE_PEAK + code, *arguments]
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise ValueError(f"{code[:80]}: failed: {done.stdout.strip().rpartition(chr(10))[2]}")
    peak = re.search(r"VmHWM:\s*(\d+) kB", Path(cwd, STATUS).read_text())
    assert peak is not None
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu_seconds": cpu, "peak_bytes": int(peak[1]) * 1024}


def write_people(root: Path, counts: dict[str, int], pairs_per_image: int, size: tuple[int, int]) -> dict[str, int]:
    """Write a data folder of so many small JPEG files in each split; return the numbers of pairs."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(NUM_DIFFERENT):
        file = io.BytesIO()
        coarse = rng.integers(0, 256, (8, 4, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size[::-1]).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    joints = np.linspace((0, 0), (size[0] - 1, size[1] - 1), NUM_JOINTS).astype(np.int64)
    num_pairs = {}
    for split in SPLITS:
        (root / split).mkdir(parents=True)
        names = [f"{index // IMAGES_OF_ONE:05d}_{index:06d}.jpg" for index in range(counts[split])]
        for index, name in enumerate(names):
            (root / split / name).write_bytes(files[index % NUM_DIFFERENT])
        annotated = dict.fromkeys(names, joints)
        write_annotations(root / f"annotation-{split}.csv", annotated)
        by_source = groupby(matching_pairs(annotated), key=itemgetter(0))
        pairs = [pair for _, others in by_source for pair in islice(others, pairs_per_image)]
        write_pairs(root / f"pairs-{split}.csv", pairs)
        num_pairs[split] = len(pairs)
    write_manifest(root, {"label": "many images"})
    return num_pairs
