"""What a developer's machine needs and production does not: the embedded server, reload, the banner.

May import everything but the command line. Start reading at `embedded.py`.
"""
