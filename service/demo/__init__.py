"""What `spanledger demo` plays at the sidecar: agents as real applications would report them.

The OpenTelemetry SDK and its OTLP exporter are the client here; nothing of the sidecar is used.
"""
