import threading
import time
from functools import cache
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate

from tiny_run import compose_config, overrides_of_tiny_run
from twostream.build import build_module
from twostream.demo.checked_input import Limits
from twostream.demo.examples import render_examples
from twostream.demo.server import create_app, listen
from twostream.demo.service import DemoService
from twostream.inference import PoseTransfer


def tiny_model(*overrides):
    """A network of random weights, large enough for its output to depend on the pose visibly."""
    cfg = compose_config("train", *overrides_of_tiny_run(Path("people"), Path("run")), *overrides)
    torch.manual_seed(0)
    generator = build_module(cfg).generator.eval()
    with torch.no_grad():
        for parameter in generator.parameters():
            if parameter.ndim > 1:
                torch.nn.init.orthogonal_(parameter, gain=2)
    return PoseTransfer(generator, (32, 16), instantiate(cfg.data).heatmaps, torch.device("cpu"))


@pytest.fixture(scope="session", autouse=True)
def rendered_once():
    """The people and poses of the page are rendered once for all services, for it takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("twostream.demo.service.render_examples", cache(render_examples))
        yield


@pytest.fixture(scope="session")
def models():
    return {
        "2s-ATN": tiny_model(),
        "Warp": tiny_model("generator=warp", "generator.warp.key_channels=4"),
        "PATN": tiny_model("generator=patn"),
    }


@pytest.fixture(scope="session")
def service(models):
    return DemoService(models, limits=Limits(max_megabytes=0.5, max_megapixels=1))


@pytest.fixture
def live_server():
    """Serves a service on a free port; called with the service, returns the page's address."""
    uvicorn = pytest.importorskip("uvicorn")
    started = []

    def start(service):
        opened = listen("127.0.0.1", 0)
        server = uvicorn.Server(uvicorn.Config(create_app(service, "127.0.0.1"), log_level="warning", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
        thread.start()
        started.append((server, thread, opened))
        while not server.started:
            time.sleep(0.01)
        return f"http://127.0.0.1:{opened.getsockname()[1]}"

    yield start
    for server, thread, opened in started:
        server.should_exit = True
        thread.join()
        opened.close()
