"""Encryption by the package `cryptography`."""
