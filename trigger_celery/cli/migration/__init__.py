"""`migrate --check`: reads a Celery codebase and says what to look at before and after moving.

Reads text with the standard library's `ast` and imports nothing of it. A rule never guesses: what
cannot be decided from the text is counted as unknown. Start reading at `rules.py` (what there is),
then `checker.py` (how a tree is read); a `checks_….py` holds the checks of one topic.
"""
