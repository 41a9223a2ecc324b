"""The pool of past generated images that a discriminator is trained on (PATN; Shrivastava et al. 2017)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class FakePool(nn.Module):
    """Past fakes with their conditions, so that a discriminator does not forget them.

    Until it holds `size` samples, every new one is stored and returned. After that, each is exchanged with probability
    1/2 for a random stored one. A pool of size 0 returns its input. Samples of another image size are discarded.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        if size < 0:
            raise ValueError(f"loss.pool_size: expected at least 0, got {size}")
        self.size = size
        self.samples: list[tuple[Tensor, ...]] = []

    @torch.no_grad()
    def exchange(self, *batch: Float[Tensor, "b ..."]) -> tuple[Float[Tensor, "b ..."], ...]:
        """Return the batch with some samples replaced by past ones."""
        if self.size == 0:
            return batch
        if self.samples and self.samples[0][0].shape != batch[0].shape[1:]:
            self.samples.clear()
        samples = [self._exchange_one(sample) for sample in zip(*batch, strict=True)]
        return tuple(torch.stack(tensors) for tensors in zip(*samples, strict=True))

    def _exchange_one(self, sample: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if len(self.samples) < self.size:
            self.samples.append(tuple(tensor.clone() for tensor in sample))
            return sample
        if torch.rand(()) < 0.5:
            return sample
        index = int(torch.randint(self.size, ()))
        past, self.samples[index] = self.samples[index], tuple(tensor.clone() for tensor in sample)
        return past
