"""The list of jobs: what it shows, by what it is filtered, and what can be done to many at once."""
