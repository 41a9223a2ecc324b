"""The commands."""

from pathlib import Path

from twostream import registry

CONF = str(registry.CONF)


def find_spec(name: str) -> Path:
    """Return the path of a spec, relative to the working folder or else to the checkout; it may be in neither."""
    return next((folder / name for folder in (Path(), registry.CONF.parent) if (folder / name).is_file()), Path(name))


def split_runs_folder(folder: Path) -> tuple[Path, str, str]:
    """Return the parent, the dataset and the scale of a folder `<parent>/<dataset>/<scale>` of runs.

    Raises ValueError for a shorter path.
    """
    if len(folder.parts) < 3:
        raise ValueError(f"runs: expected a folder such as runs/synthetic/smoke, got {folder}")
    return folder.parents[1], folder.parts[-2], folder.parts[-1]
