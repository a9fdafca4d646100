"""The scripts: one file each, `include/` for what they share."""
