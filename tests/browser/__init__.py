"""What people do with the admin's pages, in a real browser.

A package, unlike the other tiers: its server and its browser live as long as tests of this folder follow each other.
"""
