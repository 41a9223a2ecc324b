"""Imports point one way, from the types to the commands."""

import ast
from pathlib import Path

import synthetic_people
import twostream

ROOT = Path(twostream.__file__).parent
SYNTHETIC_PEOPLE = Path(synthetic_people.__file__).parent
LAYERS = [
    {"types", "files", "extras", "signals"},
    {"registry"},
    {"weights", "runs", "model_package"},
    {"data", "nets", "losses", "tables", "performance", "schedule"},
    {"metrics", "strategies", "loggers"},
    {"module"},
    {"callbacks"},
    {"build", "resume"},
    {"inference"},
    {"prepare", "evaluation", "sweep_status", "benchmark"},
    {"report", "export"},
    {"demo"},
    {"cli"},
]
LAYER = {name: depth for depth, names in enumerate(LAYERS) for name in names}
# What the package of synthetic people may import of twostream.
FOR_SYNTHETIC_PEOPLE = ("data", "files", "signals", "weights", "types", "metrics.pckh")
OPTIONAL = {"wandb", "albumentations", "torch_fidelity", "rtmlib", "onnxruntime", "cv2", "onnx", "wandb_workspaces"}
OPTIONAL |= {"matplotlib", "ai_edge_litert", "onnxscript", "imageio", "av", "starlette", "uvicorn"}


def imports_of(path: Path, nodes) -> set[str]:
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
    return names


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts != ("__init__",):
            yield path, parts[0]


def test_an_import_points_to_the_left_only():
    for path, part in modules():
        for name in imports_of(path, ast.walk(ast.parse(path.read_text()))):
            if name.startswith("twostream."):
                other = name.split(".")[1]
                assert other == part or LAYER[other] < LAYER[part], f"{path} imports {name}"


def test_tables_import_nothing_of_ours_but_files_and_runs():
    for path, part in modules():
        if part == "tables":
            ours = {n for n in imports_of(path, ast.walk(ast.parse(path.read_text()))) if n.startswith("twostream")}
            assert {name.split(".")[1] for name in ours} <= {"tables", "files", "runs"}


def test_synthetic_people_import_only_data_and_files_of_ours():
    for path in SYNTHETIC_PEOPLE.rglob("*.py"):
        for name in imports_of(path, ast.walk(ast.parse(path.read_text()))):
            if name.partition(".")[0] == "twostream":
                inner = name.removeprefix("twostream.")
                assert any(f"{inner}.".startswith(f"{allowed}.") for allowed in FOR_SYNTHETIC_PEOPLE), f"{path}: {name}"


def test_optional_packages_are_imported_where_they_are_used():
    for path, _ in modules():
        at_start = imports_of(path, ast.parse(path.read_text()).body)
        assert not {name.split(".")[0] for name in at_start} & OPTIONAL, path
        assert "lightning" not in {name.split(".")[0] for name in at_start}, path


def test_files_and_functions_stay_short():
    for path in [*ROOT.rglob("*.py"), *SYNTHETIC_PEOPLE.rglob("*.py")]:
        text = path.read_text()
        assert len(text.splitlines()) <= 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 50, f"{path}: {node.name}"
