"""This project beside other task queues for Python, each in an environment of its own: see ``__main__.py``.

`produce`, `stamps`, `wire` and `adapters` run in the peers' environments, so they import the standard library and the
one peer that they are about, and nothing of this project.
"""
