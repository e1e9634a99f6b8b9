"""JSON lines into SQLite by a plain Starlette route. Usage: starlette_ingest FOLDER."""

from __future__ import annotations

import sqlite3
import sys
import threading
from pathlib import Path

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bench.peers.serving import serve

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


if __name__ == "__main__":
    main(Path(sys.argv[1]))
