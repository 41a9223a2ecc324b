"""Progress of training, as a bar in a terminal and as lines in a log."""

import logging
import sys
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar
from tqdm import tqdm
from typing_extensions import override

from twostream.callbacks import module_of

log = logging.getLogger(__name__)


class IterationProgressBar(ProgressBar):
    """Shows iterations, losses and the last validation from the first process.

    In a terminal it draws a bar; where standard output is a pipe or a file, it logs one line every `log_every`
    iterations and one at the end.
    """

    def __init__(self, log_every: int) -> None:
        super().__init__()
        self.is_terminal = sys.stdout.isatty()
        self.show_every = 10 if self.is_terminal else log_every
        self.is_enabled = True
        self.bar = tqdm(disable=True)

    @override
    def disable(self) -> None:
        self.is_enabled = False

    @override
    def enable(self) -> None:
        self.is_enabled = True

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module = module_of(trainer)
        self.bar = tqdm(
            desc="Iterations",
            initial=module.iteration,
            total=module.schedule.iterations,
            disable=not (self.is_enabled and self.is_terminal),
            file=sys.stdout,
            dynamic_ncols=True,
        )

    @override
    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        module = module_of(trainer)
        iteration, iterations = module.iteration, module.schedule.iterations
        if not self.is_enabled or (iteration % self.show_every and iteration < iterations):
            return
        values = ", ".join(
            f"{name.removeprefix('train/')} {value:.4g}" for name, value in trainer.progress_bar_metrics.items()
        )
        if self.is_terminal:
            self.bar.set_postfix_str(values, refresh=False)
            self.bar.update(iteration - self.bar.n)
        else:
            log.info("iteration %d/%d: %s", iteration, iterations, values)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.bar.close()

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.bar.close()
