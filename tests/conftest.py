import copy
import functools
import importlib
import io
import json
import os
import shutil
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from jaxtyping import install_import_hook
from omegaconf import DictConfig, OmegaConf

from attack.writers import make_folder
from audit import Comparison, largest_difference, write_page
from tiny_run import compose_config, overrides_of_tiny_run, tiny_people, train_tiny
from twostream.types import PosePair

# pytest's plugin instruments one package only if its type checker takes arguments.
install_import_hook("synthetic_people", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

# Nets this small are faster on one thread. Without the variable, Lightning's DDP would set one for each core.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--audit", type=Path, help="run the tests that use `agree` alone and write their table to a page")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--audit"):
        items[:] = [item for item in items if "agree" in item.fixturenames]


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int, config: pytest.Config) -> None:
    path = config.getoption("--audit")
    if path and exitstatus == 0:
        tests = terminalreporter.stats["passed"]
        rows = [Comparison(*row) for test in tests for name, row in test.user_properties if name == "audit"]
        write_page(path, rows)
        terminalreporter.write_line(f"{len(rows)} comparisons: {path}")


@pytest.fixture
def agree(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Check that values equal those of an independent reference, and record the comparison for `make audit`.

    Called as `agree(part, what, against, values, expected, limit)`: a part of the page, what is compared with what, and
    the largest difference allowed; relative to the largest expected value if `relative`. A limit of 0 compares what can
    be counted.
    """

    def compare(
        part: str, what: str, against: str, values: Any, expected: Any, limit: float, relative: bool = False
    ) -> None:
        difference, count = largest_difference(values, expected, relative)
        test = request.node.path.stem
        record_property("audit", (part, what, against, difference, limit, relative, count, test))
        assert difference <= limit, f"{what} against {against}: {difference} over {limit}"

    return compare


@pytest.fixture(scope="session", autouse=True)
def parsed_configs() -> Iterator[None]:
    """Hydra parses the files of `conf/` anew for each config that it composes; here equal files are parsed once."""
    load = OmegaConf.load
    parse = functools.cache(lambda text: load(io.StringIO(text)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmegaConf, "load", lambda f: copy.deepcopy(parse(f.read())) if hasattr(f, "read") else load(f))
        yield


@pytest.fixture(scope="session")
def people_parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a tiny set of synthetic people is rendered."""
    parent = tmp_path_factory.mktemp("people")
    tiny_people().prepare(parent)
    return parent


@pytest.fixture(scope="session")
def people_folder(people_parent: Path) -> Path:
    return tiny_people().prepare(people_parent)


@pytest.fixture(scope="session")
def finished_run(people_parent: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[DictConfig, Path]:
    """The config and folder of a tiny run that is trained and evaluated; a test that changes it copies it."""
    run_dir = tmp_path_factory.mktemp("runs") / "synthetic/smoke/full/seed0"
    return train_tiny(people_parent, run_dir), run_dir


@pytest.fixture(scope="session")
def finished_warp(people_parent: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[DictConfig, Path]:
    """The same of the warp."""
    run_dir = tmp_path_factory.mktemp("runs") / "synthetic/smoke/warp/seed0"
    overrides = ["generator=warp", "generator.warp.key_channels=4", "variant=warp"]
    return train_tiny(people_parent, run_dir, *overrides), run_dir


@pytest.fixture(scope="session")
def writers_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("writers"))


@pytest.fixture
def tiny_config(people_parent: Path, tmp_path: Path) -> Callable[..., DictConfig]:
    """Composes the `train` config of a tiny run with further overrides."""

    def compose_tiny(*overrides: str) -> DictConfig:
        return compose_config("train", *overrides_of_tiny_run(people_parent, tmp_path / "run"), *overrides)

    return compose_tiny


@pytest.fixture
def add_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes the metrics.json of a run below `runs`, with `changes` to its run fields, and returns its path.

    A metric is named `ssim` (protocol patn) or `lpips/standard`; its value is a number or the entry's keys. With
    `replicates`, by such names, a bootstrap.json is written too.
    """

    def metric(name):
        name, _, protocol = name.partition("/")
        return {"metric": name, "protocol": protocol or "patn"}

    def add(variant, values, seed=0, missing=None, replicates=None, **changes):
        run = {"data": "synthetic", "label": "synthetic people", "scale": "smoke", "variant": variant, "seed": seed}
        run |= {"iterations": 100, "batch_size": 8, "image_size": [64, 32], "commit": "abc1234", "dirty": False}
        run |= {"data_hash": "d1", "notes": ["random features"], **changes}
        test = {"identities": 12, "pairs_hash": "p1"}
        entries = [
            metric(name) | {"n": 64, "interval": None} | (value if isinstance(value, dict) else {"value": value})
            for name, value in values.items()
        ]
        reasons = [metric(name) | {"reason": reason} for name, reason in (missing or {}).items()]
        path = tmp_path / "runs" / run["data"] / "smoke" / variant / f"seed{seed}" / "metrics.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"format": 2, "run": run, "test": test, "values": entries, "missing": reasons}))
        if replicates is not None:
            lists = [metric(name) | {"values": numbers} for name, numbers in replicates.items()]
            path.with_name("bootstrap.json").write_text(
                json.dumps({"format": 1, "seed": 0, **test, "replicates": lists})
            )
        return path

    return add


@pytest.fixture
def random_pair() -> PosePair:
    """A batch of two pairs of random 32x16 pictures and heatmaps."""
    random = torch.Generator().manual_seed(0)

    def draw(channels: int, low: float) -> torch.Tensor:
        return torch.rand(2, channels, 32, 16, generator=random) * (1 - low) + low

    return PosePair(draw(3, -1), draw(18, 0), draw(18, 0), draw(3, -1))


@pytest.fixture
def unchecked(monkeypatch) -> Iterator[types.ModuleType]:
    """The package as its users have it: torch can't compile the checks of axes."""
    checked = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "twostream"}
    finders = [finder for finder in sys.meta_path if not type(finder).__module__.startswith("jaxtyping")]
    assert len(finders) < len(sys.meta_path)
    monkeypatch.setattr(sys, "meta_path", finders)
    torch._dynamo.reset()
    yield importlib.import_module("twostream.build")
    torch._dynamo.reset()
    torch.compiler.set_stance("default")
    for name in [name for name in sys.modules if name.partition(".")[0] == "twostream"]:
        del sys.modules[name]
    sys.modules.update(checked)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Debian's chromium, headless, driven by playwright; tests are skipped where either is missing."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no browser: install chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens an address in a browser context with these options; what pages write to the console fails the test."""
    contexts, said = [], []

    def open_address(address: str, **options: Any) -> Any:
        contexts.append(chromium.new_context(**options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address)
        return page

    yield open_address
    for context in contexts:
        context.close()
    # The browser itself reports that a photo was refused, with 413 or 415.
    assert [text for text in said if "the server responded with a status of 41" not in text] == []
