"""The server of the demo, without a browser."""

import asyncio
import base64
import json
import re
import threading
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from stand_ins import encoded
from twostream.cli.demo import labelled
from twostream.data.keypoints import JOINT_NAMES
from twostream.demo.checked_input import MAX_JSON_BYTES, BadRequest, Limits, read_body
from twostream.demo.server import create_app, listen, page_files
from twostream.demo.service import DemoService
from twostream.demo.static_page import RUNTIME_FILES

httpx2 = pytest.importorskip("httpx2")
testclient = pytest.importorskip("starlette.testclient")

HERE = "http://127.0.0.1:7860"
ORIGIN = {"origin": HERE}


@pytest.fixture
def client(service):
    return testclient.TestClient(create_app(service, "127.0.0.1"), base_url=HERE)


@pytest.fixture
def pose(service):
    """What a request says of the first person in the first pose."""
    person, pose = service.content["people"][0], service.content["poses"][0]
    return {"image": person["image"], "source_joints": person["joints"], "target_joints": pose}


@pytest.fixture
def request_(pose):
    """A request for an image of it."""
    return {"models": ["2s-ATN"], **pose}


def opened(uri):
    return Image.open(BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))


def joints_of(request):
    """The joints of target and source as arrays."""
    return [np.array([joint or (np.nan, np.nan) for joint in request[f"{key}_joints"]]) for key in ("target", "source")]


def refused(answer, status, message):
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert re.search(message, answer.json()["error"]), answer.json()
    assert "\n" not in answer.json()["error"]


def test_the_page_needs_nothing_from_elsewhere(client):
    answer = client.get("/")
    assert "<title>twostream" in answer.text
    files = page_files()
    for name, (content, kind) in files.items():
        found = client.get(f"/{name}")
        assert (found.status_code, found.content) == (200, content)
        assert found.headers["content-type"].startswith(kind)
        links = re.findall(r"(?:https?:)?//[\w.]+\.\w+", content.decode().replace("http://www.w3.org/2000/svg", ""))
        assert links == [], name
        for module in re.findall(r'from "\./(.+?)"', content.decode()):
            assert module in files or module in RUNTIME_FILES.values()  # of the static page
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script>|<style>|\sstyle=|\son\w+=", answer.text), "the policy forbids inline code"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_content_has_people_in_whole_and_poses(client):
    content = client.get("/content.json").json()
    assert [model["name"] for model in content["models"]] == ["2s-ATN", "Warp", "PATN"]
    blocks = ["block_2", "block_1"]
    assert [model["views"] for model in content["models"]] == [blocks, ["warp", *blocks], []]
    assert (len(content["people"]), len(content["poses"])) == (10, 15)
    assert {name: len(poses) for name, poses in content["sequences"].items()} == {"walk": 16, "wave": 12, "turn": 24}
    for person in content["people"]:
        assert opened(person["image"]).size == (16, 32)
        assert None not in person["joints"][1:14]
    assert {len(pose) for pose in content["poses"]} == {len(JOINT_NAMES)} == {len(content["standing"])}
    assert len({json.dumps(pose) for pose in content["poses"]}) == 15
    assert content["estimator"] is None


def test_an_image_is_what_the_model_generates(client, models, request_):
    answer = client.post("/api/generate", json=request_ | {"models": ["Warp", "2s-ATN"]}, headers=ORIGIN)
    results = answer.json()["results"]
    image = opened(request_["image"])
    for name, result in zip(("Warp", "2s-ATN"), results, strict=True):
        np.testing.assert_array_equal(opened(result["image"]), models[name](image, *joints_of(request_)))
        assert result["milliseconds"] >= 0
    moved = request_ | {"target_joints": [joint and [joint[0], joint[1] + 3] for joint in request_["target_joints"]]}
    again = client.post("/api/generate", json=moved).json()["results"][0]["image"]
    assert again != results[1]["image"]


