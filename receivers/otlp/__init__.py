"""The `otlp` receiver: OTLP over gRPC and HTTP, as an OpenTelemetry Collector takes it.

Three files to start reading: `intake.py` is the way of one request, the same for both transports;
`answers.py` says which outcome becomes which status; `receiver.py` is the component that owns both
servers. Around them: `config.py`, `grpc_server.py` and `http_server.py` (transports, nothing else),
`admission.py` (bytes in flight), `compression.py`, and `json_codec.py` with `json_reader.py` (OTLP/JSON).
"""
