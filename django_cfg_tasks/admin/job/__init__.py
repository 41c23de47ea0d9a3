"""The page of one job: its attempts, its pace, its call, and what can be done to it."""
