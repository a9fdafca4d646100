"""The app of the shop: orders."""
