"""One module a command; `spanledger/__main__.py` says what such a module has."""
