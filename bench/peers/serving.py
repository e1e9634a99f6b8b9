"""uvicorn as its documentation advises for speed: uvloop, httptools, no access log, one process."""

from __future__ import annotations

from typing import Any

import uvicorn

from bench.side import say, when_stdin_ends


def serve(app: Any, *packages: str, **facts: object) -> None:
    """Serve on a free port, say where, and stop when stdin ends."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )
    server: Any = uvicorn.Server(config)
    started = server.startup

    async def startup(sockets: Any = None) -> None:
        await started(sockets)
        port = server.servers[0].sockets[0].getsockname()[1]
        say(*packages, url=f"http://127.0.0.1:{port}", **facts)

    server.startup = startup
    when_stdin_ends(lambda: setattr(server, "should_exit", True))
    server.run()
