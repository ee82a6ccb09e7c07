"""The run store: closed runs and findings in one SQLite file, kept in the order they came.

`records` reads them off log records, `store` writes them, `reader` finds them again, `schema` says what the
file looks like and `chain` proves that nobody changed it. The table `entries` is the truth; every other
table follows from it.
"""
