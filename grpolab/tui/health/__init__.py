"""Warnings and suggestions, each with cause and evidence."""
