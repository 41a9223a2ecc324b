"""Damage every input many times (`inputs`), or attack every command that writes, and count what happens.

`kills` kills and signals the commands, `surroundings` runs them on full disks and in other odd places. `make attack`,
`make attack-kills` and `make attack-surroundings` write the tables of docs/reliability.md.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from hydra.errors import HydraException

sys.path.insert(0, str(Path(__file__).parents[1]))

from attack import kills, surroundings
from attack.readers import Reader, readers
from attack.writers import WRITERS, Writer, make_folder
from tiny_run import EXPERIMENTS, tiny_people, train_tiny
from twostream.cli.errors import EXPECTED
from twostream.demo.checked_input import BadRequest
from twostream.export.package import export_run

OUTCOMES = (
    "accepted",
    "refused",
    "refused without a name",
    "traceback",
    "hang",
    "flood",
    "wrong result",
    "callables executed",
)
BAD = OUTCOMES[2:]
# Beyond them an input hangs, or floods the memory or the log.
SECONDS, MEGABYTES, CHARACTERS = 5, 1024, 2000
NUM_COMMANDS = 2  # that are attacked at a time


class Hang(BaseException):
    """An input took too long."""


def attack(reader: Reader, count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Give a reader so many damaged inputs; return the outcomes and a line for each bad one."""
    outcomes: Counter[str] = Counter()
    lines = []
    for number in range(count):
        rng = np.random.default_rng([seed, zlib.crc32(reader.name.encode()), number])
        content = reader.changes[number % len(reader.changes)](reader.content, rng)
        outcome, text = judge(reader, content)
        outcomes[outcome] += 1
        if outcome in BAD:
            lines.append(f"{reader.name}, input {number}: {outcome}: {text}")
    return outcomes, lines


def judge(reader: Reader, content: bytes) -> tuple[str, str]:
    """Give a reader one input; return the outcome, and what was said."""
    before, start = reset_peak(), time.monotonic()
    try:
        with in_place(reader, content) as given, limited():
            reader.read(given)
        outcome, text = "accepted", ""
        if reader.is_sealed and content != reader.content:
            outcome, text = "wrong result", "a damaged file was accepted"
    except Hang:
        outcome, text = "hang", f"over {SECONDS} s"
    except (BadRequest, HydraException, *EXPECTED) as error:
        text = str(error)
        outcome = "refused" if names_input(reader, content, error) else "refused without a name"
    except Exception as error:
        outcome, text = "traceback", repr(error)
    if reader.canary and was_written(reader.canary):
        outcome, text = "callables executed", text or "accepted"
    elif outcome in ("accepted", "refused") and peak() - before > MEGABYTES:
        outcome, text = "flood", f"{peak() - before:.0f} MB in {time.monotonic() - start:.1f} s"
    elif len(text) > CHARACTERS:
        outcome, text = "flood", f"a message of {len(text):,} characters: {text}"
    return outcome, text.replace("\n", " ")[:300]


def was_written(canary: Path) -> bool:
    """Return whether a file or folder is there, and remove it."""
    if canary.is_dir():
        canary.rmdir()
        return True
    is_there = canary.exists()
    canary.unlink(missing_ok=True)
    return is_there


def names_input(reader: Reader, content: bytes, error: Exception) -> bool:
    """Return whether a refusal names the file or the key of the option, or answers a request with 4xx."""
    if isinstance(error, BadRequest):
        return 400 <= error.status < 500
    name = reader.path.name if reader.path else content.decode(errors="replace").partition("=")[0]
    return name in str(error)


def reset_peak() -> float:
    """Forget the largest memory of this process, which earlier inputs may have caused; return its memory now, in MB."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> float:
    """Return the largest memory of this process since `reset_peak`, in MB."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


@contextmanager
def in_place(reader: Reader, content: bytes) -> Iterator[Any]:
    """Put the damaged content in the place of a reader's file, and the right one back."""
    if reader.path is None:
        yield content
        return
    right = reader.path.read_bytes()
    try:
        reader.path.write_bytes(content)
        yield reader.path
    finally:
        reader.path.write_bytes(right)


