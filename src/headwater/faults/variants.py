"""Known-bad variants of our own code: what the harness must catch, or it proves nothing.

Each is a mistake that somebody could make in an afternoon, as a change of the module's text.
"""

# ruff: noqa: E501, ISC004 - texts of other modules, as they stand there
from __future__ import annotations

from dataclasses import dataclass

_MOST = 60


@dataclass(frozen=True, slots=True)
class Variant:
    """One mistake.

    Attributes:
        name: The mistake, in words.
        module: Where it is made.
        edits: (text, what takes its place); each text is in the module once.
        faults: The classes whose schedules should notice.
        most: After so many schedules it counts as not caught.
        is_process: Whether those of real processes are tried too.
    """

    name: str
    module: str
    edits: tuple[tuple[str, str], ...]
    faults: tuple[str, ...]
    most: int = _MOST
    is_process: bool = False


VARIANTS: tuple[Variant, ...] = (
    Variant(
        "ids are not known after a restart", "headwater.log.lmdb",
        (("start = max(self._index.end, state.floor)", "start = max(self._index.end or state.end, state.floor)"),),
        ("F7",),
    ),
    Variant(
        "another event under a known id passes for a duplicate", "headwater.log.dedupe",
        (("verdict[i] = _DUPLICATE if slots[at, 2] == payload[i] else _CONFLICT", "verdict[i] = _DUPLICATE"),),
        ("F7",),
    ),
    Variant(
        "the first id of all is forgotten (> for >=)", "headwater.log.dedupe",
        (("if found != _EMPTY and found >= floor:", "if found != _EMPTY and found > floor:"),),
        ("F7", "F19"),
    ),
    Variant(
        "ids are compared without their source", "headwater.log.fingerprints",
        (("return combine([_source_hashes(batch.sources, seed)[batch.source], hash_text(batch.ids, seed)])",
          "return combine([hash_text(batch.ids, seed)])"),),
        ("F7", "F8"),
    ),
    Variant(
        "duplicates are not added up", "headwater.log.counts",
        (("left.duplicate + right.duplicate", "left.duplicate"),),
        ("F7",),
    ),
    Variant(
        "state and offset in two commits", "headwater.store.checkpoint",
        (('            crashpoint("checkpoint.blocks_put")\n',
          '        crashpoint("checkpoint.blocks_put")\n        with self._begin(write=True) as txn:\n'),),
        ("F1",),
    ),
    Variant(
        "the offset is saved before the rows that leave", "headwater.store.checkpoint",
        (("            for stream, key, value in save.outbox:\n"
          '                _put(txn, stream.encode() + b"\\0" + key, value)\n', ""),
         ('        crashpoint("checkpoint.committed")\n',
          '        crashpoint("checkpoint.committed")\n        with self._begin(write=True) as txn:\n'
          "            for stream, key, value in save.outbox:\n"
          '                _put(txn, stream.encode() + b"\\0" + key, value)\n')),
        ("F1",),
    ),
    Variant(
        "late places are handed on with every later save too", "headwater.runtime.checkpointing",
        (("self._judged, self._examples, self._late, self.seq = {}, {}, [], fold.seq",
          "self._judged, self._examples, self.seq = {}, {}, fold.seq"),),
        ("F8",),
    ),
    Variant(
        "merged rows are dropped before their blocks are named", "headwater.store.deltas",
        (("        txn.put(key, sealed(key, out[start : start + per].tobytes()), db=db)\n",
          "        txn.put(key, sealed(key, out[start : start + per].tobytes()), db=db)\n"
          "    for delta in layers.deltas:\n        for piece in range(delta.n_pieces):\n"
          "            txn.delete(delta.key(name, piece), db=db)\n"),),
        ("F1",), 300,
    ),
    Variant(
        "a restart forgets when the next version is due", "headwater.runtime.model_fold",
        (('self.no_change[...], self.next_due[...] = arrays["no_change"], arrays["next_due"]',
          'self.no_change[...] = arrays["no_change"]'),),
        ("F12",),
    ),
    Variant(
        "a restart forgets the watermarks", "headwater.runtime.checkpointing",
        (('    fold.watermarks.restore(meta.extra["sources"], under(arrays, "watermarks."))\n', ""),),
        ("F12",),
    ),
    Variant(
        "an event at its watermark is late (<= for <)", "headwater.features.watermarks",
        (("        if t < watermark[s]:", "        if t <= watermark[s]:"),),
        ("F8", "F12"),
    ),
    Variant(
        "late events are counted and learnt", "headwater.features.watermarks",
        (("            skip[i] = 2\n            late[s, u] += 1\n            continue\n", "            late[s, u] += 1\n            continue\n"),),
        ("F8", "F12"),
    ),
    Variant(
        "the quickest source moves the watermark", "headwater.features.watermarks",
        (("watermark[s] = max(watermark[s], _slowest(marks[s]) - lateness[s])", "watermark[s] = max(watermark[s], t - lateness[s])"),),
        ("F8", "F12"),
    ),
    Variant(
        "a repeated label is learnt again", "headwater.evaluation.prequential",
        (("                    if before == ys[i]:", "                    if before == ys[i] + 2.0:"),),
        ("F12",),
    ),
    Variant(
        "an answered question expires as well", "headwater.evaluation.prequential",
        (("                if np.isnan(rows[r, LABEL]):", "                if ints[SIZE] > 0:"),),
        ("F12",),
    ),
    Variant(
        "a label is taken long after its time", "headwater.evaluation.prequential",
        (("if index[h] == 0 or time[i] > rows[index[h] - 1, TIME] + horizon[0]:", "if index[h] == 0:"),),
        ("F12",),
    ),
    Variant(
        "contradictions are not kept in quarantine", "headwater.ingest.door",
        (("if conflicts := tally.add(window, receipt):", "if (conflicts := tally.add(window, receipt)) and window.n < 0:"),),
        ("F7",),
    ),
    Variant(
        "lines that cannot be read are dropped", "headwater.ingest.decode",
        (("            return [self._one(text, stream, ignored, cloud=cloud) for text in piece.events]\n",
          "            rows = [self._one(text, stream, ignored, cloud=cloud) for text in piece.events]\n"
          "            return [row for row in rows if type(row) is not Letter]\n"),),
        ("F9",),
    ),
    Variant(
        "a refused line that comes again is kept again", "headwater.ingest.letters",
        (('f"dead-{name}", source', 'f"dead-{name}-{__import__(\'time\').time_ns()}", source'),),
        ("F7",),
    ),
    Variant(
        "events from the future are let in", "headwater.ingest.columns",
        (("mine > arrival_us // 1000 + schema.max_ahead_ms,", "mine > arrival_us // 1000 + (schema.max_ahead_ms << 20),"),),
        ("F6", "F9"),
    ),
    Variant(
        "poison is tried for ever", "headwater.following.delivering",
        (("is_final = isinstance(error, Fatal) or (self._manner.attempts is not None and self._attempt >= self._manner.attempts)",
          "is_final = isinstance(error, Fatal)"),),
        ("F9",),
    ),
    Variant(
        "a consumer's cursor moves before the event is handed over", "headwater.following.delivering",
        (("        try:\n            self._target.hand_over(part)\n",
          "        self._passed(part)\n        self._commit()\n        try:\n            self._target.hand_over(part)\n"),
         ("        self._n_done += part.n\n        self._passed(part)\n", "        self._n_done += part.n\n")),
        ("F1",), 200,
    ),
    Variant(
        "a new place is shown with old weights", "headwater.runtime.lines_shown",
        (("        if self._learnt.get(name) != line.mark:",
          "        if self._learnt.get(name, -1) // 2 != line.mark // 2:"),),
        ("F7", "F12"),
    ),
    Variant(
        "saves go by the wall clock", "headwater.runtime.learner",
        (("self._saved_s = self._publish_at_s = self._clock.monotonic_s()",
          "self._publish_at_s = self._clock.monotonic_s()\n        self._saved_s = self._clock.now_us() / 1e6"),
         ("waited = self._clock.monotonic_s() - self._saved_s >=", "waited = self._clock.now_us() / 1e6 - self._saved_s >="),
         ("        self._saved_s = self._clock.monotonic_s()\n\n    def _tell", "        self._saved_s = self._clock.now_us() / 1e6\n\n    def _tell")),
        ("F6",),
    ),
    Variant(
        "silence is measured by the wall clock", "headwater.runtime.idleness",
        (("now = self._clock.monotonic_s()", "now = self._clock.now_us() / 1e6"),),
        ("F6",),
    ),
    Variant(
        "the log's commits are not synced", "headwater.log.environment",
        (("readonly=readonly, mode=0o640", "readonly=readonly, mode=0o640, sync=False"),),
        ("F2",),
    ),
    Variant(
        "the state's commits are not synced", "headwater.store.checkpoint",
        (("subdir=True, readonly=readonly, max_readers=256)", "subdir=True, readonly=readonly, max_readers=256, sync=False)"),),
        ("F2",),
    ),
    Variant(
        "a version has its name before it is on disk", "headwater.registry.artifact",
        (("                os.fsync(file.fileno())\n", ""),),
        ("F2",),
    ),
    Variant(
        "a chunk's checksum is not compared", "headwater.log.chunks",
        (("    if checksum != header.checksum:", "    if checksum < 0:"),),
        ("F5",),
    ),
    Variant(
        "the checksum of a notice or a cursor is not compared", "headwater.store.sums",
        (("        if got != expected:", "        if expected is None:"),),
        ("F5",),
    ),
    Variant(
        "nobody looks whether notices are missing", "headwater.runtime.learner",
        (("self._notices.check(self._store.extra().get(TOLD))", "self._notices.check()"),),
        ("F5",), 200,
    ),
    Variant(
        "a version's file is not compared with its hash", "headwater.registry.artifact",
        (("if (found := hashlib.sha256(data).hexdigest()) != sha256:", "if not (found := hashlib.sha256(data).hexdigest()):"),),
        ("F5",),
    ),
)  # fmt: skip
