"""The options of each command by name and type: what `conf/<command>.yaml` and the command line may set."""

from dataclasses import dataclass, field, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from twostream.registry import check_arguments

MAX_SEED = 2**32 - 1  # of NumPy
Group = dict[str, Any] | None  # the option of a config group


@dataclass
class Model:
    """Config groups that a model is made of."""

    data: Group = None
    generator: Group = None
    discriminators: Group = None
    init: Group = None
    loss: Group = None
    schedule: Group = None
    averaging: Group = None
    performance: Group = None
    weights: Group = None
    seed: int = 0


@dataclass
class Train(Model):
    """Options of `twostream-train`."""

    trainer: Group = None
    logger: Group = None
    callbacks: Group = None
    scoring: Group = None
    scale: str = ""
    ablation: str = ""
    deterministic: bool = False
    resume: str = ""
    evaluate: bool = True
    variant: str = ""
    run_dir: str = ""


@dataclass
class Evaluate:
    """Options of `twostream-evaluate`."""

    run: str
    weights: Group = None
    scoring: Group = None
    split: str = ""
    num_sources: int = 1
    device: str = ""


@dataclass
class Score:
    """Options of `twostream-score`."""

    images: str
    layout: Group = None
    weights: Group = None
    scoring: Group = None
    targets: str | None = None
    annotations: str | None = None
    train_images: str | None = None
    protocol: str = ""
    metrics: list[str] = field(default_factory=list)
    strict: bool = True
    device: str = ""
    out: str = ""
    people_root: str = ""


@dataclass
class Runs:
    """The runs of one dataset at one scale."""

    runs: str = ""
    seeds: list[int] = field(default_factory=list)


@dataclass
class Status(Runs):
    """Options of `twostream-status`."""

    ablations: list[str] = field(default_factory=list)
    watch: bool = False
    unless_done: bool = False


@dataclass
class Table(Runs):
    """Options of `twostream-table`."""

    specs: list[str] = field(default_factory=list)
    out: str = ""
    split: str = ""


@dataclass
class Report(Runs):
    """Options of `twostream-report`."""

    specs: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)
    max_pairs: int = 0
    out: str = ""


@dataclass
class Dashboard(Report):
    """Options of `twostream-dashboard`."""

    view: str | None = None
    project: str = ""
    entity: str | None = None
    curves: dict[str, list[str]] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)
    report_curves: list[str] = field(default_factory=list)


@dataclass
class Figure:
    """Options of `twostream-figure`."""

    runs: str = ""
    seed: int = 0
    specs: list[str] = field(default_factory=list)
    out: str = ""


@dataclass
class Generate:
    """Options of `twostream-generate`."""

    source: str
    pose: str
    model: str | None = None
    averaged: bool = False
    weights: Group = None
    pose_estimator: Group = None
    joints: str | None = None
    pose_size: list[int] | None = None
    out: str = ""
    video: str | None = None
    fps: float = 12
    max_gap: int = 5
    side_by_side: bool = False
    device: str = ""


@dataclass
class Demo:
    """Options of `twostream-demo`."""

    models: Any = None
    static: str | None = None
    weights: Group = None
    pose_estimator: Group = None
    device: str = ""
    host: str = ""
    port: int = 0
    open_browser: bool = True
    max_megabytes: float = 0
    max_megapixels: float = 0
    max_requests: int = 0


@dataclass
class Export:
    """Options of `twostream-export`."""

    run: str
    out: str
    averaged: bool = False
    dtype: str = ""
    onnx: bool = True


@dataclass
class Annotate:
    """Options of `twostream-annotate`."""

    images: str
    out: str
    weights: Group = None
    pose_estimator: Group = None


@dataclass
class Prepare:
    """Options of `twostream-prepare`."""

    data: Group = None
    preparation: Group = None
    weights: Group = None
    pose_estimator: Group = None
    step: str = ""
    source: str | None = None
    annotations: str | None = None
    annotations_train: str | None = None
    annotations_test: str | None = None
    pairs_train: str | None = None
    pairs_test: str | None = None
    train_list: str | None = None
    test_list: str | None = None
    annotation_frame: int | None = None
    strict: bool = True
    seed: int = 0
    num_workers: int = 0
    out: str | None = None


@dataclass
class Benchmark(Model):
    """Options of `twostream-benchmark`; the settings of its parts are as they are in `conf/benchmark.yaml`."""

    augmentations: Any = None
    generators: Any = None
    baseline: Any = None
    optimizations: Any = None
    device: str = ""
    parts: list[str] = field(default_factory=list)
    measured: dict[str, list[str]] = field(default_factory=dict)
    optimized: dict[str, list[str]] = field(default_factory=dict)
    inference: Any = None
    table2: Any = None
    training: Any = None
    networks: Any = None
    loader: Any = None
    startup: Any = None
    scaling: Any = None
    curves: Any = None
    profile: Any = None
    out: str | None = None


COMMANDS: dict[str, type] = {
    "train": Train,
    "evaluate": Evaluate,
    "score": Score,
    "status": Status,
    "table": Table,
    "report": Report,
    "dashboard": Dashboard,
    "figure": Figure,
    "generate": Generate,
    "demo": Demo,
    "export": Export,
    "annotate": Annotate,
    "prepare": Prepare,
    "benchmark": Benchmark,
}


def check_options(command: str, cfg: DictConfig) -> None:
    """Check the names and types of all values of a command's config, before anything is built.

    Raises ValueError that names the key: for one without a value, an unknown one, one of another type, a number that is
    not finite, and arguments that a class does not take.
    """
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise ValueError(f"{missing[0]}: expected a value: twostream-{command} {missing[0]}=...")
    schema = COMMANDS[command]
    known = {one.name for one in fields(schema)}
    if unknown := [str(key) for key in cfg if key not in known]:
        raise ValueError(f"{unknown[0]}: expected an option of twostream-{command} ({', '.join(sorted(known))})")
    try:
        values = OmegaConf.to_container(cfg, resolve=True)
        OmegaConf.merge(OmegaConf.structured(schema), values)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or getattr(error, "key", None)
        raise ValueError(f"{key}: {str(error).splitlines()[0]}") from None
    assert isinstance(values, dict)
    if not 0 <= values.get("seed", 0) <= MAX_SEED:
        raise ValueError(f"seed: expected 0 to {MAX_SEED}, got {values['seed']}")
    check_arguments(values)
