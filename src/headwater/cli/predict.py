"""`headwater predict`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from headwater.cli.options import ConfigFile, Json, State, Url

_TOP = 8  # contributions shown
_PATIENCE_S = 10.0
_AT_ONCE = 500  # rows in one request


def predict(
    model: Annotated[str, typer.Argument(help="The model's name, as the app declares it.")],
    fields: Annotated[
        list[str] | None,
        typer.Argument(metavar="FIELD=VALUE", help="What is asked about; the key alone if it was sent before."),
    ] = None,
    rows: Annotated[
        Path | None, typer.Option("--rows", metavar="FILE", help="A file of rows (JSON lines, CSV, Parquet) instead of fields.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Also what each feature contributes to the score.")] = False,
    record: Annotated[bool, typer.Option("--record/--no-record", help="Keep what is new as events to learn from.")] = True,
    config: ConfigFile = None,
    state: State = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Ask a running model, about one row or a file of them.

    For example:

        headwater predict late order_id=17 shop=shop-3 courier=courier-1 distance_km=4.2 --explain

        headwater predict late --rows orders.jsonl --no-record --json
    """
    from headwater.cli.options import connected
    from headwater.cli.output import print_json
    from headwater.core.errors import Fatal

    if bool(fields) == (rows is not None):
        step = "For example: headwater predict late order_id=17 shop=shop-3."
        raise Fatal("a question needs fields or --rows, not both", where=model, next_step=step)
    with connected(config, state, url, patience_s=_PATIENCE_S) as client:
        types = _types(client, model)
        asked = [_row(fields or [], types)] if rows is None else list(_file(rows, types))
        answers = [
            client.predict(model, asked[at : at + _AT_ONCE], explain=explain, record=record)
            for at in range(0, len(asked), _AT_ONCE)
        ]
    predictions = [p for answer in answers for p in answer["predictions"]]
    if as_json:
        versions = list(dict.fromkeys(answer["version"] for answer in answers))
        print_json({"model": model, "versions": versions, "predictions": predictions})
        return
    _show(answers, predictions)


def _types(client: Any, model: str) -> dict[str, str]:
    """Field -> JSON type of a model's rows, as the gateway publishes them."""
    from headwater.core.errors import Fatal, nearest

    schemas = client.get("/openapi.json")["components"]["schemas"]
    known = [name.removeprefix("row.") for name in schemas if name.startswith("row.")]
    if model not in known:
        raise Fatal("there is no such model", where=model, next_step=nearest(model, known))
    return {name: _kind(spec.get("type")) for name, spec in schemas[f"row.{model}"]["properties"].items()}


def _kind(given: Any) -> str:
    return next((kind for kind in given if kind != "null"), "") if isinstance(given, list) else str(given or "")


def _row(fields: list[str], types: Mapping[str, str]) -> dict[str, Any]:
    """`["a=1", "b=x"]` as a row; what belongs to a text stays one, the rest is read as JSON where it is JSON."""
    import json

    from headwater.core.errors import Fatal, nearest

    row: dict[str, Any] = {}
    for given in fields:
        name, equals, text = given.partition("=")
        if not equals or name not in types:
            step = nearest(name, types) if equals else "Write FIELD=VALUE, for example distance_km=4.2."
            raise Fatal("this is not a field of the question", where=given, next_step=step)
        try:
            row[name] = text if types[name] in {"string", ""} else json.loads(text)
        except ValueError:
            row[name] = text  # the gateway says what it expects instead
    return row


def _file(path: Path, types: Mapping[str, str]) -> Any:
    from headwater.ingest.rows import read_rows

    kept = set(types)
    for _, row in read_rows(path, texts={name for name, kind in types.items() if kind == "string"}):
        yield {name: value for name, value in row.items() if name in kept}


def _show(answers: list[dict[str, Any]], predictions: list[dict[str, Any]]) -> None:
    from headwater.cli.output import console, table

    if not predictions:
        console().print("no rows")
        return
    key = next(iter(predictions[0]))
    where = [answer["version"] for answer in answers for _ in answer["predictions"]]
    said = ("label",) if "label" in predictions[0] else ()
    lines = [
        (p[key], *map(p.get, said), p["score"], version, _remark(p)) for p, version in zip(predictions, where, strict=True)
    ]
    table((key, *said, "score", "model", ""), lines, right=("score",))
    for prediction in predictions:
        if classes := prediction.get("probabilities"):
            likeliest = sorted(classes.items(), key=lambda item: -item[1])[:_TOP]
            title = f"{prediction[key]}: the likeliest {len(likeliest)} of {len(classes)} classes"
            table(("class", "probability"), [(n, f"{v:.4f}") for n, v in likeliest], title=title, right=("probability",))
        if shares := prediction.get("shares"):
            top = sorted(shares.items(), key=lambda item: -abs(item[1]))
            title = (
                f"what moved {prediction[key]} (log-odds or the label's unit; the largest {min(_TOP, len(top))} of {len(top)})"
            )
            table(("feature", "share"), [(n, f"{v:+.4f}") for n, v in top[:_TOP]], title=title, right=("share",))


def _remark(prediction: Mapping[str, Any]) -> str:
    if guarded := prediction.get("guarded"):
        return "guarded: " + "; ".join(f"{name} {what}" for name, what in guarded.items())
    if prediction["stored"]:
        return "from the vector stored when it was asked first"
    return f"not recorded: {prediction['why']}" if "why" in prediction else ""
