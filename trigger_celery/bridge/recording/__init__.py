"""What happens to tasks that the broker carries: noted by signals, sent in the background, sent again."""