@pytest.mark.parametrize(("name", "view"), [("Warp", "warp"), ("Warp", "block_1"), ("2s-ATN", "block_2")])
def test_the_correspondence_has_the_highest_attention(client, models, pose, name, view):
    found = client.post("/api/correspondence", json={**pose, "model": name, "view": view}).json()
    matrix = models[name].correspondence(opened(pose["image"]), *joints_of(pose))[view]
    rows, columns = found["map"]
    assert (rows * columns, 8) == np.shape(found["sources"]) == np.shape(found["weights"])
    np.testing.assert_array_equal(np.array(found["sources"])[:, 0], matrix.argmax(axis=1))
    np.testing.assert_allclose(np.array(found["weights"])[:, 0], matrix.max(axis=1) * matrix.shape[1], atol=0.051)
    assert found["extent"] == [0, 0, 32, 16]


def test_the_extent_of_a_wide_image_includes_the_margins_or_is_that_of_a_small_person(client, pose):
    wide = "data:image/png;base64," + base64.b64encode(encoded(Image.new("RGB", (64, 32)))).decode()
    extents = []
    for joints in ([None] * 18, pose["source_joints"]):
        inputs = pose | {"image": wide, "source_joints": joints, "model": "Warp", "view": "warp"}
        answer = client.post("/api/correspondence", json=inputs)
        extents.append(answer.json()["extent"])
    assert extents[0] == [-48, 0, 128, 64]
    top, left, height, width = extents[1]
    for y, x in filter(None, pose["source_joints"]):
        assert (top <= y <= top + height, left <= x <= left + width) == (True, True)
    assert height < 40


def test_a_photo_comes_back_reduced_with_the_joints_that_an_estimator_finds(client, models):
    class Estimator:
        name, weights_hash = "stand-in", ""

        def __call__(self, images):
            joints = np.full((1, 18, 2), -1)
            joints[0, 0] = images.shape[2] - 1, images.shape[3] - 1
            return joints

    photo = encoded(Image.effect_noise((600, 300), 9).convert("RGB"), "JPEG")
    without = client.post("/api/photo", content=photo).json()
    assert (without["size"], without["joints"], opened(without["image"]).size) == ([256, 512], None, (512, 256))
    app = create_app(DemoService({"Warp": models["Warp"]}, Estimator()), "127.0.0.1")
    found = testclient.TestClient(app, base_url=HERE).post("/api/photo", content=photo).json()
    assert found["joints"] == [[255, 511], *[None] * 17]


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"models": ["GAN"]}, 404, "model: expected 2s-ATN or Warp or PATN, got 'GAN'"),
        ({"models": [["Warp"]]}, 404, "model: expected"),
        *(({"models": models}, 400, "models: expected a list of one or two") for models in ([], ["Warp"] * 3, "Warp")),
        ({"image": "x"}, 400, "image: expected a data URI"),
        ({"source_joints": [None] * 17}, 400, "source_joints: expected a list of 18 joints, got a list of 17"),
        ({"target_joints": [[0, 900]] * 18}, 400, "target_joints: expected .* in pixels of an image of 32x16"),
        ({"more": 1}, 400, "expected an object with models, image, source_joints, target_joints"),
    ],
)
def test_a_request_for_something_else_is_refused(client, request_, changes, status, message):
    refused(client.post("/api/generate", json=request_ | changes), status, message)


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"view": "block_3"}, 404, "view: expected warp or block_2 or block_1"),
        ({"view": ["warp"]}, 404, "view: expected"),
        ({"model": "PATN"}, 404, "view: expected no request"),
        ({"source_joints": [[0, 900]] * 18}, 400, "source_joints: expected .* in pixels of an image of 32x16"),
    ],
)
def test_a_correspondence_that_is_not_there_is_refused(client, pose, changes, status, message):
    answer = client.post("/api/correspondence", json={**pose, "model": "Warp", "view": "warp", **changes})
    refused(answer, status, message)


def test_too_much_is_refused_while_it_arrives(client):
    refused(client.post("/api/photo", content=bytes(600_000)), 413, r"expected at most 0\.5 MB, got more")
    refused(client.post("/api/generate", content=bytes(MAX_JSON_BYTES + 1)), 413, "expected at most 3 MB")


def test_a_body_without_end_is_not_read_to_its_end():
    read = []

    async def endless():
        while True:
            read.append(1)
            yield bytes(1000)

    with pytest.raises(BadRequest, match=r"expected at most 0\.00954 MB, got more"):
        asyncio.run(read_body(endless(), 10_000))
    assert len(read) == 11


