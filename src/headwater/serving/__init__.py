"""The data plane: HTTP in, answer out.

In: events for the door, rows for a model. Out: verdicts, scores that name the version they came from, pages for machines
(health, metrics, OpenAPI). `gateway.Gateway` is the ASGI app, `server.serve` runs it, `protocol.Answerer` computes.
Never here: learning, routing policy, an operation that changes a model (that is `control`).
"""
