"""The pages, and the frame around them."""
