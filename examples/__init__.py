"""Small example programs; they may import any package, and nothing imports them."""
