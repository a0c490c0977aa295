"""Recurrent layers, and what masks them: one kind of layer a file."""
