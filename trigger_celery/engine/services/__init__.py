"""Background duties, each small and leaderless: any number of workers may run each of them."""
