"""What a model call costs: names, prices, arithmetic. Pure: no network, no clock, no state but bounded memos.

A price is looked for in layers, and the first that knows the model answers: the operator's own file (`overrides`), then
`price_lists`: corrections shipped with spanledger (`corrections.yaml`), the snapshot of the `genai-prices` package
(`catalogue`, `genai_data`, `matching`, `genai_rates`; cut by `genai_cut`), and LiteLLM's map as data
(`second_catalogue`, cut by `litellm_data`, renewed by `refresh`); both are kept as an `archive`. `sellers`, `hosts` and
`resolve` read who sells a model and how its name may be spelled; `calls` gathers what decides a price; `tariff` holds
the integer arithmetic; `engine` puts them together; `swap` judges newer lists. A model that no layer knows is
*unpriced*: never 0, never guessed.
"""
