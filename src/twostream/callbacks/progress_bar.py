"""Show the progress of training: a bar in a terminal, lines in a log."""

import logging
import sys
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from tqdm import tqdm
from typing_extensions import override

from twostream.callbacks import module_of

log = logging.getLogger(__name__)


class IterationProgressBar(Callback):
    """Draws a bar over the iterations in a terminal.

    If standard output is a pipe or a file, it logs one line every `log_every` iterations and one at the end instead.
    """

    def __init__(self, log_every: int) -> None:
        self.log_every = log_every
        self.bar = tqdm(disable=True)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module = module_of(trainer)
        # None disables the bar unless the file is a terminal.
        disable = None if trainer.is_global_zero else True
        initial, total = module.iteration, module.schedule.iterations
        self.bar = tqdm(
            None, "Iterations", total, initial=initial, disable=disable, file=sys.stdout, dynamic_ncols=True
        )

    @override
    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        module = module_of(trainer)
        iteration, iterations = module.iteration, module.schedule.iterations
        every = self.log_every if self.bar.disable else 10
        if not trainer.is_global_zero or (iteration % every and iteration < iterations):
            return
        metrics = {name.removeprefix("train/"): value for name, value in trainer.progress_bar_metrics.items()}
        values = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        if self.bar.disable:
            log.info("iteration %d/%d: %s", iteration, iterations, values)
        else:
            self.bar.set_postfix_str(values, refresh=False)
            self.bar.update(iteration - self.bar.n)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.bar.close()

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.bar.close()
