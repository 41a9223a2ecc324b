"""The commands: what each does, as `twostream --help` says it, and its options by name and type.

Their values are in `conf/<command>.yaml`.
"""

from dataclasses import dataclass, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from twostream.registry import check_arguments

MAX_SEED = 2**32 - 1  # of NumPy
Group = dict[str, Any] | None  # the option of a config group


@dataclass
class Model:
    """Config groups that a model is made of."""

    data: Group
    generator: Group
    discriminators: Group
    init: Group
    loss: Group
    schedule: Group
    averaging: Group
    performance: Group
    weights: Group
    seed: int


@dataclass
class Train(Model):
    """Train and evaluate a run, or a sweep with -m."""

    trainer: Group
    logger: Group
    callbacks: Group
    scoring: Group
    scale: str
    ablation: str
    deterministic: bool
    resume: str
    evaluate: bool
    variant: str
    run_dir: str


@dataclass
class Evaluate:
    """Generate and score the test pairs of a finished run again."""

    run: str
    weights: Group
    scoring: Group
    split: str
    num_sources: int
    device: str


@dataclass
class Score:
    """Score images that were generated elsewhere."""

    images: str
    layout: Group
    weights: Group
    scoring: Group
    targets: str | None
    annotations: str | None
    train_images: str | None
    protocol: str
    metrics: list[str]
    strict: bool
    device: str
    out: str
    people_root: str


@dataclass
class Runs:
    """The runs of one dataset at one scale."""

    runs: str
    seeds: list[int]


@dataclass
class Status(Runs):
    """The state of the runs of an experiment."""

    ablations: list[str]
    watch: bool
    unless_done: bool


@dataclass
class Table(Runs):
    """The tables of the paper from finished runs."""

    specs: list[str]
    out: str
    split: str


@dataclass
class Report(Runs):
    """An experiment as one HTML file."""

    specs: list[str]
    figures: list[str]
    max_pairs: int
    out: str


@dataclass
class Dashboard(Report):
    """Upload finished runs to Weights & Biases."""

    view: str | None
    project: str
    entity: str | None
    curves: dict[str, list[str]]
    images: list[str]
    report_curves: list[str]


@dataclass
class Figure:
    """Figures of test pairs from finished runs."""

    runs: str
    seed: int
    specs: list[str]
    out: str


@dataclass
class Generate:
    """People of your images in other poses, as images or videos."""

    source: str
    pose: str
    model: str | None
    averaged: bool
    weights: Group
    pose_estimator: Group
    joints: str | None
    pose_size: list[int] | None
    out: str
    video: str | None
    fps: float
    max_gap: int
    side_by_side: bool
    device: str


@dataclass
class Demo:
    """A page in the browser: a person in a pose that you drag."""

    models: Any
    static: str | None
    weights: Group
    pose_estimator: Group
    device: str
    host: str
    port: int
    open_browser: bool
    max_megabytes: float
    max_megapixels: float
    max_requests: int


@dataclass
class Export:
    """A run as a model package: safetensors, model card, ONNX."""

    run: str
    out: str
    averaged: bool
    dtype: str
    onnx: bool


@dataclass
class Annotate:
    """Find the joints of the people in a folder of images."""

    images: str
    out: str
    weights: Group
    pose_estimator: Group


@dataclass
class Prepare:
    """A data set from its download, or from annotated images of your own."""

    data: Group
    preparation: Group
    weights: Group
    pose_estimator: Group
    step: str
    source: str | None
    annotations: str | None
    annotations_train: str | None
    annotations_test: str | None
    pairs_train: str | None
    pairs_test: str | None
    train_list: str | None
    test_list: str | None
    annotation_frame: int | None
    strict: bool
    seed: int
    num_workers: int
    out: str | None


@dataclass
class Benchmark(Model):
    """Speed and memory of inference and training."""

    # The settings of its parts are as they are in conf/benchmark.yaml.
    augmentations: Any
    generators: Any
    baseline: Any
    optimizations: Any
    device: str
    parts: list[str]
    measured: dict[str, list[str]]
    optimized: dict[str, list[str]]
    inference: Any
    table2: Any
    training: Any
    networks: Any
    loader: Any
    startup: Any
    scaling: Any
    curves: Any
    profile: Any
    out: str | None


COMMANDS: dict[str, type] = {
    schema.__name__.lower(): schema
    for schema in (
        *(Train, Evaluate, Score, Table, Figure, Report, Status, Dashboard),
        *(Generate, Demo, Export, Annotate, Prepare, Benchmark),
    )
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
