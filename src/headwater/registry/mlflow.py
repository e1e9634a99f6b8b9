"""A portable model as an MLflow model folder: the exported `.npz`, and code in plain sight that scores it.

Written by MLflow itself, as a model from code: no pickle, and no Headwater where it is served. One row of the data frame
is a question; its columns are the numbers (NaN where missing), then each category's row of weights.
"""

from __future__ import annotations

import inspect
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from headwater.core.batch import Floats, Ints
from headwater.core.errors import Fatal
from headwater.registry import npz, scorer
from headwater.registry.portable import Portable

_MODEL = '''

import mlflow.models
import mlflow.pyfunc
import pandas as pd


class Version(mlflow.pyfunc.PythonModel):
    """A version of a line, scored by numpy."""

    def load_context(self, context):
        self.header, self.score = load(context.artifacts["model"])
        self.categories = [category["name"] for category in self.header["categories"]]

    def predict(self, context, model_input: pd.DataFrame, params=None):
        xs = model_input[self.header["numbers"]].to_numpy(np.float64)
        return self.score(xs, model_input[self.categories].to_numpy(np.int64))


mlflow.models.set_model(Version())
'''


def write(model: Portable, path: Path) -> None:
    """Write the folder; its signature names every input and `score`."""
    with _mlflow() as (pyfunc, models), TemporaryDirectory() as made:
        arrays, code = Path(made, f"{model.version.line}.npz"), Path(made, "version.py")
        npz.write(model, arrays)
        code.write_text(inspect.getsource(scorer) + _MODEL, encoding="utf-8")
        pyfunc.save_model(
            path, python_model=str(code), artifacts={"model": str(arrays)}, signature=_signature(models, model),
            metadata=model.header(), pip_requirements=[f"numpy=={version('numpy')}", f"mlflow-skinny=={_version()}", "pandas"],
        )  # fmt: skip


def score(path: Path, xs: Floats, cs: Ints) -> Floats:
    """Scores of the written folder, by MLflow."""
    with _mlflow() as (pyfunc, _):
        import pandas as pd  # noqa: PLC0415 - what MLflow takes

        loaded = pyfunc.load_model(str(path))
        names = loaded.metadata.signature.inputs.input_names()
        rows = pd.DataFrame(dict(zip(names, [*xs.T, *cs.T], strict=True)))
        return np.asarray(loaded.predict(rows), np.float64)


def _signature(models: Any, model: Portable) -> Any:
    from mlflow.types import ColSpec, Schema  # noqa: PLC0415 - an extra

    inputs: list[Any] = [ColSpec("double", name) for name in model.numbers] + [
        ColSpec("long", name) for name in model.categories
    ]
    return models.ModelSignature(inputs=Schema(inputs), outputs=Schema([ColSpec("double", "score")]))


@contextmanager
def _mlflow() -> Iterator[tuple[Any, Any]]:
    """MLflow's modules `pyfunc` and `models`, told neither to report each use to its makers nor to advise on the console."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pyfunc, models = _imported()
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        yield pyfunc, models


def _imported() -> tuple[Any, Any]:
    try:
        import mlflow.models  # noqa: PLC0415 - an extra
        import mlflow.pyfunc  # noqa: PLC0415
    except ImportError as error:
        raise Fatal(
            f"a library is missing ({error})", where="--to mlflow", expected="mlflow and pandas",
            next_step="Install headwater[mlflow].",
        ) from error  # fmt: skip
    return mlflow.pyfunc, mlflow.models


def _version() -> str:
    import mlflow  # noqa: PLC0415 - an extra

    return str(mlflow.__version__)
