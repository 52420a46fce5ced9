"""Answers with versions, over HTTP."""
