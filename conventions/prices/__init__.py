"""What a model call costs: names, prices, arithmetic. Pure: no network, no clock, no state but a bounded memo.

A price is looked for in layers, and the first that knows the model answers: the operator's own file
(`overrides`), corrections shipped with spanledger (`corrections.yaml`), and the snapshot of the
`genai-prices` package (`catalogue`), of which only the data and the matching are used. `sellers` and
`resolve` read who sells a model and how its name may be spelled; `tariff` holds the integer arithmetic;
`engine` puts them together. A model that no layer knows is *unpriced*: never 0, never guessed.
"""
