"""What there is to prepare from: pictures, lists, annotations and pairs, found before anything is written."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from twostream.prepare.archives import Download, open_download, open_inner
from twostream.prepare.preset import SPLITS, About, ListFile, Preset

LIST_SETTINGS = {"train_list": "train.lst", "test_list": "test.lst"}


@dataclass(frozen=True)
class Inputs:
    """Where a user says that things lie.

    Attributes:
        source: the downloaded zip or folder.
        annotations: folder to look for published files in, besides the source's own; None if there is none.
        files: setting -> file that is named one by one: annotations_train, annotations_test, pairs_train, pairs_test,
            train_list, test_list.

    """

    source: Path
    annotations: Path | None
    files: Mapping[str, Path]


@dataclass(frozen=True)
class Plan:
    """What was found.

    Attributes:
        download: holds the pictures.
        members: split -> file name -> name in the download.
        tables: annotations_SPLIT and pairs_SPLIT -> file, where there is one.
        lists: the files that split the pictures, by name.
        num_unlisted: pictures that are in no split.
        missing: a line for each picture that a split names and that is not there.
        codec: what becomes of the pictures' files.

    """

    download: Download
    members: dict[str, dict[str, str]]
    tables: dict[str, Path]
    lists: dict[str, ListFile]
    num_unlisted: int
    missing: list[str]
    codec: str

    def fingerprint(self) -> str:
        """Return a hash over the pictures' names and sizes: equal for a zip and what is unpacked from it."""
        digest = hashlib.sha256()
        for split, pictures in self.members.items():
            for name in sorted(pictures):
                digest.update(f"{split}/{name} {self.download.size(pictures[name])}\n".encode())
        return digest.hexdigest()


def make_plan(preset: Preset, inputs: Inputs, scratch: Path) -> Plan:
    """Find everything; a zip inside a zip is unpacked to the folder `scratch`.

    Raises ValueError where there are no pictures, where nothing tells their split, where a named file is not there and
    where there are two published files to choose from.
    """
    about = preset.about
    for setting, path in inputs.files.items():
        if not path.is_file():
            raise ValueError(f"{setting}: expected a file, there is none at {path}")
    folders = [inputs.source if inputs.source.is_dir() else inputs.source.parent]
    if inputs.annotations is not None:
        if not inputs.annotations.is_dir():
            raise ValueError(f"annotations: expected a folder, there is none at {inputs.annotations}")
        folders.insert(0, inputs.annotations)
    outer = open_download(inputs.source)
    download, found = _with_pictures(outer, preset, scratch)
    lists = _find_lists(about, inputs.files, folders, [outer] if outer is download else [outer, download])
    split = preset.split(found, lists)
    members = {
        key: {name: found[name] for name in split.names[key] if name in found}  # in the split's order
        for key in SPLITS
    }
    empty = [key for key in SPLITS if not members[key]]
    if empty:
        wanted = f"wanted: {about.wanted}; split by {' and '.join(split.said_by)}"
        raise ValueError(f"{inputs.source}: expected pictures for train and test, got none for {empty[0]}; {wanted}")
    missing = [
        f"{key}: {name} is in {' or '.join(split.said_by)} but not in the source"
        for key in SPLITS
        for name in split.names[key]
        if name not in found
    ]
    first = next(iter(members["train"].values()))
    try:
        codec = preset.codec(download.read(first))
    except ValueError as error:
        raise ValueError(f"{download.path}: {first}: {error}") from None
    return Plan(
        download=download,
        members=members,
        tables=_find_tables(about, inputs, folders),
        lists={name: lists[name] for name in split.said_by if name in lists},
        num_unlisted=len(found) - sum(map(len, members.values())),
        missing=missing,
        codec=codec,
    )


def _with_pictures(outer: Download, preset: Preset, scratch: Path) -> tuple[Download, dict[str, str]]:
    """Return the download that holds the pictures, the outer one or a zip inside it, and the pictures."""
    if found := preset.find(outer.names()):
        return outer, found
    for inner in open_inner(outer, preset.about.archives, scratch):
        if found := preset.find(inner.names()):
            return inner, found
    raise ValueError(f"{outer.path}: expected pictures of {preset.about.label} ({preset.about.wanted}), got none")


def _find_lists(
    about: About, given: Mapping[str, Path], folders: Iterable[Path], downloads: Iterable[Download]
) -> dict[str, ListFile]:
    """Read the lists that there are: the named ones, else those in the folders, else those in the downloads."""
    named = {name: given[setting] for setting, name in LIST_SETTINGS.items() if setting in given}
    unwanted = [setting for setting in LIST_SETTINGS if setting in given and not about.list_names]
    if unwanted:
        raise ValueError(f"{unwanted[0]}: expected none, as {about.label} is split by its folders")
    lists = {}
    for name in about.list_names:
        paths = [named[name]] if name in named else [folder / name for folder in folders]
        contents = [path.read_bytes() for path in paths if path.is_file()]
        if not contents:
            contents = [
                download.read(member)
                for download in downloads
                for member in download.names()
                if PurePosixPath(member).name == name
            ]
        if contents:
            lists[name] = ListFile(name, contents[0])
    return lists


def _find_tables(about: About, inputs: Inputs, folders: Sequence[Path]) -> dict[str, Path]:
    """Return the annotation and pair files: the named ones, else those of a published name in the first folder."""
    tables = {}
    for kind in ("annotation", "pairs"):
        for split in SPLITS:
            setting = f"{'annotations' if kind == 'annotation' else kind}_{split}"
            names = [f"{prefix}-{kind}-{split}.csv" for prefix in about.prefixes]
            if path := inputs.files.get(setting) or _only_one(setting, names, folders):
                tables[setting] = path
            elif kind == "annotation" and inputs.annotations is not None:
                raise ValueError(f"annotations: expected one of {', '.join(names)} in {inputs.annotations}, got none")
    return tables


def _only_one(setting: str, names: Iterable[str], folders: Iterable[Path]) -> Path | None:
    names = list(names)
    for folder in folders:
        there = [name for name in names if (folder / name).is_file()]
        if len(there) > 1:
            raise ValueError(f"{folder}: expected one file, got {' and '.join(there)}: name one with {setting}=FILE")
        if there:
            return folder / there[0]
    return None
