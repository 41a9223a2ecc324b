import pytest

from tiny_run import overrides_of_tiny_run


@pytest.fixture
def tiny(people_parent, tmp_path):
    """Overrides of a tiny run but for its folder, which Hydra chooses."""
    return [
        override.replace("generator.num_blocks=2", "generator.num_blocks=1")
        for override in overrides_of_tiny_run(people_parent, tmp_path)
        if not override.startswith(("run_dir=", "variant="))
    ]
