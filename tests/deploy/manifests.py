"""The plain manifests of deploy/kubernetes, which are the chart with some values: `python -m tests.deploy.manifests`.

Needs Helm, see install.sh. `test_manifests.py` compares.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "deploy" / "helm" / "spanledger"
TOOLS: Final = Path(os.environ.get("SPANLEDGER_PEERS", ROOT / ".peers")) / "deploy"

_BACKEND: Final = {"endpoint": "otel-collector.observability:4317", "insecure": True}

PLAIN: Final[Mapping[str, Mapping[str, Any]]] = {
    "sidecar": {
        "mode": "sidecar", "backend": _BACKEND, "monitor": {"enabled": True}, "sidecar": {"example": {"enabled": True}},
        "persistence": {"size": "2Gi"},
    },
    "deployment": {"mode": "deployment", "backend": _BACKEND, "monitor": {"enabled": True}},
    "statefulset": {
        "mode": "statefulset", "backend": _BACKEND, "monitor": {"enabled": True}, "autoscaling": {"enabled": True},
    },
}  # fmt: skip
"""File -> the values that make it."""


def template(values: Mapping[str, Any]) -> str:
    """Return what `helm template` makes of the chart with these values. Raises CalledProcessError."""
    command = [TOOLS / "bin" / "helm", "template", "spanledger", CHART, "--values", "-"]
    made = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, check=True)
    return made.stdout


def plain(name: str) -> str:
    """Return one of the plain manifests."""
    made = template(PLAIN[name]).replace("app.kubernetes.io/managed-by: Helm", "app.kubernetes.io/managed-by: kubectl")
    lines = [line for line in made.splitlines() if "helm.sh/chart:" not in line]
    head = f"# Written by `make manifests` from deploy/helm/spanledger with {json.dumps(PLAIN[name])}; do not edit.\n"
    return head + "\n".join(lines) + "\n"


def main() -> None:
    """Write all of them."""
    for name in PLAIN:
        (ROOT / "deploy" / "kubernetes" / f"{name}.yaml").write_text(plain(name))


if __name__ == "__main__":
    main()