@contextmanager
def limited() -> Iterator[None]:
    """Raise Hang in what takes too long."""

    def stop(*_: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def prepare(folder: Path) -> list[Reader]:
    """Make a run, its package and its people in a folder; return the readers of them."""
    people = tiny_people().prepare(folder)
    run = folder / "runs/synthetic/smoke/full/seed0"
    train_tiny(folder, run)
    export_run(run, folder / "package", onnx=False)
    spec = folder / "table3_at_module.yaml"
    for name in ("_base.yaml", "figure4.yaml", spec.name):
        shutil.copy(EXPERIMENTS / name, folder)
    return readers(run, folder / "package", people, spec)


def attack_commands(
    attack_one: Callable[[Writer, Path], tuple[Any, list[str]]], only: Sequence[str] | None
) -> tuple[dict[str, Any], list[str]]:
    """Attack all commands that write, or those of some names; return the counts and a text for each defect."""
    writers = [writer for writer in WRITERS if only is None or writer.name in only]
    with tempfile.TemporaryDirectory() as parent, ThreadPoolExecutor(NUM_COMMANDS) as pool:
        folder = make_folder(Path(parent))

        def attack_and_show(writer: Writer) -> tuple[Any, list[str]]:
            counts, defects = attack_one(writer, folder)
            print(f"{writer.name}: {counts}", *defects, sep="\n", file=sys.stderr, flush=True)
            return counts, defects

        done = list(pool.map(attack_and_show, writers))
    counts = {writer.name: one for writer, (one, _) in zip(writers, done, strict=True)}
    return counts, [text for _, texts in done for text in texts]


def table(first: str, columns: Sequence[str], counts: dict[str, Counter[str]]) -> str:
    """Return counts, and their sum, as Markdown; `first` is the title of the column of names."""
    rows = [*counts.items(), ("**all**", sum(counts.values(), Counter()))]
    lines = [f"| {first} | {' | '.join(columns)} |", f"| --- |{' ---: |' * len(columns)}"]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(str(row[one]) for one in columns)} |" for name, row in rows)])


def write_kills(arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """Kill and signal commands; return the table and the defects."""

    def kill(writer: Writer, folder: Path) -> tuple[Counter[str], list[str]]:
        return kills.attack(writer, folder, arguments.count or 2, arguments.seed)

    counts, defects = attack_commands(kill, arguments.only)
    return table("command", kills.COUNTS, counts), defects


def write_surroundings(arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """Run commands in odd surroundings; return the table and the defects."""

    def run(writer: Writer, folder: Path) -> tuple[dict[str, Counter[str]], list[str]]:
        return surroundings.attack(writer, folder, arguments.seed)

    of_commands, defects = attack_commands(run, arguments.only)
    names = [one.name for one in surroundings.SURROUNDINGS]
    counts = {name: sum((one[name] for one in of_commands.values()), Counter()) for name in names}
    return table("surroundings", surroundings.COUNTS, counts), defects


def write_inputs(arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """Give readers damaged inputs; return the table and a line for each bad outcome."""
    counts, lines = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for reader in prepare(Path(folder)):
            if arguments.only is None or reader.name in arguments.only:
                counts[reader.name], bad = attack(reader, arguments.count or 100, arguments.seed)
                lines += bad
    return table("input", OUTCOMES, counts), lines


ATTACKS = {"inputs": write_inputs, "kills": write_kills, "surroundings": write_surroundings}


def main() -> int:
    """Attack all readers or commands, print the table and every bad outcome; return 1 if there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("attack", nargs="?", choices=ATTACKS, default="inputs")
    parser.add_argument("--count", type=int, help="inputs of each reader (100), or kills of each command (2)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", help="the readers or commands of these names alone")
    parser.add_argument("--page", type=Path, help="page whose table is replaced")
    arguments = parser.parse_args()
    written, lines = ATTACKS[arguments.attack](arguments)
    print(written, *lines, sep="\n")
    if arguments.page:
        start, end = f"<!-- {arguments.attack} -->", f"<!-- /{arguments.attack} -->"
        head, _, rest = arguments.page.read_text().partition(start)
        arguments.page.write_text(f"{head}{start}\n{written}\n{end}{rest.partition(end)[2]}")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
