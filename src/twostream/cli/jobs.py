"""What a run is called, and how its command line is read."""

import hashlib
import re
from collections.abc import Sequence

from omegaconf import OmegaConf

# In the folder's path by themselves, or without influence on the result.
NOT_IN_VARIANT = (
    *("data", "scale", "ablation", "seed", "trainer", "logger", "callbacks", "hydra", "evaluate", "variant"),
    *("scoring", "pose_estimator", "hparams_search", "resume", "deterministic"),
)
DATA_NOT_IN_VARIANT = ("data.cache", "data.num_workers")
MAX_NAME = 200
"""Characters of a name; file systems take 255."""


def variant_name(ablation: str, overrides: Sequence[str]) -> str:
    """Name a run by its ablation and by what else is overridden: `full`, `full+generator.blocks=5`.

    The end of a name that is too long for a folder gives way to a hash of the whole.
    """
    others = []
    for override in sorted(overrides):
        key, _, value = override.lstrip("+~").replace("'", "").partition("=")
        group = re.split(r"[/.@]", key)[0]
        of_data = key.startswith(("data.", "data/")) and key not in DATA_NOT_IN_VARIANT
        if of_data or group not in NOT_IN_VARIANT:
            others.append(re.sub(r"[^\w.=-]+", ".", f"{key}={value}"))
    name = "+".join([ablation, *others])
    if len(name) <= MAX_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{name[: MAX_NAME - len(digest) - 1]}+{digest}"


def register_resolvers() -> None:
    """Let the configuration say `${variant:ABLATION,OVERRIDES}` and `${iterations:EPOCHS,PAIRS,BATCH_SIZE}`."""
    OmegaConf.register_new_resolver("variant", variant_name, replace=True)
    # As PATN counts: what does not fill a batch is left out of an epoch.
    OmegaConf.register_new_resolver("iterations", lambda epochs, pairs, batch: epochs * (pairs // batch), replace=True)


def quote_numbered_options(arguments: Sequence[str]) -> list[str]:
    """Quote the options of a group that are numbers: `generator/blocks=5,7` as Hydra takes it.

    Hydra reads a bare 5 as an integer and refuses an integer for a group's option.
    """
    numbered = re.compile(r"([\w/]+/\w+)=(\d+(?:,\d+)*)")
    return [
        f"{match[1]}=" + re.sub(r"(\d+)", r"'\1'", match[2]) if (match := numbered.fullmatch(argument)) else argument
        for argument in arguments
    ]


# At import, so that the processes of joblib's and submitit's launchers, which start without `main`, know them too.
register_resolvers()
