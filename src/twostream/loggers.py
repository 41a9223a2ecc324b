"""Loggers whose packages are optional: Weights & Biases."""

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment
from pytorch_lightning.utilities import rank_zero_only

from twostream.files import write_json

if TYPE_CHECKING:
    from wandb import Run

IDENTITY = "wandb.json"
"""Of a run's folder: what W&B knows the run by."""
ITERATION = "iteration"
"""The x-axis of every curve."""
EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
"""The specs of the tables, beside `src/` in an editable install."""


def wandb_logger(
    run_dir: str | Path,
    project: str,
    entity: str | None,
    name: str,
    group: str,
    tags: Sequence[str],
    variant: str,
    config: DictConfig,
    log_checkpoint: bool,
) -> "IterationLogger":
    """Log a run to Weights & Biases, offline unless the user is logged in; the environment's WANDB_MODE goes first.

    W&B lets a run be in one group only, and the full model is in four tables: the tables become tags (`table3`), and
    the group is named after all tables that the variant is in (`synthetic-small-table4`).

    Args:
        run_dir: folder of the run.
        project: of W&B.
        entity: user or team of W&B; None for the user's own.
        name: of the run.
        group: beginning of the group's name.
        tags: besides the tables.
        variant: of the model, as in the tables' rows.
        config: shown beside what Lightning logs of the module.
        log_checkpoint: keep the last checkpoint as an artifact.

    Raises ImportError where the package is not installed.

    """
    check_installed()
    tables = tables_of(variant, EXPERIMENTS)
    identity = {
        "project": project,
        "entity": entity,
        "name": name,
        "group": "-".join([group, "+".join(tables)]) if tables else group,
        "job_type": "train",
        "tags": list(dict.fromkeys([*tags, *tables])),
    }
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return IterationLogger(Path(run_dir), identity, {str(key): value for key, value in plain.items()}, log_checkpoint)


def check_installed() -> None:
    """Raise ImportError with what to do where W&B is not installed."""
    try:
        import wandb  # noqa: F401
    except ImportError:
        raise ImportError("W&B needs the package wandb: pip install 'twostream[wandb]'") from None


def tables_of(variant: str, experiments: Path) -> list[str]:
    """Return the paper's tables with a row of this variant: `table3`, in their order."""
    numbers = set()
    for path in experiments.glob("*.yaml"):
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "number" in spec and variant in [row["variant"] for row in spec["rows"]]:
            numbers.add(spec["number"])
    return [f"table{number}" for number in sorted(numbers)]


class IterationLogger(WandbLogger):
    """One W&B run a folder, with the iteration as the x-axis of every curve.

    A run that is started again goes on under the id that the folder keeps. It is closed when the training ends, however
    that comes, and never shared with another run of the process.

    Args:
        run_dir: folder of the run.
        identity: arguments of `wandb.init` that say what the run is.
        config: what the run is made of.
        log_checkpoint: keep the last checkpoint as an artifact.

    """

    def __init__(
        self, run_dir: Path, identity: Mapping[str, Any], config: Mapping[str, Any], log_checkpoint: bool
    ) -> None:
        super().__init__(name=identity["name"], save_dir=run_dir, project=identity["project"])
        self.run_dir = run_dir
        self.identity = dict(identity)
        self.config = dict(config)
        self.log_checkpoint = log_checkpoint

    @property
    @rank_zero_experiment
    def experiment(self) -> "Run":
        """The W&B run, started on first use."""
        if self._experiment is None:
            path = self.run_dir / IDENTITY
            known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"id": secrets.token_hex(6)}
            identity = {**self.identity, "id": known["id"]}
            write_json(path, identity)
            self._experiment = start(self.run_dir, identity, self.config)
        return self._experiment  # type: ignore[return-value]

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log values at an iteration."""
        self.experiment.log(dict(metrics) if step is None else {**metrics, ITERATION: step})

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the W&B run; what is logged afterwards goes on with it."""
        if self._experiment is None:
            return
        if self.log_checkpoint and status == "success":
            self._log_checkpoint()
        self._experiment.finish(exit_code=0 if status == "success" else 1)
        self._experiment = None

    def _log_checkpoint(self) -> None:
        import wandb

        artifact = wandb.Artifact(f"checkpoint-{self.experiment.id}", type="model")
        artifact.add_file(str(self.run_dir / "checkpoints" / "last.ckpt"))
        self.experiment.log_artifact(artifact)


def log_summary(run_dir: Path, content: Mapping[str, Any], prefix: str = "final", grid: Path | None = None) -> None:
    """Add an evaluation to the W&B run of a run's folder; another one overwrites it.

    The values go into the summary as `<prefix>/<protocol>/<metric>`, the picture is logged as `<prefix>/test`. Does
    nothing for a run that was not logged to W&B. Raises ImportError where it was and the package is gone.

    Args:
        run_dir: folder of the run.
        content: of its `metrics.json`.
        prefix: of the names.
        grid: picture of test pairs.

    """
    path = run_dir / IDENTITY
    if not path.is_file():
        return
    check_installed()
    import wandb

    run = start(run_dir, json.loads(path.read_text(encoding="utf-8")), {})
    try:
        values = {f"{prefix}/{entry['protocol']}/{entry['metric']}": entry["value"] for entry in content["values"]}
        run.summary.update(values)
        if grid is not None:
            run.log({f"{prefix}/test": wandb.Image(str(grid)), ITERATION: content["run"]["iterations"]})
    finally:
        run.finish()


def start(run_dir: Path, identity: Mapping[str, Any], config: Mapping[str, Any]) -> "Run":
    """Start the W&B run of an identity, or go on with it, beside any other of the process."""
    import wandb

    mode: Any = os.environ.get("WANDB_MODE")
    # Whether the key is right shows when it is used. To one who has none, W&B would put a question.
    if not mode and not wandb.login(prompt=False, verify=False):
        mode = "offline"
    run = wandb.init(
        **identity,
        config=dict(config),
        dir=str(run_dir),
        mode=mode,
        resume="allow",
        reinit="create_new",
    )
    run.define_metric(ITERATION)
    run.define_metric("*", step_metric=ITERATION)
    return run
