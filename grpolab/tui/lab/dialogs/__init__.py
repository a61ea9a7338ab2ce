"""Dialogs over the lab: the algorithm picker, help, failure and confirmation."""
