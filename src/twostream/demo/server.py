"""The web server of the demo."""

import asyncio
import socket
import threading
import webbrowser
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from twostream.demo.checked_input import MAX_JSON_BYTES, BadRequest, read_body
from twostream.demo.guard import ALL_INTERFACES, App, Guard
from twostream.demo.service import DemoService
from twostream.signals import Interrupted

PAGE = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def create_app(service: DemoService, host: str) -> App:
    """Return the ASGI app: the page's files, `/content.json`, and one address for each question of the page.

    The service works in one thread, one request at a time. A request that can't be answered gets a status of 4xx and
    JSON `{"error": "one line"}`. `host` is the name or address that the server listens on.
    """
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    worker = ThreadPoolExecutor(1, "demo")

    def file(content: bytes, media_type: str) -> Callable[[Request], Response]:
        return lambda request: Response(content, media_type=media_type)

    def post(path: str, action: Callable[[bytes], dict[str, Any]], max_bytes: int) -> Route:
        async def answer(request: Request) -> Response:
            body = await read_body(request.stream(), max_bytes)
            return JSONResponse(await asyncio.get_running_loop().run_in_executor(worker, action, body))

        return Route(path, answer, methods=["POST"])

    async def content(request: Request) -> Response:
        return JSONResponse(service.content)

    async def refuse(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            expected = "an address of the page" if error.status_code == 404 else "another method"
            message = f"expected {expected}, got {request.method} {request.url.path[:60]}"
            return JSONResponse({"error": message}, error.status_code, error.headers)
        return JSONResponse({"error": str(error)}, getattr(error, "status", 400))

    files = {f"/{name}": file(*page_file) for name, page_file in page_files().items()}
    routes = [
        *(Route(path, answer) for path, answer in (files | {"/": files["/index.html"]}).items()),
        Route("/content.json", content),
        post("/api/photo", service.photo, round(service.limits.max_megabytes * 2**20)),
        post("/api/generate", service.generate, MAX_JSON_BYTES),
        post("/api/correspondence", service.correspondence, MAX_JSON_BYTES),
    ]
    errors = dict.fromkeys((BadRequest, ClientDisconnect, HTTPException), refuse)
    return Guard(Starlette(routes=routes, exception_handlers=errors), host, service.limits.max_requests)


def page_files() -> dict[str, tuple[bytes, str]]:
    """Return the content and the MIME type of the page's files by name."""
    return {path.name: (path.read_bytes(), TYPES[path.suffix]) for path in PAGE.iterdir() if path.suffix in TYPES}


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on a port, 0 for any that is free.

    Raises ValueError if the port is taken or the host, a name or an address, is not this machine's.
    """
    if not 0 <= port < 2**16:
        raise ValueError(f"port: expected 0 to 65535, got {port}")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
        return socket.create_server((address[0], port), family=family)
    except OSError as error:
        raise ValueError(f"host, port: expected a free port of this machine, got {host}, {port}: {error}") from None


def serve(service: DemoService, host: str, port: int, open_browser: bool) -> None:
    """Serve the page until Ctrl+C: print its address, and show it in the default browser if asked to.

    Raises ValueError as `listen`.
    """
    import uvicorn

    with listen(host, port) as opened:
        shown = "localhost" if host in ALL_INTERFACES else f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{opened.getsockname()[1]}"
        print(f"Demo: {url} (Ctrl+C ends it)", flush=True)
        if open_browser:
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
        config = uvicorn.Config(create_app(service, host), log_level="warning", timeout_graceful_shutdown=2)
        with suppress(Interrupted):
            uvicorn.Server(config).run(sockets=[opened])
