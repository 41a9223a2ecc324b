"""Imports point one way, from the types to the commands."""

import ast
from pathlib import Path

import twostream

ROOT = Path(twostream.__file__).parent
LAYERS = [
    {"types", "files"},
    {"weights"},
    {"data", "nets", "losses", "tables", "loggers", "runs", "progress", "curves", "performance"},
    {"metrics"},
    {"module"},
    {"callbacks", "strategies"},
    {"build"},
    {"prepare", "evaluation", "status", "benchmark"},
    {"resume"},
    {"cli"},
]
LAYER = {name: depth for depth, names in enumerate(LAYERS) for name in names}
OPTIONAL = {"wandb", "albumentations", "torch_fidelity", "rtmlib", "onnxruntime", "cv2", "onnx", "wandb_workspaces"}
OPTIONAL |= {"matplotlib"}


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


def test_tables_import_nothing_of_ours():
    for path, part in modules():
        if part == "tables":
            ours = {n for n in imports_of(path, ast.walk(ast.parse(path.read_text()))) if n.startswith("twostream")}
            assert {name.split(".")[1] for name in ours} <= {"tables"}


def test_optional_packages_are_imported_where_they_are_used():
    for path, _ in modules():
        at_start = imports_of(path, ast.parse(path.read_text()).body)
        assert not {name.split(".")[0] for name in at_start} & OPTIONAL, path
        assert "lightning" not in {name.split(".")[0] for name in at_start}, path


def test_files_and_functions_stay_short():
    for path, _ in modules():
        text = path.read_text()
        assert len(text.splitlines()) <= 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 50, f"{path}: {node.name}"
