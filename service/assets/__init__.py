"""What Prometheus, Alertmanager and Grafana need to know of spanledger: recording rules, alerts, runbooks.

Rules are tables here (`recording`, `alerts/`), their numbers stand in deploy/values.yaml, and `write` makes plain
files of both, which are committed in deploy/. Run by `make docs` and by `spanledger assets`; never by the sidecar.
"""
