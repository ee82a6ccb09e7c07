"""The `kafka` exporter: each request as one message, or one for each trace in it.

`messages.py` makes messages of a request, `outcome.py` says what a failure means, `exporter.py` is the component.
"""
