"""The commands."""

from pathlib import Path

from twostream import registry

CONF = str(registry.CONF)


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: 1 image, 2 images."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def find_spec(name: str) -> Path:
    """Return the path of a spec, relative to the working folder or else to the checkout; it may be in neither."""
    return next((folder / name for folder in (Path(), registry.CONF.parent) if (folder / name).is_file()), Path(name))
