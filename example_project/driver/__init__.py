"""The parts of `demo.py`. They use the shop as its customers and its operators do, and check what it did."""
