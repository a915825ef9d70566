"""What tests share: tiny networks and made pictures, so that they are fast and need no files."""
