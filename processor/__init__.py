"""What happens to a request between its receiver and its exporters, in the order of the pipeline.

`component.py` holds what every component of every folder shares: identity, configuration, errors,
registration. `batch.py` is the request itself. The other modules are one processor or connector each.
"""
