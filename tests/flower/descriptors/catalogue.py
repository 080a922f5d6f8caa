"""Writes the errors and the HTTP paths of the installed SuperLink to the file that is named, a line each."""

import sys
from pathlib import Path

from fastapi import FastAPI
from flwr.supercore.error.catalog import API_ERROR_MAP
from flwr.supercore.routers import health
from flwr.supercore.routers.runtime import create_runtime_router, responses_router
from flwr.superlink.routers.control import router as control
from flwr.superlink.routers.fleet.router import router as fleet

app = FastAPI()
for router in (health.router, control, fleet, create_runtime_router("SuperLink"), responses_router):
    app.include_router(router)
lines = [f"path\t{path}" for path in app.openapi()["paths"]]
for code, spec in API_ERROR_MAP.items():
    lines.append(f"error\t{int(code)}\t{spec.status_code.value[0]}\t{spec.http_status_code}")
Path(sys.argv[1]).write_text("\n".join(lines), encoding="utf-8")
