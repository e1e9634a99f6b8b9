"""FastAPI by hand around scikit-learn's predict_proba. Usage: fastapi_predict JSON DECISIONS."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel
from sklearn.linear_model import LogisticRegression

from bench.peers.serving import serve


class One(BaseModel):
    ask: str


class Row(BaseModel):
    ask: str
    x: list[float]


class Score(BaseModel):
    ask: str
    score: float


def main(given: Path, decisions: Path) -> None:
    facts = json.loads(given.read_text())
    model = LogisticRegression()
    model.coef_, model.intercept_ = np.array([facts["coef"]]), np.array([facts["intercept"]])
    model.classes_, model.n_features_in_ = np.array([0, 1]), len(facts["coef"])
    vectors = {f"q{i}": np.array([x]) for i, x in enumerate(facts["rows"])}
    log = decisions.open("a", buffering=1 << 16)
    app = FastAPI()

    @app.post("/predict/good")
    async def predict(one: One) -> Score:
        score = float(model.predict_proba(vectors[one.ask])[0, 1])
        log.write(json.dumps([time.time(), "good", one.ask, score]) + "\n")
        return Score(ask=one.ask, score=score)

    @app.post("/predict-rows/good")
    async def predict_rows(rows: list[Row]) -> list[Score]:
        scores = model.predict_proba(np.array([row.x for row in rows]))[:, 1].tolist()
        log.write(json.dumps([time.time(), "good", [row.ask for row in rows], scores]) + "\n")
        return [Score(ask=row.ask, score=score) for row, score in zip(rows, scores, strict=True)]

    serve(app, "fastapi", "scikit-learn", "uvicorn", "uvloop", "httptools", "numpy")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
