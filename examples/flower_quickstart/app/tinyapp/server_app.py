"""Tiny numpy ServerApp: FedAvg that checks that every node answered every round.

It prints one `TINYAPP_ROUND {json}` line a round and one `TINYAPP_SUMMARY {json}` line
at the end, and fails the run unless every round was complete and the payload is exact.
"""

import hashlib
import json
import time

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


class CheckedFedAvg(FedAvg):
    """FedAvg that records who answered in each round and how long it took."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.rounds: list[dict] = []
        self.started = time.monotonic()

    def configure_train(self, server_round, arrays, config, grid):
        self.started = time.monotonic()
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round, replies):
        replies = list(replies)
        ok = [r for r in replies if not r.has_error()]
        metrics = [r.content["metrics"] for r in ok]
        record = {
            "round": server_round,
            "seconds": round(time.monotonic() - self.started, 3),
            "ok": len(ok),
            "loss": float(np.mean([m["loss"] for m in metrics])) if metrics else None,
            "errors": [f"{r.error.code}:{r.error.reason}" for r in replies if r.has_error()],
            "nodes": sorted(str(r.metadata.src_node_id) for r in ok),
            "partitions": sorted(int(m["partition-id"]) for m in metrics),
            "payload_in_sha": sorted({int(m["payload-in-sha"]) for m in metrics}),
        }
        self.rounds.append(record)
        print("TINYAPP_ROUND " + json.dumps(record), flush=True)
        return super().aggregate_train(server_round, replies)


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train for the configured rounds and check what came back."""
    rc = context.run_config
    rounds, expected = int(rc["num-server-rounds"]), int(rc["expected-nodes"])
    # Incompressible, so that no layer can cheat on throughput; small whole numbers,
    # so that float32 sums and means over the nodes are exact.
    elems = int(rc["array-elems"])
    payload_sent = np.random.default_rng(7).integers(0, 1 << 16, size=elems).astype(np.float32)
    strategy = CheckedFedAvg(
        fraction_evaluate=float(rc["fraction-evaluate"]),
        min_train_nodes=expected,
        min_evaluate_nodes=expected,
        min_available_nodes=expected,
    )
    started = time.monotonic()
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord([np.zeros(4, dtype=np.float32), payload_sent]),
        num_rounds=rounds,
        timeout=float(rc["round-timeout"]),
    )
    w, payload = result.arrays.to_numpy_ndarrays()
    full = [r for r in strategy.rounds if r["ok"] == expected and len(set(r["nodes"])) == expected]
    exact = bool(np.array_equal(payload, payload_sent + np.float32(rounds)))
    summary = {
        "rounds_full": len(full),
        "rounds_wanted": rounds,
        "payload_bytes": int(payload.nbytes),
        "payload_exact": exact,
        "payload_sha256": hashlib.sha256(payload.tobytes()).hexdigest(),
        "w": [round(float(v), 4) for v in w],
        "seconds": round(time.monotonic() - started, 3),
    }
    print("TINYAPP_SUMMARY " + json.dumps(summary), flush=True)
    if len(full) != rounds or not exact:
        raise RuntimeError(f"incomplete training: {summary}")
