"""Appends lines to a log on disk as a gateway would. Usage: fill_log LINES FOLDER."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from bench.apps.loop import app
from bench.ours.loop import STREAM, bodies
from bench.side import say
from headwater.ingest.decode import Decoder, pieces
from headwater.ingest.limits import Limits
from headwater.ingest.shapes import Shapes
from headwater.log.lmdb import LmdbLog


def main(path: Path, folder: Path) -> None:
    decoder, log = Decoder(Shapes(app.streams), Limits()), LmdbLog(folder)
    for body in bodies(path):
        for piece in pieces(body, is_lines=True):
            window = decoder.window(piece, STREAM, time.time_ns() // 1000)
            assert window is not None
            log.append(window.batch)
    end = log.bounds()[1]
    log.close()
    say(n=end, n_bytes=(folder / "data.mdb").stat().st_size)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
