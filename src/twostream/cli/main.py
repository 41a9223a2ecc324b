"""`twostream-<command>`, and `twostream`, which lists the commands and runs one: `twostream train ...`."""

import logging
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import hydra
from omegaconf import DictConfig

from twostream.cli import CONF
from twostream.cli.errors import exit_on_error, exit_on_signal
from twostream.cli.jobs import check_overrides
from twostream.cli.options import COMMANDS, check_options

PREFIX = "twostream-"


def main() -> None:
    """Run the command that the script or the first argument names, or list all."""
    script = Path(sys.argv[0])
    if script.name.startswith(PREFIX):
        run(script.name.removeprefix(PREFIX))
        return
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("--version", "-V"):
        print(version("twostream"))
    elif name in ("--help", "-h"):
        print(usage())
    elif name in COMMANDS:
        sys.argv = [str(script.with_name(f"{PREFIX}{name}")), *arguments]
        run(name)
    else:
        sys.exit(f"twostream: expected a command ({', '.join(COMMANDS)}), got {name!r}")


def run(name: str) -> None:
    """Run a command: compose its config, check it, and give it to `main` of the command's module.

    The module is imported last, because that may take seconds: help and refused options appear at once.
    """
    log = logging.getLogger(f"twostream.cli.{name}")
    with exit_on_signal(name), exit_on_error(log):
        if name == "train":  # composes several configs if it is a sweep
            import_module("twostream.cli.train").main()
            return

        check_overrides(sys.argv[1:])

        def run_composed(cfg: DictConfig) -> None:
            with exit_on_error(log):
                check_options(name, cfg)
                import_module(log.name).main(cfg)

        run_composed.__module__ = log.name  # Hydra names the command by it
        hydra.main(version_base="1.3", config_path=CONF, config_name=name)(run_composed)()


def usage() -> str:
    """Return the list of the commands."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{schema.__doc__}" for name, schema in COMMANDS.items()]
    return "\n".join(
        [
            "usage: twostream COMMAND [KEY=VALUE ...], or twostream-COMMAND [KEY=VALUE ...]",
            "",
            *lines,
            "",
            "twostream COMMAND --help lists the keys of a command, --cfg job prints their values.",
        ]
    )
