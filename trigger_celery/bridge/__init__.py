"""The client side of Celery: binding an app, task definitions, the Celery task class, the context.

May import `engine` and below. The first layer that knows Celery. Start reading at `binding.py`.
"""
