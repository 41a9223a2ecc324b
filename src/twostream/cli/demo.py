"""`twostream-demo`: a page in the browser that puts a person into a pose that is dragged, served or as a folder."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from twostream.demo.checked_input import Limits
from twostream.demo.server import serve
from twostream.demo.service import DemoService
from twostream.demo.static_page import write_static_page
from twostream.export.onnx_file import require_onnx
from twostream.extras import require
from twostream.inference import PoseTransfer
from twostream.model_package import DEFAULT_MODEL


def main(cfg: DictConfig) -> None:
    """Load the models; serve the page until Ctrl+C, or write it into the folder `cfg.static`."""
    if cfg.static:
        require_onnx()
    else:
        require("the demo needs", "demo", "starlette", "uvicorn")
    estimator = instantiate(cfg.pose_estimator) if "pose_estimator" in cfg else None
    models = cfg.models or [DEFAULT_MODEL]
    paths = labelled(OmegaConf.to_container(models) if OmegaConf.is_config(models) else models)
    loaded = {label: PoseTransfer.load(path, "cpu" if cfg.static else cfg.device) for label, path in paths.items()}
    limits = Limits(cfg.max_megabytes, cfg.max_megapixels, cfg.max_requests)
    service = DemoService(loaded, estimator, limits)
    if cfg.static:
        write_static_page(Path(cfg.static), service, instantiate(cfg.weights))
        print(f"Page: {cfg.static}; to look at it: python -m http.server --directory {shlex.quote(cfg.static)}")
    else:
        serve(service, cfg.host, cfg.port, cfg.open_browser)


def labelled(models: object) -> dict[str, str]:
    """Return paths of models by label, given so, as in `models={Warp: FOLDER}`, or as a list.

    In a list the label of a run is its variant, else the name of the file or folder. Raises ValueError for another
    value.
    """
    if isinstance(models, Mapping):
        return {str(label): str(path) for label, path in models.items()}
    if isinstance(models, str) or not isinstance(models, Sequence):
        raise ValueError(f"models: expected a list [FOLDER,...] or {{LABEL: FOLDER,...}}, got {models!r}")
    paths = [str(path) for path in models]
    labels = [_label(Path(path)) for path in paths]
    return {label if labels.count(label) == 1 else path: path for label, path in zip(labels, paths, strict=True)}


def _label(path: Path) -> str:
    return path.parent.name if path.name.startswith("seed") else path.stem
