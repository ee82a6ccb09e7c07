"""Beside the pipeline: health checks and diagnostic pages."""
