"""JSON lines into SQLite by a plain Starlette route. Usage: starlette_ingest FOLDER."""

from __future__ import annotations

import sqlite3
import sys
import threading
from pathlib import Path

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bench.side import say, when_stdin_ends

_COLUMNS = ("id", "time", "sensor", "failed", *(f"x{j}" for j in range(1, 8)))
_INSERT = f"INSERT OR IGNORE INTO reading VALUES ({', '.join('?' * len(_COLUMNS))})"


def store(db: sqlite3.Connection, lock: threading.Lock, body: bytes) -> int:
    """Decode, insert, commit; how many rows were new."""
    rows = []
    for line in body.splitlines():
        event = orjson.loads(line)
        rows.append([event[name] for name in _COLUMNS])
    with lock, db:
        before = db.total_changes
        db.executemany(_INSERT, rows)
        return db.total_changes - before


def main(folder: Path) -> None:
    db = sqlite3.connect(folder / "events.db", check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    kinds = "id TEXT PRIMARY KEY, time INTEGER, sensor TEXT, failed INTEGER, " + ", ".join(f"x{j} REAL" for j in range(1, 8))
    db.execute(f"CREATE TABLE reading ({kinds}) WITHOUT ROWID")
    lock = threading.Lock()

    async def events(request: Request) -> JSONResponse:
        body = await request.body()
        return JSONResponse({"accepted": await run_in_threadpool(store, db, lock, body)})

    app = Starlette(routes=[Route("/events/reading", events, methods=["POST"])])
    serve(app, "starlette", "uvicorn", "uvloop", "httptools", "orjson", sqlite=sqlite3.sqlite_version)
    db.close()


def serve(app: object, *packages: str, **facts: object) -> None:
    """uvicorn with uvloop and httptools, one process, no access log; says where, and stops when stdin ends."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, loop="uvloop", http="httptools", access_log=False, log_level="warning")  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    started = server.startup

    async def startup(sockets: object = None) -> None:
        await started(sockets)  # type: ignore[arg-type]
        port = server.servers[0].sockets[0].getsockname()[1]
        say(*packages, url=f"http://127.0.0.1:{port}", **facts)

    server.startup = startup  # type: ignore[method-assign, assignment]
    when_stdin_ends(lambda: setattr(server, "should_exit", True))
    server.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
