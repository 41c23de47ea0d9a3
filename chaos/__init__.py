"""A run under faults that proves the promise: a job that was accepted is run to a final state.

Real producers, workers and timers, a real Redis and PostgreSQL; faults drawn from a seed; a ledger that knows
nothing of the package: the ids that producers were given, and the runs that tasks noted. At the end the ledger, the
faults, SQL and Redis are held against each other. Nothing here reads the package's code for an answer.
"""
