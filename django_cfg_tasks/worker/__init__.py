"""What runs in worker and timer processes. Nothing here is imported by a web process."""
