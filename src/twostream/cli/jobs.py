"""Names and folders of runs, and overrides on the command line."""

import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from typing_extensions import override

from twostream.extras import require
from twostream.registry import CONF

# Groups and keys that are in the folder's path already or do not change the result.
NOT_IN_VARIANT = (
    *("data", "scale", "ablation", "seed", "trainer", "logger", "callbacks", "hydra", "evaluate", "variant"),
    *("scoring", "weights", "pose_estimator", "hparams_search", "sweep", "resume", "deterministic"),
)
OF_TRAINING = ("weights.vgg19", "trainer.precision")  # of these groups, but change the result
DATA_NOT_IN_VARIANT = ("data.cache", "data.num_workers")
# Options of a sweep and the packages that they need.
PACKAGES = {"hydra/launcher=joblib": "joblib", "hydra/launcher=slurm": "submitit", "hparams_search=optuna": "optuna"}
MIN_FREE = 1_000_000  # bytes: Hydra's record of a sweep, the log and the first files of a run
MAX_NAME = 200  # characters; file systems allow 255


def variant_name(ablation: str, overrides: Sequence[str]) -> str:
    """Return the name of a run: its ablation and all other overrides, as in `full+generator.blocks-5`.

    A name that is too long for a folder is truncated and ends with a hash.
    """
    others = []
    for argument in sorted(overrides):
        key, _, value = argument.lstrip("+~").replace("'", "").partition("=")
        group = re.split(r"[/.@]", key)[0]
        is_of_data = key.startswith(("data.", "data/")) and key not in DATA_NOT_IN_VARIANT
        if is_of_data or key in OF_TRAINING or group not in NOT_IN_VARIANT:
            # Without `=`, which Hydra would ask to quote in `run=`.
            others.append("-".join(re.sub(r"[^\w.-]+", ".", word).strip(".") for word in (key, value)))
    name = "+".join([ablation, *others])
    if len(name) <= MAX_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{name[: MAX_NAME - len(digest) - 1]}+{digest}"


def folder_name(key: str, value: object) -> str:
    """Return a value as the name of one folder; exit with one line that names the key if it is a path."""
    name = str(value)
    if name in ("", ".", "..") or "/" in name:
        # Hydra, which is about to make the folder, would show an error of a resolver with its traceback.
        raise SystemExit(f"{key}: expected the name of a folder, without /, got {name!r}")
    return name


class CheckFolder(Callback):
    """Makes the folder of a run, or of a sweep, before Hydra does, whose error would have a traceback."""

    @override
    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        self._check(config, "run")

    @override
    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        self._check(config, "sweep")

    def _check(self, config: DictConfig, key: str) -> None:
        HydraConfig.instance().set_config(config)  # as Hydra does next, for the interpolations
        folder = Path(config.hydra[key].dir)
        if "${" in str(folder.absolute()):
            raise SystemExit(f"{folder.absolute()}: expected a path without ${{, which Hydra would replace")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SystemExit(f"{type(error).__name__}: {error}") from None
        if not os.access(folder, os.W_OK):
            raise SystemExit(f"{folder}: expected a folder that can be written to")
        if (free := shutil.disk_usage(folder).free) < MIN_FREE:
            raise SystemExit(f"{folder}: expected at least {MIN_FREE:,} bytes of space on its disk, got {free:,}")


def register_resolvers() -> None:
    """Register `${variant:ABLATION,OVERRIDES}`, `${folder:KEY,VALUE}` and `${iterations:EPOCHS,PAIRS,BATCH_SIZE}`."""
    OmegaConf.register_new_resolver("variant", variant_name, replace=True)
    OmegaConf.register_new_resolver("folder", folder_name, replace=True)
    # As PATN counts: the incomplete batch at the end of an epoch is dropped.
    OmegaConf.register_new_resolver("iterations", lambda epochs, pairs, batch: epochs * (pairs // batch), replace=True)


def require_packages(arguments: Sequence[str]) -> None:
    """Raise ImportError, in one line with the extra, if an option of a sweep needs a package that is not installed.

    Hydra would say that it does not know the option.
    """
    for argument in arguments:
        if argument in PACKAGES:
            require(f"{argument} needs", "sweep", PACKAGES[argument])


def check_overrides(arguments: Sequence[str]) -> None:
    """Raise ValueError for an option that is removed or whose group is set to null: Hydra would show a traceback."""
    for argument in arguments:
        key, _, value = argument.partition("=")
        is_group = (CONF / key).is_dir()
        if key.startswith("~") and not re.search(r"[./@]", key):
            raise ValueError(f"{key[1:]}: expected {key[1:]}=VALUE, got {argument}, which would remove the option")
        if is_group and value.lower() in ("null", "[]", "''", '""'):
            options = ", ".join(sorted(path.stem for path in (CONF / key).glob("*.yaml") if path.stem[0] != "_"))
            raise ValueError(f"{key}: expected one of {options}, got {value}")


def quote_numbered_options(arguments: Sequence[str]) -> list[str]:
    """Quote the options of a config group that are numbers, as in `generator/blocks=5,7`.

    Hydra would parse a bare 5 as an integer, which it does not accept as an option.
    """
    numbered = re.compile(r"([\w/]+/\w+)=(\d+(?:,\d+)*)")
    return [
        f"{match[1]}=" + re.sub(r"(\d+)", r"'\1'", match[2]) if (match := numbered.fullmatch(argument)) else argument
        for argument in arguments
    ]


# On import, because the worker processes of joblib and submitit start without `main`.
register_resolvers()
