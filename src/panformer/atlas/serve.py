"""The built pages over HTTP: files of one folder, nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..core.errors import PanformerError, require

SAFE = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}  # fmt: skip


def app(folder: Path) -> Any:
    """The application: GET and HEAD of the folder's files."""
    fastapi = require("fastapi", "serve")
    from starlette.staticfiles import StaticFiles

    made = fastapi.FastAPI(title="panformer atlas", docs_url=None, redoc_url=None, openapi_url=None)

    @made.middleware("http")
    async def safely(request: Any, call: Any) -> Any:
        answer = await call(request)
        answer.headers.update(SAFE)
        return answer

    made.mount("/", StaticFiles(directory=folder, html=True))
    return made


def server(folder: Path, host: str = "127.0.0.1", port: int = 0) -> Any:
    """A server that has not started yet."""
    uvicorn = require("uvicorn", "serve")
    return uvicorn.Server(uvicorn.Config(app(folder), host=host, port=port, log_level="warning"))


def run(folder: Path, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serve until stopped. Errors: PanformerError where the address cannot be had."""
    import socket

    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as own:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            own.bind((host, port))
            own.listen()
            say(f"http://{host}:{own.getsockname()[1]}/ (stop with Ctrl-C)")
            server(folder, host, port).run(sockets=[own])
    except OSError as fault:
        raise PanformerError(f"--port {port}: {fault.strerror or fault}") from None
