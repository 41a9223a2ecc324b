"""Kill and signal every command that writes at random moments, and count what is left and what is said."""

import os
import random
import shutil
import signal
import tempfile
import time
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from attack.writers import Writer, content_of
from commands import SECONDS, wait_until
from twostream.files import REMAINS

COUNTS = ("kills", "equal files afterwards", "signals", "ended as documented", "temporary files", "orphans")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
MARK = "TWOSTREAM_ATTACK"  # an environment variable that all processes of an attacked command have
MIN_SECONDS = 1.0  # what writes for less is not hit while it writes
ORPHAN_SECONDS = 30  # a job of a sweep ends its iteration, and looks for the sweep twice a second


@dataclass(frozen=True)
class Moment:
    """So many seconds after the start of a command, or after the first file that it writes."""

    seconds: float
    is_after_first_file: bool = False


@dataclass(frozen=True)
class End:
    """How a command ended; `was_running` when the signal was sent, and so many of its processes were left."""

    status: int
    output: str
    was_running: bool
    num_orphans: int


class Attack:
    """Kills and signals of one command in copies of a folder of `make_folder`, at moments drawn from a seed.

    Every second moment is after the first file is written, unless the command ends at once then. A signal at a command
    that has ended already is not counted, nor what an undisturbed command leaves in $TMPDIR, such as caches of torch.

    Attributes:
        counts: those of `COUNTS`.
        defects: a line, and the output, of each command that ended or left files otherwise than expected.

    """

    def __init__(self, writer: Writer, folder: Path, work: Path, seed: int) -> None:
        self.writer, self.folder, self.work = writer, folder, work
        self.moments = random.Random(f"{seed} {writer.name}")
        self.counts: Counter[str] = Counter()
        self.defects: list[str] = []
        undisturbed = shutil.copytree(folder, work / "undisturbed")
        self.temporary = work / "tmp"
        self.temporary.mkdir()
        self.until_first_file, self.after_first_file = pace(writer, undisturbed, self.temporary)
        self.caches = set(self.temporary.iterdir())
        self.expected = content_of(undisturbed)

    def kill(self, count: int) -> None:
        """Kill the command so many times in one folder, start it again and compare its files with undisturbed ones."""
        folder = shutil.copytree(self.folder, self.work / "killed")
        for number in range(count):
            end = disturb(self.writer, folder, self.temporary, self._moment(number), signal.SIGKILL)
            self.counts["kills"] += end.was_running
            self._count_orphans(end)
        end = disturb(self.writer, folder, self.temporary)
        content = content_of(folder)
        names = sorted(content.keys() | self.expected.keys())
        other = [name for name in names if content.get(name) != self.expected.get(name)]
        if end.status == 0 and not other:
            self.counts["equal files afterwards"] += self.counts["kills"]
        else:
            changes = "; ".join(f"{name}: {first_change(self.expected.get(name), content.get(name))}" for name in other)
            self._add_defect(f"killed and started again: status {end.status}, other files: {changes}", end)
        self._count_temporary_files(folder, end)

    def signal(self, count: int) -> None:
        """Send the command each signal so many times, each in a folder of its own."""
        for number in range(count * len(SIGNALS)):
            sent = SIGNALS[number % len(SIGNALS)]
            folder = shutil.copytree(self.folder, self.work / f"signal{number}")
            end = disturb(self.writer, folder, self.temporary, self._moment(number), sent)
            if not end.was_running:
                continue
            self.counts["signals"] += 1
            if is_as_documented(self.writer, sent, end):
                self.counts["ended as documented"] += 1
            else:
                self._add_defect(f"{sent.name}: status {end.status}", end)
            self._count_orphans(end)
            self._count_temporary_files(folder, end)

    def _moment(self, number: int) -> Moment:
        is_after = number % 2 == 0 and self.after_first_file > MIN_SECONDS
        return Moment(self.moments.uniform(0, self.after_first_file if is_after else self.until_first_file), is_after)

    def _count_orphans(self, end: End) -> None:
        self.counts["orphans"] += end.num_orphans
        if end.num_orphans:
            self._add_defect(f"{end.num_orphans} processes were left", end)

    def _count_temporary_files(self, folder: Path, end: End) -> None:
        left = remains(folder)
        left += set(self.temporary.iterdir()) - self.caches
        self.caches |= set(left)  # counted once
        self.counts["temporary files"] += len(left)
        if left:
            self._add_defect(f"left {', '.join(map(str, left))}", end)

    def _add_defect(self, text: str, end: End) -> None:
        self.defects.append(f"{self.writer.name}: {text}\n{end.output}")


