"""The page as a folder: its files, its arithmetic compared with Python's, and the page in a real browser."""

import io
import json
import re
import tarfile
import threading
from base64 import b64decode
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from PIL import Image

from stand_ins import Corner
from twostream.data import pose
from twostream.data.frame import ABOVE, ANKLES, BELOW, FEATHER, HEAD, MARGIN, SMALL, Frame
from twostream.demo import static_page
from twostream.demo.server import PAGE
from twostream.demo.service import DemoService
from twostream.demo.static_page import ONNXRUNTIME_WEB, RUNTIME_FILES, read_runtime, write_static_page
from twostream.inference import PoseTransfer
from twostream.nets.attention import attention_matrix
from twostream.nets.inspection import strongest_matches
from twostream.weights import MissingWeightsError, WeightStore


def package(folder, **files):
    """A folder with a package of these files in place of onnxruntime-web's."""
    folder.mkdir(exist_ok=True)
    with tarfile.open(folder / ONNXRUNTIME_WEB.name, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return WeightStore(folder, download=False)


@pytest.fixture
def store(tmp_path):
    return package(tmp_path / "weights", **dict.fromkeys(RUNTIME_FILES, b"runtime"), more=b"not needed")


@pytest.fixture
def written_quickly(monkeypatch):
    """Networks are not exported, which takes seconds."""
    monkeypatch.setattr(static_page, "export_generator", lambda path, *_, **__: path.write_bytes(b"network"))


def test_the_folder_has_all_that_the_page_asks_for(service, store, tmp_path, written_quickly):
    folder = tmp_path / "sites" / "page"
    write_static_page(folder, service, store)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    asked = re.findall(r'(?:src|href)="([^"#]+)"', files["index.html"].decode())
    for name, content in files.items():
        if name.endswith(".js") and name not in RUNTIME_FILES.values():
            asked += re.findall(r'(?:from "\./|new URL\(")([\w.]+)"', content.decode())
    content = json.loads(files["content.json"])
    asked += [f"{content['backend']}_backend.js", *(model["file"] for model in content["models"])]
    assert {"onnxruntime.js", "onnxruntime.wasm", "network_worker.js", "model3.onnx"} <= set(asked) <= set(files)
    assert content["models"][1]["heatmaps"] == {"option": "gaussian_heatmaps", "sigma": 3}
    assert content["models"][1]["image_size"] == [32, 16]
    assert content["people"] == service.content["people"]


def test_a_page_is_replaced_and_another_folder_is_not(service, store, tmp_path, written_quickly):
    for _ in range(2):
        write_static_page(tmp_path / "page", service, store)
    (tmp_path / "page" / "content.json").write_text('{"mine": 1}')
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=r"page: expected a new folder or a page of twostream-demo, got a folder with"):
        write_static_page(tmp_path / "page", service, store)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_page_has_no_pose_estimator(models, store, tmp_path):
    with pytest.raises(ValueError, match=r"^pose_estimator: expected none with static, got corner$"):
        write_static_page(tmp_path / "page", DemoService(models, Corner()), store)
    assert not (tmp_path / "page").exists()


def halved_heatmaps(joints, image_size, sigma):
    return pose.gaussian_heatmaps(joints, image_size, sigma) / 2


class OwnHeatmaps:
    def __call__(self, joints, image_size):
        return halved_heatmaps(joints, image_size, 3)


@pytest.mark.parametrize(
    ("heatmaps", "name"), [(partial(halved_heatmaps, sigma=3), "halved_heatmaps"), (OwnHeatmaps(), "OwnHeatmaps")]
)
def test_heatmaps_that_the_page_can_not_draw_are_refused(models, store, tmp_path, heatmaps, name):
    own = PoseTransfer(models["PATN"].generator, (32, 16), heatmaps, torch.device("cpu"))
    known = "gaussian_heatmaps, delta_heatmaps, disc_heatmaps"
    with pytest.raises(ValueError, match=rf"^Own: heatmaps: expected one of {known} with static, got {name}$"):
        write_static_page(tmp_path / "page", DemoService({"Own": own}), store)
    assert not (tmp_path / "page").exists()


