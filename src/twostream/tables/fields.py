"""Checked access to what was read from JSON or YAML."""

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")
Default = TypeVar("Default")


def field(source: object, key: str, kind: type[T], where: str) -> T:
    """Return `source[key]`: a whole number passes as a float, true and false as bool only.

    Raises:
        ValueError: beginning with `where`, when `source` is no mapping, or the key is missing or no `kind`.
    """
    if not isinstance(source, Mapping):
        raise ValueError(f"{where}: expected a mapping with the key '{key}', got {source!r}")
    if key not in source:
        raise ValueError(f"{where}: expected the key '{key}', got {', '.join(map(str, source)) or 'none'}")
    value = source[key]
    if kind is float and type(value) is int:
        value = float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{where}: key '{key}': expected {kind.__name__}, got {value!r}")
    return value


def optional(source: object, key: str, kind: type[T], default: Default, where: str) -> T | Default:
    """Return `source[key]` as `field` does, or `default` where the key is missing or null."""
    return default if isinstance(source, Mapping) and source.get(key) is None else field(source, key, kind, where)


def numbers(source: object, key: str, where: str) -> tuple[float, ...]:
    """Return the numbers under the key, or raise `ValueError` where it is missing or no list of numbers."""
    items = field(source, key, list, where)
    for i, item in enumerate(items):
        if type(item) not in (int, float):
            raise ValueError(f"{where}: {key}[{i}]: expected a number, got {item!r}")
    return tuple(map(float, items))


def names(source: object, key: str, where: str) -> tuple[str, ...]:
    """Return the names under the key, or raise `ValueError` where it is missing or no list of one name or more."""
    items = field(source, key, list, where)
    if not items or not all(isinstance(item, str) for item in items):
        raise ValueError(f"{where}: key '{key}': expected a list of names, got {items!r}")
    return tuple(items)


def image_size(source: object, where: str) -> tuple[int, int]:
    """Return the (height, width) in pixels under the key `image_size`, or raise `ValueError`."""
    size = field(source, "image_size", list, where)
    if len(size) != 2 or not all(type(side) is int for side in size):
        raise ValueError(f"{where}: key 'image_size': expected [height, width], got {size!r}")
    return size[0], size[1]


def expect_format(source: object, expected: int, where: str, remedy: str) -> None:
    """Raise `ValueError` for another number under the key `format`, with what to do about it."""
    if (got := field(source, "format", int, where)) != expected:
        raise ValueError(f"{where}: key 'format': expected {expected}, got {got}; {remedy}")


def only_keys(source: object, known: Collection[str], where: str) -> None:
    """Raise `ValueError` for a key that is not `known`: a misspelt optional key would be lost in silence."""
    for key in source if isinstance(source, Mapping) else ():
        if key not in known:
            raise ValueError(f"{where}: key '{key}': expected one of {', '.join(sorted(known))}")


def no_repeats(names: Sequence[str], where: str) -> None:
    """Raise `ValueError` for a name that stands twice."""
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{where}: expected each once, got '{name}' {names.count(name)} times")
