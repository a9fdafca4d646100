"""A Django app beside that of the example: its tasks tell what is around them."""
