"""`twostream-export`: the generator of a run as a model package."""

from pathlib import Path

from omegaconf import DictConfig

from twostream.export.package import export_run


def main(cfg: DictConfig) -> None:
    """Write the package of the run in `cfg.run` and print its files."""
    out = Path(cfg.out)
    export_run(Path(cfg.run), out, cfg.averaged, cfg.dtype, cfg.onnx)
    for path in sorted(out.iterdir()):
        print(f"{path.stat().st_size / 2**20:8.2f} MiB  {path}")
