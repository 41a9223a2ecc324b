"""The prepared folder: which preparation it holds, and whether it is whole."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from twostream.prepare.image_files import listed, names_in
from twostream.prepare.preset import SPLITS

MANIFEST = "manifest.json"
SETTINGS = ".preparation.json"
UNPACKED = ".unpacked"
TABLES = tuple(f"{kind}-{split}.csv" for kind in ("annotation", "pairs") for split in SPLITS)


def check_settings(root: Path, settings: Mapping[str, Any]) -> None:
    """Raise ValueError where a folder holds a preparation with other settings, or files of another origin."""
    path = root / SETTINGS
    if not path.is_file():
        foreign = [name for name in (*SPLITS, *TABLES, MANIFEST) if (root / name).exists()]
        if foreign:
            raise ValueError(
                f"{root}: holds {', '.join(foreign)} of another origin; remove that or name another data.root"
            )
        return
    there = json.loads(path.read_text(encoding="utf-8"))
    asked = json.loads(json.dumps(settings))
    differing = [key for key in there | asked if there.get(key) != asked.get(key)]
    if differing:
        changes = "; ".join(f"{key}: {there.get(key)!r} there, {asked.get(key)!r} asked" for key in differing)
        raise ValueError(f"{root}: was prepared with other settings ({changes}); remove it or name another data.root")


def check_no_others(root: Path, members: Mapping[str, Mapping[str, str]]) -> None:
    """Raise ValueError where a split's folder holds files that are none of its pictures."""
    for split, pictures in members.items():
        others = sorted(names_in(root / split) - pictures.keys())
        if others:
            raise ValueError("\n".join([f"{root / split}: holds {len(others)} other files; remove:", *listed(others)]))


def read_whole(root: Path, members: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return the manifest of a folder whose pictures and tables are all there and unchanged; ValueError if not."""
    manifest = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
    lost = [f"{split}/{name}" for split in members for name in sorted(members[split].keys() - names_in(root / split))]
    lost += [name for name in TABLES if not (root / name).is_file()]
    again = f"remove {root / MANIFEST} and prepare again to make them"
    if lost:
        raise ValueError("\n".join([f"{root}: {len(lost)} files are gone; {again}:", *listed(lost)]))
    got = hash_files(root)
    if got != manifest["data_hash"]:
        expected = manifest["data_hash"]
        raise ValueError(
            f"{root}: was changed after it was prepared: expected data_hash {expected}, got {got}; remove it"
        )
    return manifest


def hash_files(root: Path) -> str:
    """Return the SHA-256 over the names and contents of all tables and pictures, in the order of their names."""
    paths = [root / name for name in TABLES]
    paths += [root / split / name for split in SPLITS for name in names_in(root / split)]
    digest = hashlib.sha256()
    for path in tqdm(sorted(paths), desc="Hash", unit="file", disable=None):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
