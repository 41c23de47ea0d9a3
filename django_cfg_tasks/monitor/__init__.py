"""The monitoring pages: what ReArq's own server shows and does, at its addresses, for Django's staff.

Served by a process of its own (``rearq main:rearq server``), never by a project's web server: pages for people, without
a script, and the same as JSON for machines. Who gets in, `doors` says; what is done there goes through `acts` and the
client, as it does from the admin. None of it is imported by anything but that process.
"""
