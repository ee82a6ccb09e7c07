"""What the data means: no I/O, no clock, nothing imported from the rest of spanledger.

`dialects/` reads spans of any GenAI instrumentation, `usage.py` makes token counts comparable,
`prices/` turns them into money, `step.py` is the record that all of it ends in, `metrics.py` the
table of every metric, `semconv.py` the generated registry of the OTel GenAI conventions.
"""
