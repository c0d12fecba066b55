"""One atlas for all tests: the real catalogue and its evidence, the recorded benchmarks, and one made-up comparison."""

import json
import threading
import time

import pytest

from panformer.atlas import serve
from panformer.atlas.build import build

from .null import null
from .record import record


@pytest.fixture(scope="session")
def compared(tmp_path_factory):
    """A folder with one record of each kind."""
    folder = tmp_path_factory.mktemp("records")
    (folder / "null-state.json").write_text(json.dumps(null()), encoding="utf-8")
    (folder / "mqar.json").write_text(json.dumps(record()), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory, compared):
    """(the folder, what building it said)."""
    pytest.importorskip("jinja2")
    out = tmp_path_factory.mktemp("atlas") / "pages"
    return out, build(out, compared)


@pytest.fixture(scope="session")
def address(made):
    """Where the built atlas is served."""
    for module in ("fastapi", "uvicorn"):
        pytest.importorskip(module, reason="pip install 'panformer[serve]'")
    server = serve.server(made[0])
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < until and thread.is_alive(), "the server does not start"
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join(10)