def test_another_package_than_onnxruntime_web_is_refused(store, tmp_path):
    assert read_runtime(store) == dict.fromkeys(RUNTIME_FILES.values(), b"runtime")
    path = tmp_path / "weights" / ONNXRUNTIME_WEB.name
    whole = path.read_bytes()
    for content in (b"no archive", whole[:80], whole[:40] + bytes(40) + whole[80:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"web.*\.tgz: expected the npm package of https.*, got: "):
            read_runtime(store)
    lacking = package(tmp_path / "weights", **{"ort.wasm.bundle.min.mjs": b"runtime"})
    with pytest.raises(
        ValueError, match=r"web.*\.tgz: expected the npm package of .*, got no ort-wasm-simd-threaded\.wasm$"
    ):
        read_runtime(lacking)
    with pytest.raises(MissingWeightsError, match=r"put it into .*nothing, from https://registry\.npmjs\.org/"):
        read_runtime(WeightStore(tmp_path / "nothing", download=False))


@pytest.fixture(scope="module")
def served():
    """Serves folders by Python's own web server; called with one, returns its address."""
    servers = []

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    def serve(folder):
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))))
        threading.Thread(target=servers[-1].serve_forever).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def evaluated(chromium, served):
    """Evaluates an expression with the exports of a module of the page, and a value as `given`."""
    page = chromium.new_page()
    page.goto(f"{served(PAGE)}icon.svg")
    yield lambda module, expression, given: page.evaluate(
        f"async (given) => {{ const all = await import('/{module}'); return ({expression}); }}", given
    )
    page.close()


def plain(joints):
    return [None if np.isnan(joint).any() else joint.tolist() for joint in joints]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "values"), [("gaussian_heatmaps", {"sigma": 3}), ("delta_heatmaps", {}), ("disc_heatmaps", {"radius": 4})]
)
def test_the_heatmaps_are_pythons(evaluated, name, values):
    joints = np.random.default_rng(0).uniform(-3, 35, (18, 2)).round(1)
    joints[3], joints[4], joints[5] = np.nan, (4.5, 5.5), (-0.5, 31.5)
    expected = getattr(pose, name)(torch.from_numpy(joints)[None].float(), (32, 16), **values)
    given = [plain(joints), values]
    got = evaluated("heatmaps.js", f"[...all.HEATMAPS.{name}(given[0], [32, 16], given[1])]", given)
    np.testing.assert_allclose(got, expected.flatten(), atol=1e-5)
    assert np.sum(got) > 0


def people_of(*places):
    """A standing person's joints at (top, left, height) of each place, the width half the height."""
    fractions = np.array([(index / 17, 0.5 + 0.3 * (-1) ** index) for index in range(18)])
    fractions[[0, 14, 15, 16, 17], 0], fractions[[10, 13], 0] = 0, 1
    return [fractions * (height, height / 2) + (top, left) for top, left, height in places]


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 32), (40, 52), (150, 110), (97, 31)])
def test_the_frame_is_pythons(evaluated, size):
    random = np.random.default_rng(1)
    # Pillow chooses the order of its two passes; without clipping between them it makes a level's difference at most.
    pixels = random.integers(64, 192, (*size, 3), np.uint8)
    generated = torch.from_numpy(random.integers(64, 192, (3, 64, 32), np.uint8))
    without_feet, small, large = people_of((5, 4, 20), (5, 4, 20), (2, 3, size[0] - 6))
    without_feet[[10, 13]] = np.nan
    body = {"head": HEAD, "ankles": ANKLES, "small": SMALL, "margins": [ABOVE, BELOW, MARGIN], "feather": FEATHER}
    for joints in (without_feet, small, large):
        frame = Frame(size, (64, 32), torch.from_numpy(joints).float())
        image = Image.fromarray(pixels)
        expected = [
            frame.to_network(image)[0].permute(1, 2, 0).flatten().numpy(),
            np.asarray(frame.from_network(generated, image)).flatten(),
            frame.joints_to_network(torch.from_numpy(joints).float()[None])[0].numpy(),
        ]
        given = [size, plain(joints), body, pixels.flatten().tolist(), generated.permute(1, 2, 0).flatten().tolist()]
        got = evaluated(
            "frame.js",
            """(() => {
                const [[height, width], joints, body, pixels, generated] = given;
                const image = { height, width, data: Uint8ClampedArray.from(pixels) };
                const frame = new all.Frame([height, width], [64, 32], joints, body);
                const made = { height: 64, width: 32, data: Uint8ClampedArray.from(generated) };
                return [frame.toNetwork(image), frame.fromNetwork(made, image)].map(({ data }) => [...data])
                    .concat([frame.jointsToNetwork(joints)]);
            })()""",
            given,
        )
        for values, reference in zip(got[:2], expected[:2], strict=True):
            difference = np.abs(np.array(values) - reference.astype(int))
            assert difference.max() <= 1
        np.testing.assert_allclose(np.array([joint or (np.nan, np.nan) for joint in got[2]]), expected[2], atol=1e-4)


