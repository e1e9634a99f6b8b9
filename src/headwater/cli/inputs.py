"""What follows `--input`: a stream's file, or a file in which each event names its stream."""

from __future__ import annotations

from pathlib import Path


def files_of(inputs: list[str]) -> tuple[dict[str, Path], list[Path]]:
    """Stream -> file, and the files that hold several."""
    from headwater.core.errors import Fatal

    files: dict[str, Path] = {}
    mixed: list[Path] = []
    for given in inputs:
        stream, equals, path = given.partition("=")
        if given and (not equals or Path(given).is_file()):
            mixed.append(Path(given))
        elif not stream or not path or stream in files:
            raise Fatal(
                "an input names a stream and a file, each stream once", where=f"--input {given}",
                expected="--input STREAM=FILE, or --input FILE of JSON lines",
                next_step="For example --input departure=departure.parquet.",
            )  # fmt: skip
        else:
            files[stream] = Path(path)
    return files, mixed
