"""Bytes and numbers out: one module or package for each exporter, over a shared queue and retry."""
