"""Tiny numpy ClientApp: linear regression by gradient descent plus an opaque payload."""

import hashlib
import time

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


def _data(partition: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(100 + partition)
    x = rng.normal(size=(64, 4)).astype(np.float32)
    w = np.array([1.0, -2.0, 3.0, 0.5], dtype=np.float32)
    return x, x @ w


def _loss(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean((x @ w - y) ** 2))


@app.train()
def train(msg: Message, context: Context) -> Message:
    """Take 20 gradient steps and add one to every element of the payload."""
    partition = int(context.node_config.get("partition-id", 0))
    w, payload = (a.copy() for a in msg.content["arrays"].to_numpy_ndarrays())
    x, y = _data(partition)
    time.sleep(float(context.run_config.get("train-sleep", 0.0)))
    for _ in range(20):
        w -= 0.05 * (2.0 / len(x)) * (x.T @ (x @ w - y))
    digest_in = int(hashlib.sha256(payload.tobytes()).hexdigest()[:12], 16)
    payload += np.float32(1.0)  # the server knows the exact sum it must get back
    metrics = MetricRecord({
        "num-examples": len(x),
        "loss": _loss(w, x, y),
        "partition-id": partition,
        "payload-in-sha": digest_in,
    })
    content = RecordDict({"arrays": ArrayRecord([w, payload]), "metrics": metrics})
    return Message(content=content, reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    """Report the loss of the aggregated model on this node's data."""
    partition = int(context.node_config.get("partition-id", 0))
    w, _ = msg.content["arrays"].to_numpy_ndarrays()
    x, y = _data(partition)
    metrics = MetricRecord({"num-examples": len(x), "loss": _loss(w, x, y)})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=msg)
