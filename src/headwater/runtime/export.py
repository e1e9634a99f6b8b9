"""The log as files that anybody can read: one Parquet file a stream.

`seq` keeps the one recorded order: a replay of all the files folds the very sequence that the learner folded, and arrives
at the same state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from headwater.core.errors import Fatal, nearest
from headwater.following.formats import table
from headwater.log.protocol import Chunk, EventLog

_PART = ".part"


@dataclass(slots=True)
class Exported:
    """What was written.

    Attributes:
        files: Stream -> its file, in order of first appearance in the log.
        events: Stream -> its number of events.
        first, end: The part of the log that was read: from `first`, before `end`.
    """

    files: dict[str, Path] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    first: int = 0
    end: int = 0


def export(
    log: EventLog, folder: Path, streams: list[str] | None = None, progress: Callable[[int, int], None] | None = None
) -> Exported:
    """Write the log, as far as it goes now, to `folder/<stream>.parquet`.

    Columns: seq, id, source, time (event time), arrival, then the stream's own. Events of the system streams `_dead`
    (refused) and `_control` (marks) are written like any others. A file appears under its name when it is whole.

    Args:
        log: The log; only read.
        folder: Made if need be; an existing file is never overwritten.
        streams: Only these; None means all.
        progress: Told (rows read, rows in the log).

    Raises:
        Fatal: A file is there already, or a stream has no event.
    """
    done = Exported()
    done.first, done.end = log.bounds()
    folder.mkdir(parents=True, exist_ok=True)
    writers: dict[str, pq.ParquetWriter] = {}
    try:
        for chunk in log.read(done.first):
            for name in chunk.batch.frames:
                if streams is None or name in streams:
                    _write(writers, folder, name, _rows(chunk, name), done)
            if progress:
                progress(chunk.seq + chunk.batch.n - done.first, done.end - done.first)
    finally:
        for writer in writers.values():
            writer.close()
    for name in streams or ():
        if name not in writers:
            raise Fatal("the log has no event of this stream", where=name, next_step=nearest(name, writers))
    for path in done.files.values():
        path.with_name(path.name + _PART).replace(path)
    return done


def _write(writers: dict[str, pq.ParquetWriter], folder: Path, name: str, table: pa.Table, done: Exported) -> None:
    if name not in writers:
        path = folder / f"{name}.parquet"
        if path.exists():
            raise Fatal("this file would be overwritten", where=str(path), next_step="Choose another folder, or move it away.")
        writers[name] = pq.ParquetWriter(path.with_name(path.name + _PART), table.schema, compression="zstd")
        done.files[name], done.events[name] = path, 0
    writers[name].write_table(table)
    done.events[name] += table.num_rows


def _rows(chunk: Chunk, stream: str) -> pa.Table:
    places = chunk.batch.rows_of(stream)
    return table(chunk.seq + places, chunk.batch.take(places), stream)
