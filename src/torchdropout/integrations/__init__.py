"""Adapters to training frameworks, one a file; each framework is needed only where its file is imported."""
