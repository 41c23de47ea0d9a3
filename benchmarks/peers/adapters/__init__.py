"""One module a library: its app and tasks, which the worker's command imports, and what ``produce.py`` asks for.

``PEER_REDIS``, ``PEER_POSTGRES``, ``PEER_FOLDER``, ``PEER_CONCURRENCY`` and ``PEER_VARIANT`` say where and how. Log
lines for each job are switched off in each; what else is set, and why, stands beside it.
"""
