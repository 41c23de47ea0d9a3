"""What people do to jobs, tasks and schedules, over the REST API or in the admin: done once, refused for one reason.

An act says what it did or raises; who may do it is the caller's to ask, by `permissions`, and that it was done the
caller's to keep, by `audit`.
"""
