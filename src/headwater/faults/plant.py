"""A program: puts a changed source in a module's way, then tries it; see `planting`.

Before that it imports nothing of ours but what finds the cache of kernels. The changed source lies there, in a file of its own:
neither bytecode nor compiled kernels can be mistaken for those of the real module, and a second run finds them.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import msgspec

from headwater.core.compiled import cache_folder


class Planter:
    """Finds one module elsewhere: the real source with some texts replaced."""

    def __init__(self, module: str, edits: Sequence[tuple[str, str]]) -> None:
        self._module, self._edits = module, edits

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder.find_spec`."""
        if name != self._module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        assert spec is not None
        assert spec.origin is not None
        source = Path(spec.origin).read_text(encoding="utf-8")
        for old, new in self._edits:
            source = source.replace(old, new)
        folder = cache_folder() / f"variant-{hashlib.sha256(source.encode()).hexdigest()[:16]}"
        return importlib.util.spec_from_file_location(name, _written(folder / Path(spec.origin).name, source))


def _written(file: Path, source: str) -> Path:
    """The file, as it was if it is there: a newer one would have its kernels compiled again."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".new").write_text(source, encoding="utf-8")
        file.with_suffix(".new").rename(file)
    return file


def main() -> None:
    """Plant what the argument says, or nothing for the control, and print what came of it as JSON."""
    asked = json.loads(sys.argv[1])
    if "control" in asked:
        from headwater.faults.planting import control_here  # noqa: PLC0415 - nothing is planted

        print(msgspec.json.encode(control_here(asked["control"], asked["seed"])).decode())
        return
    assert asked["module"] not in sys.modules, f"{asked['module']} is loaded before anything can be planted in it"
    sys.meta_path.insert(0, Planter(asked["module"], asked["edits"]))
    from headwater.faults.planting import try_here  # noqa: PLC0415 - only now

    print(msgspec.json.encode(try_here(asked["name"], asked["seed"])).decode())


if __name__ == "__main__":
    main()