@pytest.mark.slow
def test_the_matches_are_pythons(evaluated):
    queries, keys = torch.randn(2, 1, 5, 128, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = strongest_matches(attention_matrix(queries, keys), (64, 32))
    got = evaluated(
        "matches.js",
        "all.strongestMatches(given[0], given[1], 128, [64, 32])",
        [queries.flatten().tolist(), keys.flatten().tolist()],
    )
    assert got["map"] == list(expected["map"]) == [16, 8]
    assert got["sources"] == expected["sources"][0]
    np.testing.assert_allclose(got["weights"], expected["weights"][0], atol=0.11)


@pytest.fixture(scope="module")
def folder(models, tmp_path_factory):
    """The page of tiny networks."""
    store = WeightStore(download=False)
    try:
        store.find(ONNXRUNTIME_WEB)
    except MissingWeightsError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("site") / "page"
    write_static_page(folder, DemoService({"Warp": models["Warp"], "PATN": models["PATN"]}), store)
    return folder


@pytest.fixture
def opened(open_page, served, folder):
    """The page with a list of its requests."""
    page, requests = open_page("about:blank"), []
    page.on("request", lambda request: requests.append((request.method, request.url)))
    page.goto(served(folder))
    page.locator(".model a:visible").first.wait_for()
    return page, requests


def shown(page, index):
    uri = page.locator(".model img").nth(index).get_attribute("src")
    with Image.open(io.BytesIO(b64decode(uri.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def joints_of(values):
    return np.array([joint or (np.nan, np.nan) for joint in values])


@pytest.mark.slow
def test_the_browser_generates_what_python_generates(opened, models, folder):
    page, requests = opened
    content = json.loads((folder / "content.json").read_text())
    for number in (1, 4):
        person, target = content["people"][number - 1], content["poses"][number - 1]
        page.get_by_role("button", name=f"Person {number}", exact=True).click()
        page.get_by_role("button", name=f"Pose {number}", exact=True).click()
        page.wait_for_timeout(1000)
        image = Image.open(io.BytesIO(b64decode(person["image"].partition(",")[2])))
        for index, name in enumerate(("Warp", "PATN")):
            expected = np.asarray(models[name](image, joints_of(target), joints_of(person["joints"]))).astype(int)
            assert np.abs(shown(page, index) - expected).max() <= 1
            assert expected.std() > 5
    assert {method for method, _ in requests} == {"GET"}
    assert all(url.startswith((page.url, "data:", "blob:")) for _, url in requests)


@pytest.mark.slow
def test_dragging_pointing_and_a_photo_work_without_a_server(opened, tmp_path):
    page, _ = opened
    source = page.locator(".model img").first
    before = source.get_attribute("src")
    dot = page.locator('#pose-skeleton [aria-label="left wrist"] .dot').evaluate("(dot) => dot.getBoundingClientRect()")
    x, y = dot["x"] + dot["width"] / 2, dot["y"] + dot["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 30, y - 60)
    page.locator(f'.model:first-child img:not([src="{before}"])').wait_for(state="attached", timeout=10_000)
    page.mouse.up()
    box = page.locator(".model .stage").first.bounding_box()
    page.mouse.move(box["x"] + 3, box["y"] + 3)
    page.get_by_text(re.compile(r"^Warp, row 1, column 1 of 16x8: \d+ % of the attention")).wait_for()
    assert page.locator("#person-stage .sources rect").count() == 8
    before = source.get_attribute("src")
    photo = np.zeros((600, 400, 3), np.uint8)
    photo[:, :200] = 255, 0, 0
    Image.fromarray(photo).save(tmp_path / "photo.jpg")
    page.locator("#photo").set_input_files(tmp_path / "photo.jpg")
    page.get_by_text("Drag the joints onto the person").wait_for()
    page.locator(f'.model:first-child img:not([src="{before}"])').wait_for(state="attached", timeout=10_000)
    (tmp_path / "photo.png").write_bytes(b"this is no photo")
    page.locator("#photo").set_input_files(tmp_path / "photo.png")
    page.get_by_text("photo: expected an image, got 16 bytes that this browser can't decode").wait_for()


@pytest.mark.slow
def test_a_file_that_is_opened_without_a_web_server_says_why_it_can_not_work(chromium):
    page = chromium.new_page()
    page.goto((PAGE / "index.html").as_uri())
    page.get_by_text("This page needs an address that begins with http. In its folder, run: python -m http").wait_for()
    page.close()
