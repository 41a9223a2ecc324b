"""Settings of a run of one second: few people, few pixels, few iterations."""

from pathlib import Path

PEOPLE = {
    "image_size": (32, 16),
    "num_train_identities": 5,
    "num_test_identities": 2,
    "views_per_identity": 4,
    "num_test_pairs": 6,
    "num_workers": 1,
}


def tiny_people():
    """Return the data set of `PEOPLE`; imported here, after the axis checks are installed."""
    from synthetic_people.people import SyntheticPeople

    return SyntheticPeople(**PEOPLE)


def overrides_of_tiny_run(people_parent: Path, run_dir: Path) -> list[str]:
    """Return overrides that make any config a run of one second."""
    source = [f"data.source.{key}={value}" for key, value in PEOPLE.items() if key != "image_size"]
    return [
        *source,
        f"data.root={people_parent}",
        "data.image_size=[32,16]",
        "data.batch_size=2",
        "data.num_val_identities=1",
        "data.num_val_pairs=3",
        "generator.width=4",
        "generator.num_blocks=2",
        "schedule.constant_iterations=2",
        "schedule.decay_iterations=2",
        "trainer=cpu",
        "trainer.val_check_interval=2",
        "trainer.log_every_n_steps=1",
        "callbacks.checkpoints.every_n_iterations=2",
        f"scoring.cache_dir={people_parent / 'cache'}",
        "scoring.num_workers=0",
        "scoring.evaluator.num_identities=4",
        "scoring.evaluator.num_val_identities=1",
        "scoring.evaluator.views_per_identity=2",
        "scoring.evaluator.iterations=2",
        f"run_dir={run_dir}",
        "variant=full",
    ]
