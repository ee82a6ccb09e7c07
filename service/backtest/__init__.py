"""Rules played over stored runs, to see when each alert would have fired.

`counted` says what the metrics would have counted of a run and when, `timeline` makes time series of it, and
`promtool` has Prometheus' own tool play the rules over them.
"""
