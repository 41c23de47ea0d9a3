"""What the task log says: found, counted, summed up, written out. Functions of querysets, without HTTP.

The REST API and the admin ask here, so that both find the same rows, by the same indexes.
"""
