"""Training by several processes."""

from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor

from twostream.module import TwoStreamModule


class NetworkDDP(DDPStrategy):
    """DistributedDataParallel around each network by itself.

    Lightning's own strategy wraps the whole module: with several backwards a batch it has to search for unused
    parameters and reduces every network's gradients in every phase.
    """

    def configure_ddp(self) -> None:
        """Wrap the networks; the module and the names in its checkpoints stay as they are."""
        module = self.lightning_module
        assert isinstance(module, TwoStreamModule)
        module.parallel = {name: self._setup_model(net) for name, net in module.nets.items()}

    def pre_backward(self, closure_loss: Tensor) -> None:
        """Do nothing: each network's own forward has made its reducer ready."""

    def post_backward(self, closure_loss: Tensor) -> None:
        """Do nothing."""

    def teardown(self) -> None:
        """Take the wrappers off."""
        if isinstance(self.lightning_module, TwoStreamModule):
            self.lightning_module.parallel = {}
        super().teardown()
