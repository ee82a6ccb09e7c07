"""The dashboards of deploy/grafana, written in Grafana's Classic model.

Each dashboard is a module with a `BOARD`: what its panels ask and what they say of it. `series` writes the queries from
the table of metrics, so that no panel can ask for what nothing produces; `grafana` lays the panels out and knows what
Grafana calls things; `files` has all of it as files.
"""
