"""spanledger: an OpenTelemetry sidecar for AI agents.

The parts live in the folders of the repository root and are imported under this one name:
`receivers` (bytes in), `processor` (what happens to a request), `conventions` (what the data
means), `exporters` (bytes and numbers out), `extensions` (beside the pipeline), `service` (the
assembly). Dependencies point one way: service -> receivers, processor, exporters, extensions ->
conventions.
"""

__version__ = "0.1.0"
