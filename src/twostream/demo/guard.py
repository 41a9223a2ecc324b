"""Which requests are let through: those of the page itself, and not too many at a time."""

import ipaddress
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from twostream.demo.checked_input import BadRequest

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
LOCAL = ("localhost", "127.0.0.1", "::1")
ALL_INTERFACES = ("0.0.0.0", "::")


class Guard:
    """An ASGI app around another: refuses requests of other sites, and adds the security headers to every answer.

    A name that another site's owner lets point to this machine (DNS rebinding) does not pass for the server's own; a
    server that listens on all interfaces also answers to every IP address, which nobody can rebind.

    Args:
        app: answers the requests.
        host: name or address that the server listens on.
        max_requests: requests other than GET at one time.

    """

    def __init__(self, app: App, host: str, max_requests: int) -> None:
        self.app = app
        self.host = host.lower()
        self.max_requests = max_requests
        self.num_requests = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, see ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        counts = scope["method"] not in ("GET", "HEAD")
        self.num_requests += counts
        try:
            self._check(scope)
            await self.app(scope, receive, send_with_headers)
        except BadRequest as error:
            body = json.dumps({"error": str(error)}).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send_with_headers({"type": "http.response.start", "status": error.status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        finally:
            self.num_requests -= counts

    def _check(self, scope: Message) -> None:
        """Raise BadRequest for a request that is not let through."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._is_own(host):
            raise BadRequest(f"Host: expected {self.host} or localhost, got {host!r:.80}", 421)
        if scope["method"] in ("GET", "HEAD"):
            return
        if origin is not None and origin != f"{scope['scheme']}://{host}":
            raise BadRequest(f"Origin: expected {scope['scheme']}://{host}, got {origin!r:.80}", 403)
        if self.num_requests > self.max_requests:
            raise BadRequest(f"expected at most {self.max_requests} requests at a time, got more: try again", 429)

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if name in LOCAL or name == self.host:
                return True
            return self.host in ALL_INTERFACES and bool(ipaddress.ip_address(name))
        except ValueError:
            return False
