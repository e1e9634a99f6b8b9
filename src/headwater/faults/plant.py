"""A program: puts a changed source in a module's way, then tries it. Imports nothing of ours before that; see `planting`."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType


class Planter:
    """Finds one module in a file of its own: the real source with one text replaced."""

    def __init__(self, module: str, edits: Sequence[tuple[str, str]], folder: Path) -> None:
        self._module, self._edits, self._folder = module, edits, folder

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
        # In a file of another name, so that neither bytecode nor compiled kernels are mistaken for those of the real one.
        file = self._folder / Path(spec.origin).name
        file.write_text(source, encoding="utf-8")
        return importlib.util.spec_from_file_location(name, file)


def main() -> None:
    """Plant what the argument says, and print what came of it as JSON."""
    asked = json.loads(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="hw-variant-") as folder:
        sys.meta_path.insert(0, Planter(asked["module"], asked["edits"], Path(folder)))
        import msgspec  # noqa: PLC0415 - only now

        from headwater.faults.planting import try_here  # noqa: PLC0415 - only now

        print(msgspec.json.encode(try_here(asked["name"], asked["seed"])).decode())


if __name__ == "__main__":
    main()
