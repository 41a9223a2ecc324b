"""The page as a folder for any web server: onnxruntime-web runs the networks in the browser."""

import tarfile
import zlib
from functools import partial
from pathlib import Path
from typing import Any

from twostream.data.frame import ANKLES, FEATHER, HEAD, SMALL
from twostream.data.pose import delta_heatmaps, disc_heatmaps, gaussian_heatmaps
from twostream.demo.server import page_files
from twostream.demo.service import DemoService
from twostream.export.onnx_file import export_generator
from twostream.files import read_object, replace_folder, write_json
from twostream.inference import PoseTransfer
from twostream.registry import NAME
from twostream.weights import WeightFile, WeightStore, display

CONTENT = "content.json"
HEATMAPS = (gaussian_heatmaps, delta_heatmaps, disc_heatmaps)  # that the page draws, see page/heatmaps.js
ONNXRUNTIME_WEB = WeightFile(
    "onnxruntime-web-1.30.0.tgz",
    "https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-1.30.0.tgz",
    "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71",
)
# What the page needs of it; not all web servers know the type of `.mjs`.
RUNTIME_FILES = {"ort.wasm.bundle.min.mjs": "onnxruntime.js", "ort-wasm-simd-threaded.wasm": "onnxruntime.wasm"}
MAX_RUNTIME_BYTES = 64 * 2**20  # of each


def write_static_page(folder: Path, service: DemoService, store: WeightStore) -> None:
    """Write the page, its people and poses, and the service's models as ONNX.

    Args:
        folder: a new one, or an earlier page, which is replaced when the new one is complete.
        service: without a pose estimator, its models on a CPU.
        store: has onnxruntime-web.

    Raises ValueError for another folder, for a pose estimator, if a model's ONNX file generates other images than
    PyTorch, and as `described_models` and `read_runtime`.

    """
    if service.estimator is not None:
        raise ValueError(f"pose_estimator: expected none with static, got {service.estimator.name}")
    models = described_models(service)
    with replace_folder(folder, _is_page, "a page of twostream-demo") as new:
        runtime = read_runtime(store)
        new.mkdir(parents=True)
        for name, content in (runtime | {name: content for name, (content, _) in page_files().items()}).items():
            (new / name).write_bytes(content)
        for model, described in zip(service.models.values(), models, strict=True):
            export_generator(new / described["file"], model, explained=True)
        body = {"head": HEAD, "ankles": ANKLES, "small": SMALL, "feather": FEATHER}
        body["margins"] = service.content["margins"]
        write_json(new / CONTENT, service.content | {"backend": "browser", "models": models, "frame": body})


def described_models(service: DemoService) -> list[dict[str, Any]]:
    """Return what the page is told of each model: also its file, its image size, and what its heatmaps are.

    Raises ValueError for heatmaps that the page can't draw.
    """
    models = []
    for index, (entry, model) in enumerate(zip(service.content["models"], service.models.values(), strict=True), 1):
        heatmaps = _described_heatmaps(entry["name"], model)
        models.append(entry | {"file": f"model{index}.onnx", "image_size": model.image_size, "heatmaps": heatmaps})
    return models


def _described_heatmaps(label: str, model: PoseTransfer) -> dict[str, Any]:
    heatmaps = model.heatmaps
    if not isinstance(heatmaps, partial) or heatmaps.func not in HEATMAPS:
        function = getattr(heatmaps, "func", heatmaps)
        got = getattr(function, "__name__", type(function).__name__)
        expected = ", ".join(one.__name__ for one in HEATMAPS)
        raise ValueError(f"{label}: heatmaps: expected one of {expected} with static, got {got}")
    return {NAME: heatmaps.func.__name__, **heatmaps.keywords}


def read_runtime(store: WeightStore) -> dict[str, bytes]:
    """Return the files of onnxruntime-web by their names in the page.

    Raises ValueError, naming the file, if it is no such npm package, and as `WeightStore.find`.
    """
    path = store.find(ONNXRUNTIME_WEB).path
    found = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                name = RUNTIME_FILES.get(member.name.removeprefix("package/dist/"))
                if name and member.isreg() and member.size <= MAX_RUNTIME_BYTES:
                    found[name] = archive.extractfile(member).read()  # type: ignore[union-attr]
    except (tarfile.TarError, zlib.error, OSError, EOFError) as error:
        raise ValueError(f"{display(path)}: expected the npm package of {ONNXRUNTIME_WEB.url}, got: {error}") from None
    if missing := [name for name, own in RUNTIME_FILES.items() if own not in found]:
        raise ValueError(f"{display(path)}: expected the npm package of {ONNXRUNTIME_WEB.url}, got no {missing[0]}")
    return found


def _is_page(folder: Path) -> bool:
    content = read_object(folder / CONTENT)
    return content is not None and content.get("backend") == "browser"
