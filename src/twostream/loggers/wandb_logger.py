"""Logs runs to Weights & Biases (W&B), whose package is optional."""

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment
from pytorch_lightning.utilities import rank_zero_only
from typing_extensions import override

from twostream.extras import require
from twostream.files import read_object, write_json
from twostream.tables.spec import load_spec

if TYPE_CHECKING:
    from wandb import Run

IDENTITY = "wandb.json"  # in a run's folder: the arguments of `wandb.init` that identify the run
ITERATION = "iteration"  # the x-axis of every curve
EXPERIMENTS = Path(__file__).resolve().parents[3] / "experiments"  # the specs of the tables, in an editable install


class IterationLogger(WandbLogger):
    """Logs a training to one W&B run per folder, with the iteration as the x-axis of every curve.

    It is offline unless the user is logged in; the environment variable WANDB_MODE takes precedence. A resumed training
    continues the W&B run whose id is in the folder. A W&B run is never shared with another run of the same process.

    W&B allows one group per run, but the full model is in four tables: each table is a tag (`table3`), and the group is
    named after all tables of the variant (`synthetic-small-table4`).

    Args:
        run_dir: folder of the run.
        project: W&B project.
        entity: W&B user or team; None for the user's default.
        name: name of the run.
        group: first part of the group's name.
        tags: tags besides the tables.
        variant: variant of the model, as in the rows of the tables.
        config: plain values shown next to what Lightning logs about the module.
        log_checkpoint: keep the last checkpoint as an artifact.

    Raises ImportError if W&B is not installed.
    """

    def __init__(
        self,
        run_dir: str | Path,
        project: str,
        entity: str | None,
        name: str,
        group: str,
        tags: Sequence[str],
        variant: str,
        config: Mapping[str, Any],
        log_checkpoint: bool,
    ) -> None:
        require("W&B needs", "wandb", "wandb")
        super().__init__(name=name, save_dir=run_dir, project=project)
        self.run_dir = Path(run_dir)
        self.config = config
        self.log_checkpoint = log_checkpoint
        tables = tables_of(variant, EXPERIMENTS)
        self.identity = {
            "project": project,
            "entity": entity,
            "name": name,
            "group": "-".join([group, "+".join(tables)]) if tables else group,
            "job_type": "train",
            "tags": list(dict.fromkeys([*tags, *tables])),
        }

    @property
    @rank_zero_experiment
    @override
    def experiment(self) -> "Run":
        if self._experiment is None:
            known = read_object(self.run_dir / IDENTITY, "id") or {"id": secrets.token_hex(6)}
            identity = {**self.identity, "id": known["id"]}
            write_json(self.run_dir / IDENTITY, identity)
            self._experiment = start_wandb_run(self.run_dir, identity, self.config)
        return self._experiment  # type: ignore[return-value]

    @rank_zero_only
    @override
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self.experiment.log(dict(metrics) if step is None else {**metrics, ITERATION: step})

    @rank_zero_only
    @override
    def finalize(self, status: str) -> None:
        if self._experiment is None:
            return
        if self.log_checkpoint and status == "success":
            import wandb

            artifact = wandb.Artifact(f"checkpoint-{self._experiment.id}", type="model")
            artifact.add_file(str(self.run_dir / "checkpoints" / "last.ckpt"))
            self._experiment.log_artifact(artifact)
        self._experiment.finish(exit_code=0 if status == "success" else 1)
        self._experiment = None


def tables_of(variant: str, experiments: Path) -> list[str]:
    """Return the paper's tables that have a row of this variant, in order: `table3`, `table4`."""
    numbers = set()
    for path in experiments.glob("*.yaml"):
        try:
            spec = load_spec(path)
        # A figure, the base of tables, or a spec that is still being written.
        except ValueError:
            continue
        if spec.number is not None and variant in [row.variant for row in spec.rows]:
            numbers.add(spec.number)
    return [f"table{number}" for number in sorted(numbers)]


def log_summary(run_dir: Path, content: Mapping[str, Any], prefix: str = "final", grid: Path | None = None) -> None:
    """Add an evaluation to the summary of a run's W&B run; values of an earlier evaluation are overwritten.

    The values of `content`, that of the run's `metrics.json`, are named `<prefix>/<protocol>/<metric>`, the image
    `grid` of test pairs `<prefix>/test`. Does nothing if the run was not logged to W&B. Raises ImportError if it was
    and the package is missing now.
    """
    identity = read_object(run_dir / IDENTITY, "id")
    if identity is None:
        return
    require("W&B needs", "wandb", "wandb")
    import wandb

    run = start_wandb_run(run_dir, identity, {})
    try:
        values = {f"{prefix}/{entry['protocol']}/{entry['metric']}": entry["value"] for entry in content["values"]}
        run.summary.update(values)
        if grid is not None:
            run.log({f"{prefix}/test": wandb.Image(str(grid)), ITERATION: content["run"]["iterations"]})
    finally:
        run.finish()


def start_wandb_run(folder: Path, identity: Mapping[str, Any], config: Mapping[str, Any]) -> "Run":
    """Start or resume the W&B run with these arguments of `wandb.init`, independently of others in the process."""
    import wandb

    mode: Any = os.environ.get("WANDB_MODE")
    # A user without an API key would be asked for one. Whether a key is valid shows only when it is used.
    if not mode and not wandb.login(prompt=False, verify=False):
        mode = "offline"
    run = wandb.init(**identity, config=dict(config), dir=str(folder), mode=mode, resume="allow", reinit="create_new")
    run.define_metric(ITERATION)
    run.define_metric("*", step_metric=ITERATION)
    return run
