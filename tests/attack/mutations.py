"""Damaged files: random changes of bytes, of the lines of a table and of the values of JSON."""

import copy
import json
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

IMAGE_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F")
NUMPY_TYPES = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
FORMATS = {
    "PNG": {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"},
    "JPEG": {"L", "RGB", "CMYK", "YCbCr"},
    "WEBP": {"RGB", "RGBA"},
    "TIFF": set(IMAGE_MODES),
}

WORDS = (
    b"",
    b"\0",
    b"NaN",
    b"-1",
    b"1e999",
    b"9" * 400,
    b"\xff\xfe",
    b"../../x",
    b"${oc.env:HOME}",
    b"[" * 3000,
    b":",
    b",",
)
WRONG: tuple[Any, ...] = (
    *(None, True, "", "x", -1, 0, 1.5, 1e308, 10**30, [], {}, [[]], ["x"], {"x": 1}, "${oc.env:HOME}"),
    *(float("nan"), float("inf"), {"_target_": "os.system", "command": "true"}, {"option": "os.system"}, "../../x"),
)


def change_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """Return content with a few bytes flipped, a part lost, doubled, overwritten or inserted, or other content."""
    data = bytearray(content)
    first, last = sorted(rng.integers(0, len(data) + 1, 2).tolist())
    match rng.integers(8):
        case 0:
            for place in rng.integers(0, len(data), 4).tolist():
                data[place] ^= int(rng.integers(1, 256))
        case 1:
            del data[first:]
        case 2:
            del data[first:last]
        case 3:
            data[last:last] = data[first:last]
        case 4:
            data[first:last] = rng.bytes(last - first)
        case 5:
            data[first:first] = WORDS[rng.integers(len(WORDS))]
        case 6:
            data = bytearray(WORDS[rng.integers(len(WORDS))])
        case _:
            data[first:last] = bytes(last - first)
    return bytes(data)


def change_lines(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a table with a line or a field lost, doubled, exchanged or replaced."""
    lines = content.splitlines()
    row = int(rng.integers(len(lines)))
    separator = b":" if b":" in lines[row] else b","
    fields = lines[row].split(separator)
    column = int(rng.integers(len(fields)))
    match rng.integers(7):
        case 0:
            del lines[row]
        case 1:
            lines.insert(row, lines[row])
        case 2:
            fields[column] = WORDS[rng.integers(len(WORDS))]
        case 3:
            fields[column] = fields[column].replace(b"1", WORDS[rng.integers(len(WORDS))])
        case 4:
            fields.insert(column, fields[column])
        case 5:
            fields[column] += b"1" * 2_000_000
        case _:
            del fields[column]
    if row < len(lines):
        lines[row] = separator.join(fields)
    return b"\n".join(lines) + b"\n"


BOMBS = (
    b"\n".join(b"a%d: &a%d [%s]" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 9 if i else [b"x"])) for i in range(20)),
    b"\n".join(b"a%d: ${a%d}${a%d}" % (i, i + 1, i + 1) for i in range(40)) + b"\na40: x",
    b"[" * 3000,
    b"a: &a\n  b: *a",
    b"a: " + b"x" * 2_000_000,
)


def change_yaml(content: bytes, rng: np.random.Generator) -> bytes:
    """Return YAML with a few keys whose values stand for millions, or that is nested deeply or very long."""
    bomb = BOMBS[rng.integers(len(BOMBS))]
    if rng.integers(2) == 0:
        return bomb
    lines = content.splitlines()
    lines.insert(int(rng.integers(len(lines) + 1)), bomb)
    return b"\n".join(lines) + b"\n"


def change_image(content: bytes, rng: np.random.Generator) -> bytes:
    """Return an image in another mode, size, orientation and format: 16 bits, floats, CMYK, palettes, transparency."""
    with Image.open(BytesIO(content)) as image:
        image = image.convert("RGB")
    mode = IMAGE_MODES[rng.integers(len(IMAGE_MODES))]
    if mode in ("I;16", "I", "F"):
        changed = Image.fromarray(np.asarray(image.convert("L")).astype(NUMPY_TYPES[mode]) * 257)
    else:
        changed = image.convert(mode)
    options: dict[str, Any] = {"transparency": 0} if mode in ("P", "L", "RGB") and rng.integers(2) else {}
    if mode == "RGB" and options:
        options = {"transparency": (9, 99, 200)}
    exif = Image.Exif()
    exif[0x0112] = int(rng.integers(0, 12))
    if rng.integers(4) == 0:
        changed = changed.resize((int(rng.integers(1, 40)), int(rng.integers(1, 40))))
    formats = [kind for kind, modes in FORMATS.items() if mode in modes]
    file = BytesIO()
    changed.save(file, formats[rng.integers(len(formats))], exif=exif, **options)
    return file.getvalue()


def change_json(content: bytes, rng: np.random.Generator) -> bytes:
    """Return JSON in which a value somewhere is of another type or range, lost, or accompanied by an unknown one."""
    value = change_value(json.loads(content), rng)
    if rng.integers(20) == 0:
        depth = int(rng.choice([50, 5000]))
        return b"[" * depth + b"]" * depth
    return json.dumps(value).encode()


def change_value(value: Any, rng: np.random.Generator) -> Any:
    """Return nested dicts and lists with a change at a random place."""
    changed = copy.deepcopy(value)
    parent, key = place_in(changed, rng)
    wrong = copy.deepcopy(WRONG[rng.integers(len(WRONG))])
    if parent is None:
        return wrong
    match rng.integers(4):
        case 0:
            del parent[key]
        case 1 if isinstance(parent, dict):
            parent["unknown"] = wrong
        case _:
            parent[key] = wrong
    return changed


def place_in(value: Any, rng: np.random.Generator) -> tuple[Any, Any]:
    """Return a random place in nested dicts and lists: one of them, and a key or an index of it; None for the whole."""
    parent, key, node = None, None, value
    while isinstance(node, dict | list) and node and rng.random() < 0.85:
        parent = node
        key = list(node)[rng.integers(len(node))] if isinstance(node, dict) else int(rng.integers(len(node)))
        node = parent[key]
    return parent, key
