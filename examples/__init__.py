"""Small programs that show the packages at work; they import anything, and nothing imports them."""
