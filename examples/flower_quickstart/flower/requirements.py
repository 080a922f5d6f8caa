"""Prints what the installed flwr requires, a line each, certifi in any version.

flwr 1.42.0 requires a release of certifi that some package indexes lack; no release in particular is needed here.
"""

import re
from importlib.metadata import requires

for requirement in requires("flwr") or []:
    print("certifi" if re.match(r"certifi\b", requirement) else requirement)
