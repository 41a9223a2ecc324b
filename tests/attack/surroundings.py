"""Run every command that writes on full disks, in read-only and odd folders, without files that it needs, and more."""

import random
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from attack.kills import remains
from attack.writers import Writer, content_of
from commands import SECONDS

COUNTS = ("as usual", "refused", "refused without a name", "traceback", "files damaged", "temporary files")
PAGE = 4096  # bytes, of a file system in memory
# In a mount namespace of its own, whose file systems vanish with it.
SCRIPT = 'eval "$MOUNT" && cd "$FOLDER" || exit 99; "$@"; status=$?; cp -a "$FOLDER/." "$AFTER"; exit $status'
READ_ONLY = 'mount --bind "$FOLDER" "$FOLDER" && mount -o remount,ro,bind "$FOLDER"'
FULL = 'cp -a "$FOLDER" "$COPY" && mount -t tmpfs -o size=$SIZE none "$FOLDER" && cp -a "$COPY/." "$FOLDER"'
FULL_TMPDIR = 'mount -t tmpfs -o size=8k none "$TMPDIR" && head -c 4096 /dev/zero > "$TMPDIR/full"'


@dataclass(frozen=True)
class Surroundings:
    """Where a command runs.

    Attributes:
        mount: changes the file system; a command of a shell.
        environment: variables.
        folder: the name of the folder.
        room: the space on the disk of FULL, as a share of what an undisturbed command needs.
        vanishes: a file or a folder, drawn at random, that is removed; None for none.
        is_missing: whether it is removed before the command, not at a random moment.

    """

    name: str
    mount: str = "true"
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: str = "folder"
    room: float = 0
    vanishes: Literal["file", "folder"] | None = None
    is_missing: bool = False


SURROUNDINGS = (
    Surroundings("read-only folder", READ_ONLY),
    Surroundings("full disk", FULL),
    Surroundings("disk that fills early", FULL, room=0.3),
    Surroundings("disk that fills late", FULL, room=0.8),
    Surroundings("full folder for temporary files", FULL_TMPDIR),
    Surroundings("no folder for temporary files", environment={"TMPDIR": "/nonexistent"}),
    Surroundings("no home", environment={"HOME": "/nonexistent"}),
    Surroundings("ASCII terminal", environment={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}),
    Surroundings("folder with an odd name", folder="a b,c=d'$eü[0]"),
    Surroundings("missing file", vanishes="file", is_missing=True),
    Surroundings("file that vanishes", vanishes="file"),
    Surroundings("folder that vanishes", vanishes="folder"),
)


@dataclass(frozen=True)
class Removal:
    """A file or a folder, relative to that of a command, and when it is removed: in seconds after the start."""

    path: Path
    after: float = 0

    def __str__(self) -> str:
        return f"{self.path} after {self.after:.1f} s"

    def apply(self, folder: Path) -> None:
        """Remove it from a folder."""
        path = folder / self.path
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class End:
    """How a command ended, what it left, and how long it took."""

    status: int
    output: str
    folder: Path
    seconds: float


def can_mount() -> bool:
    """Return whether this process may have a mount namespace of its own."""
    if shutil.which("unshare") is None:
        return False
    try_it = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(try_it, capture_output=True, check=False).returncode == 0


def attack(writer: Writer, folder: Path, seed: int) -> tuple[dict[str, Counter[str]], list[str]]:
    """Run a command in all surroundings; return the counts of each, and a text for each bad outcome."""
    counts, defects = {}, []
    with tempfile.TemporaryDirectory() as work:
        usual = run(writer, folder, Path(work) / "usual")
        if usual.status:
            raise ValueError(f"{writer.name}: expected status 0, got {usual.status}\n{usual.output}")
        for number, one in enumerate(SURROUNDINGS):
            room = used_by(folder) + one.room * (used_by(usual.folder) - used_by(folder))
            removal = draw_removal(
                one, writer, folder, usual.seconds, random.Random(f"{seed} {writer.name} {one.name}")
            )
            end = run(writer, folder, Path(work) / str(number), one, removal, int(room / PAGE) * PAGE)
            counts[one.name], texts = judge(end, folder, usual.folder, removal)
            defects += [f"{writer.name}, {one.name} {removal or ''}: {text}" for text in texts]
            shutil.rmtree(end.folder.parent)
    return counts, defects


