"""Flower's older API: a server and a client that hold one stream for as long as they train.

start_client.py server ADDRESS
start_client.py client ADDRESS SECONDS
"""

import sys
import time

import flwr
import numpy as np
from flwr.common import ndarrays_to_parameters
from flwr.server.strategy import FedAvg


class SilentClient(flwr.client.NumPyClient):
    """Adds one to the model, and says nothing meanwhile."""

    def __init__(self, seconds):
        self.seconds = seconds

    def get_parameters(self, config):
        return [np.zeros(4)]

    def fit(self, parameters, config):
        time.sleep(self.seconds)
        return [array + 1 for array in parameters], 1, {}


class Strategy(FedAvg):
    """Prints the model after each round."""

    def aggregate_fit(self, server_round, results, failures):
        aggregated = super().aggregate_fit(server_round, results, failures)
        print(f"round {server_round}: {len(results)} results, {len(failures)} failures", flush=True)
        return aggregated


if sys.argv[1] == "server":
    flwr.server.start_server(
        server_address=sys.argv[2],
        config=flwr.server.ServerConfig(num_rounds=1),
        strategy=Strategy(
            fraction_evaluate=0.0,
            min_fit_clients=1,
            min_available_clients=1,
            initial_parameters=ndarrays_to_parameters([np.zeros(4)]),
        ),
    )
else:
    client = SilentClient(float(sys.argv[3]))
    flwr.client.start_client(server_address=sys.argv[2], client=client.to_client())
