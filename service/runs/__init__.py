"""What `spanledger runs` shows: each module turns runs into lines for a terminal, or into plain values for JSON.

Everything here is a pure function of documents and a `Terminal`; files are read by `exporters/run_store/reader.py`
and arguments by `service/commands/runs.py`.
"""
