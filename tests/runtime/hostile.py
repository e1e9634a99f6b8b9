"""Files that run code, fill the disk or lead out of a folder where somebody opens them carelessly; and a program that offers
each of them wherever a model's bytes may come in.

    python hostile.py FOLDER

It prints, as JSON, what was refused where, and how often anything was unpickled in this process (which is the command line's
and the gateway's: models have processes of their own).
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import io
import json
import lzma
import os
import pickle
import shutil
import sqlite3
import struct
import sys
import tarfile
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import typer.main
from river import linear_model

import headwater as hw
from headwater.cli import main
from headwater.core.batch import Frame, column
from headwater.core.clock import VirtualClock
from headwater.core.errors import CorruptData, HeadwaterError, Untrusted
from headwater.registry.artifact import decode, encode
from headwater.registry.catalog import FILE_NAME, Catalog
from headwater.registry.version import Version
from headwater.runtime.checkpointing import Checkpointer, check_seals, restore
from headwater.runtime.fold import Fold
from headwater.runtime.isolating import learners, nursery_for, scorers
from headwater.runtime.publishing import Publisher
from headwater.runtime.served import served
from headwater.runtime.settings import Server
from headwater.runtime.trust import Trust
from headwater.serving.answerer import ViewAnswerer
from headwater.serving.lanes import as_block, sealed
from headwater.serving.protocol import Question
from headwater.store.checkpoint import Checkpoints
from headwater.store.memory_view import MemoryView
from headwater.store.view import weights_key

MARKER = "pwned"
SOME = 6  # commands that read a version as `show` does are tried with every sixth file
ENDINGS = ("pkl", "joblib", "pt", "bin", "npy", "onnx", "safetensors", "h5")


class Gadget:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def gadgets(folder):
    """Pickles that leave a file behind where they are opened; every protocol, and by several ways."""
    mark = str(folder / MARKER)
    gadget = Gadget(os.mkdir, mark)
    yield from ((f"protocol {n}", pickle.dumps(gadget, n)) for n in range(6))
    yield "exec", pickle.dumps(Gadget(exec, f"import os; os.mkdir({mark!r})"))
    yield "inside a list", pickle.dumps([{"weights": [0.0]}, {"model": gadget}])
    yield "by getattr", f"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(S'os'\ntRS'system'\ntR(S'mkdir {mark}'\ntR.".encode()
    yield "os.system", f"cos\nsystem\n(S'mkdir {mark}'\ntR.".encode()
    yield "cut short after its call", pickle.dumps(gadget, 0)[:-1]
    yield "rubbish after it", pickle.dumps(gadget) + b"\0" * 100
    buffer = io.BytesIO()
    np.save(buffer, np.array([gadget], dtype=object), allow_pickle=True)
    yield "an object array", buffer.getvalue()


def zipped(name, data):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def tarred(name, data=b"", **member):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        for key, value in member.items():
            setattr(info, key, value)
        archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def headed(header, body=b"", length=None):
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def corpus(folder):
    """Name -> bytes."""
    found, payload = {}, dict(gadgets(folder))
    for ending in ENDINGS:
        found[f"a pickle.{ending}"] = payload["protocol 4"]
    for name, data in payload.items():
        found[f"{name}.pkl"] = data
        found[f"{name}, as River's state.safetensors"] = encode({"pickle": np.frombuffer(data, np.uint8)}, {})
    plain = payload["protocol 2"]
    packers = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "z": zlib.compress}
    found |= {f"a pickle.{ending}": pack(plain) for ending, pack in packers.items()}
    found["a broken crc.zip"] = zipped("data.pkl", plain).replace(struct.pack("<I", zlib.crc32(plain)), b"\0\0\0\0")
    found["as torch saves.pt"] = zipped("archive/data.pkl", plain)
    found["leads out.zip"] = zipped(f"../../{MARKER}", b"out")
    found["leads out.tar"] = tarred(f"../../{MARKER}", b"out")
    found["a link.tar"] = tarred("versions", type=tarfile.SYMTYPE, linkname="/etc")
    found["a bomb.gz"] = gzip.compress(bytes(16 << 20))
    found["a bomb.zip"] = zipped("weights", bytes(16 << 20))
    entry = {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}
    found["a long header.safetensors"] = headed(b"{}" + b" " * (2 << 20))
    found["a claimed header.safetensors"] = headed(b"{}", length=1 << 62)
    found["many arrays.safetensors"] = headed({f"{i:x}": {**entry, "shape": [0], "data_offsets": [0, 0]} for i in range(9000)})
    found["many dimensions.safetensors"] = headed({"a": {**entry, "shape": [1] * 5000}}, bytes(8))
    found["a huge array.safetensors"] = headed({"a": {**entry, "shape": [1 << 60], "data_offsets": [0, 1 << 63]}}, bytes(8))
    found["arrays on one place.safetensors"] = headed({"a": entry, "b": entry}, bytes(8))
    found["a deep header.safetensors"] = headed(b'{"__metadata__":' + b"[" * 100_000)
    found["a negative shape.safetensors"] = headed({"a": {**entry, "shape": [-1]}}, bytes(8))
    found["no such type.safetensors"] = headed({"a": {**entry, "dtype": "O"}}, bytes(8))
    found["a list.safetensors"] = headed([1, 2])
    good = encode({"weights": np.arange(8.0)}, {"line": "m"})
    found |= {f"cut at {n}.safetensors": good[:n] for n in (0, 1, 7, 8, 20, len(good) - 1)}
    return found


class Ask(hw.Event, key="id_"):
    id_: hw.Field[str]
    a: hw.Field[float]


class Told(hw.Event, key="id_"):
    id_: hw.Field[str]
    y: hw.Field[float]


def app():
    label = hw.label(Told.y > 0, join=Told.id_, on=Ask.id_, within="1h")
    return hw.App("a", models=[hw.Model("m", on=Ask, features=[Ask.a], label=label,
                                        learner=hw.River(linear_model.LogisticRegression(), block=4))])  # fmt: skip


class Hostile:
    """Offers each file everywhere; counts who refused it how, and what slipped through."""

    def __init__(self, folder):
        self.folder, self.state = folder, folder / "state"
        self.refused, self.taken, self.unpickled, self.offered = Counter(), [], [], 0
        self.app = app()
        self.nursery = nursery_for(self.app, 1024)
        self.trust = Trust.of(self.state / "registry")
        self._register()
        self._serve()
        self._load_kernels()
        sys.addaudithook(self._hear)

    def _load_kernels(self):
        """A compiled kernel is cached as a pickle of numba's: those that saving and loading a state need are read now."""
        store = Checkpoints(self.folder / "kernels")
        Checkpointer(Fold(self.app), store, self.trust.seal).save()
        store.wait()
        restore(self.app, store, self.trust.seal)
        store.close()

    def _hear(self, event, arguments):
        if event == "pickle.find_class":
            self.unpickled.append(arguments)

    def _register(self):
        with Catalog(self.state / "registry") as catalog:
            for seq in (100, 200):
                sha256 = catalog.artifacts.put({"weights": np.arange(3.0) + seq}, {"line": "m", "seq": seq})
                catalog.register(Version("m", seq, sha256, 0, "once", {"app": "x"}))
            self.version = catalog.get("m")
        self.file = catalog.artifacts.path(self.version.sha256)
        self.good = self.file.read_bytes()
        self.catalogue = (self.state / "registry" / FILE_NAME).read_bytes()

    def _serve(self):
        """A gateway's answerer over a view, as `runtime.gateway` has it, with models in processes of their own."""
        view, fold = MemoryView(), Fold(self.app)
        Publisher(fold, view, VirtualClock(), resume=False, seal=self.trust.seal).publish()
        self.view = view
        self.lanes = scorers(self.app, self.nursery, Server(model_deadline_ms=60_000), self.trust.seal, lambda *_: None)
        self.answerer = ViewAnswerer(self.app.plan, served(self.app), view, self.app.fingerprint(), self.lanes)
        self.row = Frame(1, {name: column(spec, [value]) for (name, value), spec in zip(
            {"id_": "q", "a": 0.5}.items(), Ask.schema.fields, strict=True)})  # fmt: skip
        assert not self.ask().degraded

    def ask(self):
        return self.answerer.answer("m", Question(self.row, frozenset({"id_", "a"})))

    def offer(self, name, data):
        """One file, at every door."""
        self.offered += 1
        self._parse(name, data)
        self._in_a_versions_place(name, data)
        self._as_a_version_of_its_own(name, data)
        self._as_what_is_published(name, data)
        self._as_the_saved_state(name, data)

    def expect(self, door, name, call):
        try:
            call()
        except Untrusted:
            self.refused[door] += 1
        except CorruptData:
            self.refused[door] += 1
        except HeadwaterError as error:
            self.taken.append((door, name, repr(error)))
        else:
            self.taken.append((door, name, "it was taken"))

    def _parse(self, name, data):
        """Past all signatures and hashes: what a parser makes of it."""
        with contextlib.suppress(CorruptData):
            found = decode(data)
            if "River" not in name:
                self.taken.append(("parser", name, sorted(found.arrays)))
        self.refused["parser"] += 1

    def _command(self, door, name, *arguments):
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                main.run([*arguments, "--state", str(self.state)])
            except SystemExit as left:
                if left.code == 1 and "fault in Headwater" not in out.getvalue():
                    self.refused[door] += 1
                    return
        self.taken.append((door, name, out.getvalue()[-500:]))

    def _in_a_versions_place(self, name, data):
        self.file.write_bytes(data)
        (self.file.parent / Path(name).name.replace(" ", "-")).write_bytes(data)
        self._command("show", name, "show", "m")
        if self.offered % SOME == 0:  # these come the same way
            self._command("verify", name, "verify", "--json")
            self._command("export", name, "export", "m", "--to", "npz", "--out", str(self.folder / "out.npz"))
            self._command("diff", name, "diff", "m@100", "m@200")
        self.file.write_bytes(self.good)

    def _as_a_version_of_its_own(self, name, data):
        """The file has its hash for a name, and the catalogue says so: only the signature is missing."""
        registry, sha256 = self.state / "registry", hashlib.sha256(data).hexdigest()
        path = registry / "versions" / f"{sha256}.safetensors"
        path.write_bytes(data)
        db = sqlite3.connect(registry / FILE_NAME)
        with db:
            db.execute('INSERT INTO versions SELECT line, 300, ?, created_ms, "trigger", recipe, parent, log_start, metrics, '
                       "cost_core_s, signature FROM versions WHERE seq = 200", (sha256,))  # fmt: skip
        db.close()
        self._command("forged", name, "show", "m")
        for left in registry.glob(f"{FILE_NAME}*"):
            left.unlink()
        (registry / FILE_NAME).write_bytes(self.catalogue)
        path.unlink()

    def _as_what_is_published(self, name, data):
        before = self.view._rows[weights_key("m")]
        other = Trust.of(self.folder / "other" / "registry").seal
        for block in (as_block(data), sealed(data, "m", other)):
            self.view._rows[weights_key("m")] = block.tobytes()
            if self.ask().degraded:
                self.refused["gateway"] += 1
            else:
                self.taken.append(("gateway", name, "it answered"))
            self.lanes["m"].breaker.succeeded()
        self.view._rows[weights_key("m")] = before

    def _as_the_saved_state(self, name, data):
        folder = self.folder / "saved"
        store = Checkpoints(folder)
        starts = learners(self.app, self.nursery, 60.0)  # apart, as a learner has them: what unpickles here is seen
        fold = Fold(self.app, starts=starts)
        saver = Checkpointer(fold, store, self.trust.seal)
        lane = fold.models["m"].learner
        lane._packed[0] = data
        saver.save()
        saver.wait()
        meta = store.load(self.app.fingerprint())[0]
        assert meta.extra["seals"]["model.m.line.0"] == self.trust.seal.of("model.m.line.0", data)
        theirs = Trust.of(self.folder / "other" / "registry").seal
        self.expect("learner", name, lambda: restore(self.app, store, theirs, starts))
        self.expect("learner", name, lambda: _resealed(self.app, store, meta, self.trust.seal))
        store.close()
        shutil.rmtree(folder)


def _resealed(app_, store, meta, seal):
    """The saved bytes were exchanged after the seal was made."""
    _, arrays = store.load(app_.fingerprint())
    meta.extra["seals"]["model.m.line.0"] = seal.of("model.m.line.0", b"what was there")
    check_seals(meta, arrays, seal, ["m"])


def run(folder):
    hostile = Hostile(folder)
    files = corpus(folder)
    for name, data in files.items():
        hostile.offer(name, data)
    hostile.nursery.close()
    left = [str(p) for p in (*folder.rglob(MARKER), folder.parent / MARKER) if p.exists()]
    return {"files": len(files), "refused": hostile.refused, "taken": hostile.taken, "unpickled": len(hostile.unpickled),
            "left": left}  # fmt: skip


if __name__ == "__main__":
    program = typer.main.get_command(main.build())
    main.build = lambda: program  # made once for a hundred commands
    print(json.dumps(run(Path(sys.argv[1])), default=str))