def attack(writer: Writer, folder: Path, count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Kill a command so many times and send it each signal as often; return the counts and a text for each defect."""
    with tempfile.TemporaryDirectory() as work:
        one = Attack(writer, folder, Path(work), seed)
        one.kill(count)
        one.signal(count)
        return one.counts, one.defects


def pace(writer: Writer, folder: Path, temporary: Path) -> tuple[float, float]:
    """Run a command with a $TMPDIR; return the seconds until it writes its first file, and from then on.

    Raises ValueError if it fails.
    """
    before, began = stamps(folder), time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = writer.start(folder, output, TMPDIR=str(temporary))
        wait_until(lambda: process.poll() is not None or stamps(folder) != before)
        first = time.monotonic()
        if process.wait(SECONDS):
            output.seek(0)
            raise ValueError(f"{writer.name}: expected status 0, got {process.returncode}\n{output.read()}")
    return first - began, time.monotonic() - first


def disturb(writer: Writer, folder: Path, temporary: Path, moment: Moment | None = None, number: int = 0) -> End:
    """Start a command, send it a signal at a moment, if one is given, and wait until it and its processes have ended.

    `temporary` is its $TMPDIR. A signal that a command handles is sent when it has handlers, in the first second.
    """
    mark, before = uuid.uuid4().hex, stamps(folder)
    was_running = False
    with tempfile.TemporaryFile("w+") as output:
        process = writer.start(folder, output, **{MARK: mark, "TMPDIR": str(temporary)})
        if moment:
            if moment.is_after_first_file:
                wait_until(lambda: process.poll() is not None or stamps(folder) != before)
            with suppress(TimeoutError):
                wait_until(lambda: process.poll() is not None, moment.seconds)
            if number != signal.SIGKILL:
                wait_until(lambda: process.poll() is not None or handles(process.pid, signal.SIGUSR1))
            was_running = process.poll() is None
            process.send_signal(number)
        process.wait(SECONDS)
        with suppress(TimeoutError):
            wait_until(lambda: not processes_with(mark), ORPHAN_SECONDS)
        orphans = processes_with(mark)
        for orphan in orphans:
            os.kill(orphan, signal.SIGKILL)
        output.seek(0)
        return End(process.returncode, output.read(), was_running, len(orphans))


def first_change(expected: bytes | None, got: bytes | None) -> str:
    """Return the first line in which two contents of a file differ."""
    if expected is None or got is None:
        return "missing" if got is None else "not expected"
    lines = zip_longest(expected.splitlines(), got.splitlines())
    return next((f"{one!r:.200} is {other!r:.200}" for one, other in lines if one != other), "other line ends")


def remains(folder: Path) -> list[Path]:
    """Return the temporary files of writers in a folder."""
    return [path for path in folder.rglob(".*") if REMAINS.fullmatch(path.name) or path.name.endswith(".partial")]


def stamps(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return time and size of the files in a folder, without those that vanish meanwhile."""
    found = {}
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            status = path.stat()
            found[path] = (status.st_mtime_ns, status.st_size)
    return found


def handles(process: int, number: int) -> bool:
    """Return whether a process has a handler of a signal."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    (mask,) = (line.split()[1] for line in lines if line.startswith("SigCgt"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def processes_with(mark: str) -> list[int]:
    """Return the processes that have the mark in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"{MARK}={mark}".encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def is_as_documented(writer: Writer, number: int, end: End) -> bool:
    """Return whether a command ended as docs/runs.md says: with one line and this exit status, without a traceback."""
    is_training = writer.command == "train"
    name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    status = 0 if is_training and number != signal.SIGINT else 128 + number
    is_said = end.output.count(f"interrupted by {name}") == 1 or writer.name == "sweep"
    return is_said and end.status == status and "Traceback" not in end.output
