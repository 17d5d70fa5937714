"""The tasks of the table, one file a group of them."""