def test_a_body_that_takes_too_long_is_given_up(monkeypatch):
    async def stalled():
        yield b"a"
        await asyncio.sleep(60)

    monkeypatch.setattr("twostream.demo.checked_input.MAX_SECONDS", 0.05)
    with pytest.raises(BadRequest, match=r"expected the whole request within 0\.05 seconds, got a part"):
        asyncio.run(read_body(stalled(), 10))


def test_addresses_and_methods_that_do_not_exist_are_refused(client):
    for path in ("/nothing", "/../pyproject.toml", "/%2e%2e/server.py", "/page/index.html", "/api", "/service.py"):
        refused(client.get(path), 404, "expected an address of the page, got GET")
    refused(client.get("/api/generate"), 405, "expected another method, got GET /api/generate")
    refused(client.delete("/"), 405, "expected another method")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "192.168.1.5", "", "[x"]
)
def test_another_host_is_refused(client, host):
    for answer in (client.get("/", headers={"host": host}), client.post("/api/photo", headers={"host": host})):
        refused(answer, 421, "Host: expected 127.0.0.1 or localhost, got")
        assert "content-security-policy" in answer.headers


def test_this_machine_is_answered_and_addresses_too_if_the_server_is_for_all_interfaces(client, service):
    for host in ("localhost", "LOCALHOST:7860", "127.0.0.1", "[::1]:7860"):
        assert client.get("/", headers={"host": host}).status_code == 200
    client = testclient.TestClient(create_app(service, "0.0.0.0"), base_url=HERE)
    assert client.get("/", headers={"host": "192.168.1.5:7860"}).status_code == 200
    refused(client.get("/", headers={"host": "evil.example"}), 421, "Host: expected")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:3000", "https://127.0.0.1:7860"])
def test_another_site_can_not_post(client, request_, origin):
    refused(client.post("/api/generate", json=request_, headers={"origin": origin}), 403, f"Origin: expected {HERE}")


def test_ten_clients_at_once_are_answered_and_more_than_the_limit_are_refused(models, request_):
    service = DemoService({"2s-ATN": models["2s-ATN"]}, limits=Limits(max_requests=10))
    release, generate = threading.Event(), service.generate

    def wait_and_generate(content):
        release.wait(20)
        return generate(content)

    service.generate = wait_and_generate
    app = create_app(service, "127.0.0.1")

    async def all_at_once():
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=HERE) as client:
            tasks = [asyncio.create_task(client.post("/api/generate", json=request_)) for _ in range(10)]
            await asyncio.sleep(0.3)
            page, eleventh = await client.get("/"), await client.post("/api/generate", json=request_)
            assert not any(task.done() for task in tasks), "the page is served while models work"
            release.set()
            answers = await asyncio.gather(*tasks)
            return page, eleventh, answers, await client.post("/api/generate", json=request_)

    page, eleventh, answers, later = asyncio.run(all_at_once())
    assert page.status_code == 200
    refused(eleventh, 429, "expected at most 10 requests at a time, got more: try again")
    assert {answer.status_code for answer in [*answers, later]} == {200}
    assert len({answer.json()["results"][0]["image"] for answer in answers}) == 1


def test_the_server_listens_on_the_address_that_it_is_told_alone():
    with listen("127.0.0.1", 0) as first:
        address, port = first.getsockname()
        assert (address, port > 0) == ("127.0.0.1", True)
        with pytest.raises(ValueError, match=f"^host, port: expected a free port .*, got 127.0.0.1, {port}: "):
            listen("127.0.0.1", port)
    for port in (-1, 70_000):
        with pytest.raises(ValueError, match=f"port: expected 0 to 65535, got {port}"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (["runs/synthetic/small/warp/seed0"], {"warp": "runs/synthetic/small/warp/seed0"}),
        (["a/warp/seed0", "a/warp/seed1"], {"a/warp/seed0": "a/warp/seed0", "a/warp/seed1": "a/warp/seed1"}),
        (["large.ckpt", "small/"], {"large": "large.ckpt", "small": "small/"}),
        ({"Warp": "runs/a"}, {"Warp": "runs/a"}),
    ],
)
def test_models_have_labels(models, expected):
    assert labelled(models) == expected


def test_models_that_are_no_list_are_refused():
    with pytest.raises(ValueError, match=r"models: expected a list \[FOLDER,\.\.\.\] or .* got 'runs/a'"):
        labelled("runs/a")
