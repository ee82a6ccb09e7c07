"""The numbers on a page for Prometheus: `exporter` answers scrapes, `exposition` writes the two text formats."""
