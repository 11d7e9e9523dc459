"""Routing rules as data, and the catalogue that names them."""
