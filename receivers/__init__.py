"""Bytes in: one module or package for each receiver."""