def draw_removal(
    surroundings: Surroundings, writer: Writer, folder: Path, seconds: float, chance: random.Random
) -> Removal | None:
    """Draw what is removed of the files that a command's arguments name, and when, if the command takes so long."""
    if surroundings.vanishes is None:
        return None
    is_kind = Path.is_file if surroundings.vanishes == "file" else Path.is_dir
    paths = sorted(path.relative_to(folder) for path in folder.rglob("*") if is_kind(path))
    named = [path for path in paths if path.parts[0] in " ".join(writer.arguments)]
    return Removal(chance.choice(named), 0 if surroundings.is_missing else chance.uniform(0.4, 0.9) * seconds)


def run(
    writer: Writer,
    folder: Path,
    work: Path,
    surroundings: Surroundings = Surroundings("usual"),
    removal: Removal | None = None,
    size: int = 0,
) -> End:
    """Run a command in a copy of a folder under `work`, with a disk of so many bytes if the surroundings have one."""
    copy, temporary = work / surroundings.folder, work / "tmp"
    shutil.copytree(folder, copy)
    temporary.mkdir()
    if removal and not removal.after:
        removal.apply(copy)
    variables = {
        **{"MOUNT": surroundings.mount, "FOLDER": str(copy), "AFTER": str(work / "after"), "COPY": str(work / "copy")},
        **{"SIZE": str(size), "TMPDIR": str(temporary), **surroundings.environment},
    }
    inside = ("unshare", "--map-root-user", "--mount", "sh", "-c", SCRIPT, "sh")
    start = time.monotonic()
    process = writer.start(copy, inside=inside, **variables)
    if removal and removal.after:
        timer = threading.Timer(removal.after, removal.apply, (copy,))
        timer.start()
    output, _ = process.communicate(timeout=SECONDS)
    return End(process.returncode, output, work / "after", time.monotonic() - start)


def used_by(folder: Path) -> int:
    """Return how many bytes the files of a folder take on a disk in memory."""
    return sum(-(-path.stat().st_size // PAGE) * PAGE for path in folder.rglob("*") if path.is_file())


def judge(end: End, before: Path, usual: Path, removal: Removal | None) -> tuple[Counter[str], list[str]]:
    """Return the counts, and a text for each bad one, of a command that was given `before`, and usually leaves `usual`.

    A file is damaged if it is neither as before nor as usual, or gone. Not compared: hidden folders, in which commands
    keep what they can resume, checkpoints of a stopped training, and files that may lack what a missing one would give.
    """
    given, expected, left = (
        {name: content for name, content in content_of(folder).items() if not name.startswith(".")}
        for folder in (before, usual, end.folder)
    )
    names = {path.name for folder in (usual, end.folder) for path in folder.rglob("*")}
    outcome = outcome_of(end, names if removal is None else names_of(removal, before))
    damaged = []
    if removal is None:
        damaged = [name for name in given if name not in left]
        damaged += [
            name
            for name, content in left.items()
            if content not in (given.get(name), expected.get(name)) and not name.endswith(".ckpt")
        ]
    if outcome == "as usual" and removal is None:
        damaged += [name for name in expected if left.get(name) != expected[name]]
    counts = Counter({outcome: 1, "files damaged": len(damaged), "temporary files": len(remains(end.folder))})
    bad = [name for name in COUNTS[2:] if counts[name]]
    return counts, [f"{', '.join(bad)} {damaged or ''}\n{end.output}"] if bad else []


def names_of(removal: Removal, before: Path) -> set[str]:
    """Return the names by one of which a message can say what is missing: its own, its folder's, and what it held."""
    held = {path.name for path in (before / removal.path).rglob("*")}
    return {removal.path.name, removal.path.parent.name} | held - {""}


def outcome_of(end: End, names: Set[str]) -> str:
    """Return how a command ended; a refusal has to show one of the names, or to end with a quoted one."""
    if "Traceback" in end.output:
        return "traceback"
    if end.status == 0:
        return "as usual"
    is_named = any(name in end.output for name in names) or re.search(r"Error: .*: '[^']+'$", end.output, re.MULTILINE)
    return "refused" if is_named else "refused without a name"
